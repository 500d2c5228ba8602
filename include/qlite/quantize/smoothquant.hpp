// SmoothQuant: magnitude moves from the activations, whose outliers INT8 products suffer from, to the weights, which
// have room for it.
#pragma once

#include <qlite/calibrate/activation_stats.hpp>
#include <qlite/quantize/scaled_by.hpp>

QLITE_BEGIN_NAMESPACE

/// SmoothQuant (Xiao, Lin, Seznec, Wu, Demouth, Han: SmoothQuant, ICML 2023, arXiv:2211.10438). With
///     s_c = max |x_c|^alpha / max |w_c|^(1 - alpha),      both maxima at least 1e-5
/// the inputs x / s have magnitudes that are nearly alike in all channels (alpha = 1: alike), and W diag(s) is
/// quantized by `Inner`. For dynamic or fixed INT8 activations. Gives a scaled_matrix. Factors are rounded to bfloat16,
/// as awq's. Errors: as quantize; statistics of other columns, alpha outside 0 ... 1.
template <class Inner = rtn>
struct smoothquant {
  const activation_stats* statistics;    ///< must outlive the call
  double alpha;
  Inner inner;
  QLITE_INLINE explicit smoothquant(const activation_stats& stats, double migration = 0.5, Inner method = {})
      : statistics(&stats), alpha(migration), inner(method) {}
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS

/// The factors for layers that share their inputs: the maxima of w_c are over all of them. `layers`: `count` matrices
/// [N_i, K]. Errors: shapes, alpha outside 0 ... 1.
template <class T>
channel_scale smoothquant_scale(const activation_stats& stats, const matrix_view<const T>* layers, std::size_t count,
                                double alpha = 0.5) {
  static_assert(detail::is_element<T>, "qlite: a layer is a matrix of float, float16 or bfloat16");
  if (QLITE_UNLIKELY(!(alpha >= 0.0 && alpha <= 1.0)))
    impl::fail("qlite: smoothquant.alpha is %g, expected 0 ... 1", alpha);
  channel_scale scale(stats.cols());
  for (std::size_t c = 0; c < stats.cols(); ++c) scale[c] = 0.0f;
  for (std::size_t i = 0; i < count; ++i) {
    impl::check_matrix("W", layers[i]);
    impl::check_equal("columns of W", layers[i].cols(), "the columns of the statistics", stats.cols());
    for (std::size_t r = 0; r < layers[i].rows(); ++r)
      for (std::size_t c = 0; c < stats.cols(); ++c) {
        const float w = detail::abs_of(detail::element<T>::load(layers[i](r, c)));
        if (w > scale[c]) scale[c] = w;    // a NaN is quantize's to report
      }
  }
  for (std::size_t c = 0; c < stats.cols(); ++c) {
    const double x = detail::max_of(static_cast<double>(stats.max_abs(c)), 1e-5);
    const double w = detail::max_of(detail::min_of(static_cast<double>(scale[c]), 1e30), 1e-5);
    const double s = __builtin_pow(x, alpha) / __builtin_pow(w, 1.0 - alpha);
    scale[c] = bfloat16::from_float(static_cast<float>(detail::min_of(detail::max_of(s, 1e-30), 1e30))).to_float();
  }
  return scale;
}

/// Refuses statistics of other columns and what the inner method refuses.
template <class Inner>
void check_columns(const smoothquant<Inner>& method, std::size_t cols) {
  impl::check_equal("the columns of the statistics", method.statistics->cols(), "columns of W", cols);
  if (QLITE_UNLIKELY(!(method.alpha >= 0.0 && method.alpha <= 1.0)))
    impl::fail("qlite: smoothquant.alpha is %g, expected 0 ... 1", method.alpha);
  impl::check_use(method.inner, cols);
}

/// The hook of quantize/quantize.hpp.
template <class Inner, class Scheme, class T, class Executor>
scaled_matrix<Scheme> quantize_matrix(const smoothquant<Inner>& method, Scheme scheme, matrix_view<const T> W,
                                      const Executor& executor) {
  const channel_scale scale = smoothquant_scale(*method.statistics, &W, 1, method.alpha);
  return quantize_matrix(scaled_by<Inner>(scale, method.inner), scheme, W, executor);
}

QLITE_END_FUNCTIONS
