// The clip search of mse_clip with errors that count as much as their inputs do: llama.cpp's importance matrix.
#pragma once

#include <qlite/calibrate/activation_stats.hpp>
#include <qlite/quantize/mse_clip.hpp>

QLITE_BEGIN_NAMESPACE

/// Chooses for each group, of the candidates of mse_clip, the parameters of least
///     sum over the group of E[x_c²] (w_c - ŵ_c)²
/// which is the error that the layer's outputs have if its inputs are uncorrelated: the diagonal of GPTQ's Hessian.
/// O(steps * N * K), without mse_clip's early end.
///
/// The idea is llama.cpp's importance matrix (I. Kawrakow, ggml-org/llama.cpp pull request 4861, 2024); there the
/// weight of an error also has a factor sqrt(mean w² + w_c²), which is not in the formula above and not used here.
template <class RoundRule = round_rule::half_even, class ZeroRule = zero_rule::contains_zero>
struct basic_importance_clip {
  using round_type = RoundRule;
  const activation_stats* statistics;    ///< must outlive the call
  basic_mse_clip<RoundRule, ZeroRule> search;

  QLITE_INLINE explicit basic_importance_clip(const activation_stats& stats,
                                              basic_mse_clip<RoundRule, ZeroRule> grid = {}) noexcept
      : statistics(&stats), search(grid) {}
};

/// The search with the default rules.
using importance_clip = basic_importance_clip<>;

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

struct weighted_error {
  static constexpr bool prunes = false;
  const activation_stats& statistics;

  template <class Scheme, class Round, class Group>
  QLITE_INLINE double operator()(const encoder<Scheme, Round>& code, const Group& group) const {
    std::size_t at = 0;    // of the row
    return sum_of_spans(group, [&](const float* w, std::size_t n, double(&sums)[error_lanes]) QLITE_LAMBDA {
      float importance[span_size];
      for (std::size_t i = 0; i < n; ++i)
        importance[i] = static_cast<float>(min_of(statistics.mean_square(group.col + at + i), 3e38));
      Group::kernels::add_weighted_errors(code, w, importance, n, sums);
      at = at + n == group.cols ? 0 : at + n;
    });
  }
};

}    // namespace impl

/// Refuses what mse_clip refuses, and statistics of other columns.
template <class Round, class ZeroRule>
QLITE_INLINE void check_columns(const basic_importance_clip<Round, ZeroRule>& method, std::size_t cols) {
  check_method(method.search);
  impl::check_equal("the columns of the statistics", method.statistics->cols(), "columns of W", cols);
}

/// The hook of quantize/quantize.hpp.
template <class Round, class ZeroRule, class Scheme, class T, class Kernels>
QLITE_INLINE group_parameters<Scheme> fit_group(const basic_importance_clip<Round, ZeroRule>& method, Scheme scheme,
                                                const weight_group<T, Kernels>& group) {
  return impl::search_converted(method.search, scheme, group, impl::weighted_error{*method.statistics});
}

QLITE_END_FUNCTIONS
