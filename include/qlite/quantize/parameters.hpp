// From a scale and a range to the numbers of a group as they are stored. Everything here takes a float, or a vector
// with one group in each lane.
#pragma once

#include <qlite/quantize/group.hpp>

QLITE_BEGIN_FUNCTIONS

/// The numbers of a group, rounded to their stored types: what every code of the group is chosen with.
template <class Scheme, class F = float>
struct group_parameters {
  using ints = detail::ints_of<F>;
  F scale{};            ///< stored scale as a float, never 0
  F offset{};           ///< stored offset as a float; 0 where the scheme has none
  ints zero{};          ///< zero point in the range of the codes; 0 where the scheme has none
  ints scale_bits{};    ///< what is stored: the low 16 bits of a float16, or those of a float
  ints offset_bits{};
  ints fault{};    ///< fault_kind
  F value{};       ///< the number that does not fit, where `fault` says so
};

namespace impl {

/// Bits of a number in its stored type, and the number that they stand for.
template <class Real, class F>
QLITE_INLINE ints_of<F> store_bits(F x) noexcept {
  if constexpr (std::is_same_v<Real, float16>)
    return to_half(x);
  else
    return bit_cast<ints_of<F>>(x);
}
template <class Real, class F>
QLITE_INLINE F load_bits(ints_of<F> bits) noexcept {
  if constexpr (std::is_same_v<Real, float16>)
    return from_half<F>(bits);
  else
    return bit_cast<F>(bits);
}
template <class Real>
QLITE_INLINE Real real_from_bits(std::int32_t bits) noexcept {
  if constexpr (std::is_same_v<Real, float16>)
    return float16::from_bits(static_cast<std::uint16_t>(bits));
  else
    return bits_float(static_cast<std::uint32_t>(bits));
}

/// Parameters of a symmetric group. A scale below the smallest positive number of its type (for float: the smallest
/// normal one) becomes that number, so that nothing is ever divided by 0.
template <class Scheme, class F>
QLITE_INLINE group_parameters<Scheme, F> symmetric_parameters(F scale) noexcept {
  using real = typename scheme_traits<Scheme>::scale;
  using ints = ints_of<F>;
  constexpr std::int32_t smallest = std::is_same_v<real, float16> ? 1 : 0x00800000;
  constexpr std::int32_t largest = std::is_same_v<real, float16> ? 0x7bff : 0x7f7fffff;
  constexpr std::int32_t sign_bit = std::is_same_v<real, float16> ? 0x8000 : -0x7fffffff - 1;
  group_parameters<Scheme, F> p;
  const ints bits = store_bits<real>(scale);
  const ints size = bits & ~sign_bit, sign = bits & sign_bit & where_greater(magnitude(scale), F{});    // of 0: none
  p.scale_bits = at_least(size, ints{} + smallest) | sign;
  p.scale = load_bits<real, F>(p.scale_bits);
  p.fault = where_greater(size, ints{} + largest) & static_cast<std::int32_t>(fault_kind::scale_overflow);
  p.value = scale;
  return p;
}

/// Parameters of an asymmetric or offset group whose smallest code stands for `low`.
template <class Scheme, class F>
QLITE_INLINE group_parameters<Scheme, F> range_parameters(F scale, F low) noexcept {
  using traits = scheme_traits<Scheme>;
  group_parameters<Scheme, F> p = symmetric_parameters<Scheme>(scale);
  if constexpr (traits::has_zero_point) {
    // above 0 only in groups that do not contain 0; the zero point stays in the codes' range
    constexpr int most = traits::code_max - traits::code_min;
    const F steps = at_least(at_most(low / p.scale, F{}), splat<F>(static_cast<float>(-most)));
    p.zero = traits::code_min - round_rule::half_even::round(steps, -most);
  } else {
    using real = typename traits::offset_type;
    F exact = low + 0.0f;    // -0 is stored as 0
    // the product is exact, so it makes no difference whether the compiler fuses it with the sum
    const F below_zero = static_cast<float>(-traits::code_min) * p.scale;
    if constexpr (traits::code_min != 0) exact = low + below_zero;
    p.offset_bits = store_bits<real>(exact);
    p.offset = load_bits<real, F>(p.offset_bits);
    const auto overflow = where_not_finite(p.offset) | where_not_finite(below_zero);
    p.value = choose_floats(overflow & ~where_greater(p.fault, ints_of<F>{}), exact, p.value);
    p.fault = p.fault | (overflow & static_cast<std::int32_t>(fault_kind::offset_overflow));
  }
  return p;
}

/// The scale that spreads all codes over low ... high.
template <class Scheme, class F>
QLITE_INLINE F range_scale(F low, F high) noexcept {
  constexpr float steps = static_cast<float>((1 << scheme_traits<Scheme>::bits) - 1);
  const F range = high - low;
  return choose_floats(where_not_finite(range), high / steps - low / steps, range / steps);
}

}    // namespace impl
QLITE_END_FUNCTIONS
