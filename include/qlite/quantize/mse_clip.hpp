// Error-minimizing clip search: the scale of a group from a grid below the one that round to nearest takes. What is
// clipped at the extremes is paid back by finer steps for all other weights.
#pragma once

#include <qlite/quantize/encode.hpp>
#include <qlite/quantize/rtn.hpp>

QLITE_BEGIN_NAMESPACE

/// Chooses for each group the parameters of least squared error among
///   symmetric    p * amax / 7 (127), and its negative if the extreme is positive, and what each scale rule gives;
///   nf4          p * amax;
///   nl4          p * amax / 113 and its negative;
///   asymmetric   the range p * (min ... max);
///   offset<T>    the range shrunk to p around its middle;
/// with p = 1 - i / grid, i < steps. p = 1 is round to nearest, so its error is never larger than that of
/// `basic_rtn` with any named scale rule. O(steps * N * K).
///
/// Sources: GPTQ's quant.py (`mse=True`, grid 100, maxshrink 0.8; it minimizes |e|^2.4, and only from one side), after
/// the clipping search of OMSE (Choukroun, Kravchik, Yang, Kisilev: Low-bit Quantization of Neural Networks for
/// Efficient Inference, ICCV Workshops 2019). The norm here is 2: it is what relative errors measure, and its sums are
/// exact enough to be the same on every target, which pow is not.
template <class RoundRule = round_rule::half_even, class ZeroRule = zero_rule::contains_zero>
struct basic_mse_clip {
  using round_type = RoundRule;
  std::size_t grid = 100;    ///< steps from the whole range to nothing; at least 1
  std::size_t steps = 80;    ///< of those, how many are tried; at most `grid`

  QLITE_INLINE constexpr basic_mse_clip() noexcept = default;
  QLITE_INLINE constexpr basic_mse_clip(std::size_t grid_size, std::size_t steps_tried) noexcept
      : grid(grid_size), steps(steps_tried) {}
};

