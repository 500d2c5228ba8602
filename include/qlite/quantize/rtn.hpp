// Round to nearest: the scale from the extremes of the group, each weight to the nearest code. No data but the weights,
// one pass, limited by memory.
#pragma once

#include <qlite/quantize/parameters.hpp>

QLITE_BEGIN_NAMESPACE

/// Round to nearest with rules of one's choice (quantize/rules.hpp). `ScaleRule` serves symmetric schemes, `ZeroRule`
/// asymmetric ones; an offset<T> scheme spans min w ... max w.
template <class ScaleRule = scale_rule::signed_max, class RoundRule = round_rule::half_even,
          class ZeroRule = zero_rule::contains_zero>
struct basic_rtn {
  using round_type = RoundRule;
};

/// Round to nearest with the rules of lowest measured error (docs/numerics.md).
using rtn = basic_rtn<>;

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS

/// The hooks of round to nearest; quantize/quantize.hpp says what they are.
template <class F, class ScaleRule, class RoundRule, class ZeroRule, class Scheme>
QLITE_INLINE group_parameters<Scheme, F> fit_ranges(const basic_rtn<ScaleRule, RoundRule, ZeroRule>&, Scheme,
                                                    const weight_range<F>& range) {
  using traits = detail::scheme_traits<Scheme>;
  using ints = detail::ints_of<F>;
  group_parameters<Scheme, F> p;
  F low = range.low, high = range.high;
  if constexpr (traits::is_symmetric) {
    const ints negative = detail::where_greater(-low, high) | range.negative_first;
    F extreme = detail::choose_floats(negative, low, high);
    if constexpr (!ScaleRule::uses_sign) extreme = detail::magnitude(extreme);
    if constexpr (!traits::is_integer)    // the extreme becomes 1 or -1; all scale rules agree
      p = impl::symmetric_parameters<Scheme>(detail::magnitude(extreme));
    else if constexpr (traits::has_codebook)    // with its sign it becomes -127, without at most 113
      p = impl::symmetric_parameters<Scheme>(extreme / (ScaleRule::uses_sign
                                                            ? -static_cast<float>(traits::smallest_step)
                                                            : static_cast<float>(traits::largest_step)));
    else
      p = impl::symmetric_parameters<Scheme>(ScaleRule::scale(extreme, traits::code_max));
  } else {
    if constexpr (traits::has_zero_point && ZeroRule::contains) {
      low = detail::at_most(low, F{});
      high = detail::at_least(high, F{});
    }
    p = impl::range_parameters<Scheme>(impl::range_scale<Scheme>(low, high), low);
  }
  const ints unusable = ints{} + static_cast<std::int32_t>(fault_kind::not_finite);
  p.fault = detail::choose(range.not_finite(), unusable, p.fault);
  return p;
}

/// For groups of any shape, one at a time.
template <class ScaleRule, class RoundRule, class ZeroRule, class Scheme, class Group>
QLITE_INLINE group_parameters<Scheme> fit_group(const basic_rtn<ScaleRule, RoundRule, ZeroRule>& method, Scheme scheme,
                                                const Group& group) {
  return fit_ranges(method, scheme, impl::range_of(group));
}

QLITE_END_FUNCTIONS
