// One float, or a vector of them as GNU compilers have it (`__attribute__((vector_size))`), under the same names: the
// arithmetic of quantization is written once for both. Vectors of the compiler need no intrinsics, run on every target
// and do not depend on how well loops are vectorized. nvcc, whose front end lacks some of their builtins, only gets the
// scalar half.
#pragma once

#include <qlite/core/half.hpp>

#include <type_traits>
#include <utility>

QLITE_BEGIN_NAMESPACE
namespace detail {

template <class F>
struct lane_types {
  using ints = decltype(std::declval<F>() < std::declval<F>());    // the type of a mask
};
template <>
struct lane_types<float> {
  using ints = std::int32_t;
};
/// int32, or as many of them as F has floats.
template <class F>
using ints_of = typename lane_types<F>::ints;
template <class F>
inline constexpr bool is_one_lane = std::is_same_v<F, float>;

template <class F>
QLITE_INLINE F splat(float x) noexcept {
  if constexpr (is_one_lane<F>)
    return x;
  else
    return x - F{};
}

/// The larger of each lane; of floats that compare equal, x.
template <class V>
QLITE_INLINE V at_least(V x, V low) noexcept {
  return x < low ? low : x;
}
/// The smaller of each lane; of floats that compare equal, x.
template <class V>
QLITE_INLINE V at_most(V x, V high) noexcept {
  return x > high ? high : x;
}

/// All bits of the lanes where a > b, none elsewhere.
template <class V>
QLITE_INLINE auto where_greater(V a, V b) noexcept {
  if constexpr (std::is_arithmetic_v<V>)
    return a > b ? std::int32_t{-1} : std::int32_t{0};
  else
    return a > b;
}

/// a in the lanes of a mask, b elsewhere. On bits, so that nothing branches.
template <class I>
QLITE_INLINE I choose(I mask, I a, I b) noexcept {
  return (a & mask) | (b & ~mask);
}
template <class F>
QLITE_INLINE F choose_floats(ints_of<F> mask, F a, F b) noexcept {
  return bit_cast<F>(choose(mask, bit_cast<ints_of<F>>(a), bit_cast<ints_of<F>>(b)));
}

/// Towards zero.
template <class F>
QLITE_INLINE ints_of<F> truncate(F x) noexcept {
#if !defined(__CUDACC__)
  if constexpr (!is_one_lane<F>)
    return __builtin_convertvector(x, ints_of<F>);
  else
#endif
    return static_cast<ints_of<F>>(x);
}

template <class F>
QLITE_INLINE F to_floats(ints_of<F> x) noexcept {
#if !defined(__CUDACC__)
  if constexpr (!is_one_lane<F>)
    return __builtin_convertvector(x, F);
  else
#endif
    return static_cast<F>(x);
}

template <class F>
QLITE_INLINE F magnitude(F x) noexcept {
  return bit_cast<F>(bit_cast<ints_of<F>>(x) & 0x7fffffff);
}

/// All bits of the lanes that are NaN or infinite.
template <class F>
QLITE_INLINE ints_of<F> where_not_finite(F x) noexcept {
  using ints = ints_of<F>;
  return where_greater(bit_cast<ints>(x) & 0x7fffffff, ints{} + 0x7f7fffff);
}

/// float16::from_float without branches; the bits of the halves, in as many int32.
template <class F>
QLITE_INLINE ints_of<F> to_half(F x) noexcept {
  using ints = ints_of<F>;
  const ints bits = bit_cast<ints>(x), sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
  const ints normal = (size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13;
  // adding 0.5 leaves the multiples of 2^-24, which are the subnormals, in the low bits of the sum
  const ints small = bit_cast<ints>(bit_cast<F>(size) + 0.5f) - 0x3f000000;
  const ints finite = choose(where_greater(size, ints{} + 0x387fffff), normal, small);
  const ints nan = where_greater(size, ints{} + 0x7f800000) & (((size >> 13) & 0x3ff) | 0x200);
  return sign | choose(where_greater(size, ints{} + 0x477fffff), nan | 0x7c00, finite);
}

/// bfloat16::from_float without branches, likewise.
template <class F>
QLITE_INLINE ints_of<F> to_bfloat(F x) noexcept {
  using ints = ints_of<F>;
  const ints bits = bit_cast<ints>(x);
  const ints nan = where_greater(bits & 0x7fffffff, ints{} + 0x7f800000);
  return (choose(nan, bits | 0x400000, bits + 0x7fff + ((bits >> 16) & 1)) >> 16) & 0xffff;
}

/// float16::to_float without branches.
template <class F>
QLITE_INLINE F from_half(ints_of<F> bits) noexcept {
  using ints = ints_of<F>;
  const ints size = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
  const ints wide = size + 0x38000000;    // the difference of the exponents' biases
  const ints small = bit_cast<ints>(bit_cast<F>(wide + 0x00800000) - bits_float(0x38800000u));    // subnormal, 0
  const ints finite = choose(where_greater(size, ints{} + 0x007fffff), wide, small);
  const ints value = choose(where_greater(size, ints{} + 0x0f7fffff), wide + 0x38000000, finite);    // infinity, NaN
  return bit_cast<F>(value | sign);
}

}    // namespace detail
QLITE_END_NAMESPACE
