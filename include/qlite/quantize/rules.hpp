// Named rules by which a method turns the weights of a group into a scale, a zero point and codes. "Symmetric INT4"
// means different things in different projects; a name per convention keeps them apart. docs/numerics.md has the
// formulas side by side and the measured errors.
#pragma once

#include <qlite/quantize/lanes.hpp>

QLITE_BEGIN_NAMESPACE

/// Scale of a symmetric group from its extreme: the weight of largest magnitude, the first one if several have it.
/// `code_max` is the largest code: 7 or 127.
///
/// A rule of one's own is a type with these two members, for F float and for vectors of floats (quantize/lanes.hpp).
/// `uses_sign` says whether the rule reads the sign of the extreme; without it the rule is given the magnitude.
namespace scale_rule {

/// amax / code_max: codes -7 ... 7 and -127 ... 127. Nothing is clipped, the code -8 (-128) stays unused.
struct absmax {
  static constexpr bool uses_sign = false;
  template <class F>
  QLITE_INLINE static F scale(F extreme, int code_max) noexcept {
    return extreme / static_cast<float>(code_max);
  }
};

/// 2 amax / (levels - 1), that is amax / 7.5 and amax / 127.5: a weight of +amax is clipped by half a step. GPTQ
/// (quant.py, `sym=True`), AutoGPTQ, compressed-tensors and torchao's SYMMETRIC.
struct absmax_wide {
  static constexpr bool uses_sign = false;
  template <class F>
  QLITE_INLINE static F scale(F extreme, int code_max) noexcept {
    return extreme / (static_cast<float>(code_max) + 0.5f);
  }
};

/// The extreme becomes the code -8 (-128): the scale is extreme / -8 and negative where the extreme is positive. All
/// levels are used, the opposite side is clipped by up to one step. ggml's Q4_0 (ggml-quants.c) and MLAS (q4_dq.cpp).
struct signed_max {
  static constexpr bool uses_sign = true;
  template <class F>
  QLITE_INLINE static F scale(F extreme, int code_max) noexcept {
    return extreme / -(static_cast<float>(code_max) + 1.0f);
  }
};

}    // namespace scale_rule

/// From a quotient w / scale to an integer. The quotient is an IEEE division, so it is the same on every target, and it
/// is never a product, so no compiler can fuse it with the additions below.
///
/// A rule of one's own has this one member, for F float and for vectors of floats (quantize/lanes.hpp). `low` is the
/// smallest result that the caller can use; |x| is below 2^22.
namespace round_rule {

/// To nearest, ties to the even integer: torch.round, the default.
///
/// Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum. Those are read as an integer and nothing is
/// subtracted in floating point, so there is no pair of operations that -ffast-math could cancel.
struct half_even {
  template <class F>
  QLITE_INLINE static detail::ints_of<F> round(F x, std::int32_t low) noexcept {
    static_cast<void>(low);
    return detail::bit_cast<detail::ints_of<F>>(x + 12582912.0f) - 0x4b400000;
  }
};

/// To nearest, ties away from zero: C's roundf, ggml's reference Q8_0.
struct half_away {
  template <class F>
  QLITE_INLINE static detail::ints_of<F> round(F x, std::int32_t low) noexcept {
    static_cast<void>(low);
    using ints = detail::ints_of<F>;
    const ints sign = detail::bit_cast<ints>(x) >> 31;    // 0 or -1
    const F size = detail::magnitude(x);
    const ints whole = detail::truncate(size);
    const F rest = size - detail::to_floats<F>(whole);    // exact
    // 0.5 and above: the largest float below 0.5 as the limit
    const ints rounded = whole - detail::where_greater(rest, detail::splat<F>(0.49999997f));
    return (rounded ^ sign) - sign;
  }
};

/// trunc(x - low + 0.5) + low, the sum in float: ties upwards. ggml's Q4_0 and Q4_1 write it trunc(x + 8.5) and
/// trunc(x + 0.5).
struct half_up_truncate {
  template <class F>
  QLITE_INLINE static detail::ints_of<F> round(F x, std::int32_t low) noexcept {
    return detail::truncate(x + (0.5f - static_cast<float>(low))) + low;
  }
};

}    // namespace round_rule

/// Range of weights that the codes of an asymmetric group span.
namespace zero_rule {

/// min(min w, 0) ... max(max w, 0): a weight of 0 is read back as exactly 0, and the zero point always fits. GPTQ.
struct contains_zero {
  static constexpr bool contains = true;
};

/// min w ... max w: finer steps for groups that lie on one side of 0, but the zero point saturates there and such a
/// group is clipped. llm-awq.
struct raw {
  static constexpr bool contains = false;
};

}    // namespace zero_rule
QLITE_END_NAMESPACE