/// The search with the default rules.
using mse_clip = basic_mse_clip<>;

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// The sum of what a group's spans add to 16 sums, in an order that does not depend on the target.
template <class Group, class F>
QLITE_INLINE double sum_of_spans(const Group& group, F&& add) {
  double sums[error_lanes] = {};
  for_each_span(group, [&](const float* w, std::size_t n) QLITE_LAMBDA { add(w, n, sums); });
  for (std::size_t half = error_lanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

/// What a search minimizes: a function of (encoder, group). `prunes`: it is at least the square of each error.
struct squared_error {
  static constexpr bool prunes = true;
  template <class Scheme, class Round, class Group>
  QLITE_INLINE double operator()(const encoder<Scheme, Round>& code, const Group& group) const {
    return sum_of_spans(group, [&](const float* w, std::size_t n, double(&sums)[error_lanes])
                                   QLITE_LAMBDA { Group::kernels::add_squared_errors(code, w, n, sums); });
  }
};

/// The best parameters so far and their error.
template <class Round, class Scheme, class Group, class Measure>
struct clip_search {
  const Group& group;
  const Measure& measure;
  group_parameters<Scheme> best, last;
  double least;

  QLITE_INLINE clip_search(const Group& g, const Measure& m, const group_parameters<Scheme>& start)
      : group(g), measure(m), best(start), last(start), least(error_of(start)) {}

  QLITE_INLINE double error_of(const group_parameters<Scheme>& p) const {
    return measure(encoder<Scheme, Round>(p), group);
  }

  /// False: no smaller scale can do better, because what it clips alone costs more. The codes reach over `levels`
  /// steps, the weights over `width`; the rest is clipped at one end or shared by two.
  QLITE_INLINE bool consider(const group_parameters<Scheme>& p, float width, int levels, double share) {
    const double clipped = static_cast<double>(width) - abs_of(p.scale) * static_cast<double>(levels);
    constexpr double rounding = 1.0 - 1e-6;    // of the errors to float
    if (Measure::prunes && clipped > 0.0 && clipped * clipped * (share * rounding) > least) return false;
    consider(p);
    return true;
  }

  QLITE_INLINE void consider(const group_parameters<Scheme>& p) {
    const bool same = p.scale_bits == last.scale_bits && p.zero == last.zero && p.offset_bits == last.offset_bits;
    if (p.fault != 0 || same) return;    // neighbours on the grid may be stored alike
    last = p;
    const double error = error_of(p);
    if (error < least) {
      least = error;
      best = p;
    }
  }
};

template <class Round, class ZeroRule, class Scheme, class Group, class Measure = squared_error>
group_parameters<Scheme> search_clip(const basic_mse_clip<Round, ZeroRule>& method, Scheme scheme, const Group& group,
                                     const Measure& measure = {}) {
  using traits = scheme_traits<Scheme>;
  constexpr int levels = traits::is_symmetric ? traits::smallest_step : traits::code_max - traits::code_min;
  const weight_range<> range = range_of(group);
  const group_parameters<Scheme> start =
      fit_ranges(basic_rtn<scale_rule::signed_max, Round, ZeroRule>{}, scheme, range);
  if (start.fault != 0) return start;

  clip_search<Round, Scheme, Group, Measure> search(group, measure, start);
  const auto portion = [&](std::size_t i) { return 1.0f - static_cast<float>(i) / static_cast<float>(method.grid); };
  if constexpr (!traits::is_integer) {
    const float amax = max_of(-range.low, range.high);
    for (std::size_t i = 1; i < method.steps; ++i)
      if (!search.consider(symmetric_parameters<Scheme>(portion(i) * amax), amax, levels, 1.0)) break;
  } else if constexpr (traits::is_symmetric) {
    const float amax = max_of(-range.low, range.high);
    const bool negative = -range.low > range.high || range.negative_first != 0;    // the sign of the extreme
    search.consider(symmetric_parameters<Scheme>(scale_rule::absmax_wide::scale(amax, traits::largest_step)));
    const float scale = scale_rule::absmax::scale(amax, traits::largest_step);
    for (std::size_t i = 0; i < method.steps; ++i)
      if (!search.consider(symmetric_parameters<Scheme>(portion(i) * scale), amax, levels, 1.0)) break;
    // -7 ... 7 are there for either sign, and a code book is not the same from both sides
    if (!negative || traits::has_codebook)
      for (std::size_t i = 0; i < method.steps; ++i)
        if (!search.consider(symmetric_parameters<Scheme>(-(portion(i) * scale)), amax, levels, 1.0)) break;
  } else if constexpr (traits::has_zero_point) {
    const float low = ZeroRule::contains ? min_of(range.low, 0.0f) : range.low;
    const float high = ZeroRule::contains ? max_of(range.high, 0.0f) : range.high;
    const float scale = range_scale<Scheme>(low, high);
    for (std::size_t i = 1; i < method.steps; ++i)
      if (!search.consider(range_parameters<Scheme>(portion(i) * scale, portion(i) * low), high - low, levels, 0.5))
        break;
  } else {
    const float scale = range_scale<Scheme>(range.low, range.high);
    const auto half_width =
        static_cast<float>((static_cast<double>(range.high) - static_cast<double>(range.low)) * 0.5);
    for (std::size_t i = 1; i < method.steps; ++i) {
      const float cut = static_cast<float>(i) / static_cast<float>(method.grid);
      const auto p = range_parameters<Scheme>(portion(i) * scale, fma(cut, half_width, range.low));
      if (!search.consider(p, range.high - range.low, levels, 0.5)) break;
    }
  }
  return search.best;
}

}    // namespace impl

/// Refuses a grid of 0 and more steps than it has.
template <class Round, class ZeroRule>
QLITE_INLINE void check_method(const basic_mse_clip<Round, ZeroRule>& method) {
  if (QLITE_UNLIKELY(method.grid == 0)) impl::fail("qlite: mse_clip.grid is 0, expected at least 1");
  if (QLITE_UNLIKELY(method.steps > method.grid))
    impl::fail("qlite: mse_clip.steps is %zu, expected at most its grid, %zu", method.steps, method.grid);
}

namespace impl {

/// search_clip for weights of any type: 16-bit ones are converted once instead of once per candidate.
template <class Round, class ZeroRule, class Scheme, class T, class Kernels, class Measure = squared_error>
QLITE_INLINE group_parameters<Scheme> search_converted(const basic_mse_clip<Round, ZeroRule>& method, Scheme scheme,
                                                       const weight_group<T, Kernels>& group,
                                                       const Measure& measure = {}) {
  if constexpr (!std::is_same_v<T, float>)
    if (group.rows == 1 && group.cols <= span_size) {
      float w[span_size];
      for (std::size_t i = 0; i < group.cols; ++i) w[i] = element<T>::load(group.data[i]);
      return search_clip(method, scheme, weight_group<float, Kernels>{w, 1, group.cols, group.cols, group.col},
                         measure);
    }
  return search_clip(method, scheme, group, measure);
}

}    // namespace impl

/// The hook of quantize/quantize.hpp.
template <class Round, class ZeroRule, class Scheme, class T, class Kernels>
QLITE_INLINE group_parameters<Scheme> fit_group(const basic_mse_clip<Round, ZeroRule>& method, Scheme scheme,
                                                const weight_group<T, Kernels>& group) {
  return impl::search_converted(method, scheme, group);
}

QLITE_END_FUNCTIONS
