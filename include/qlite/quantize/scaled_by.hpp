// Quantizing with a scale for the input channels that is known already: for layers that share their inputs, and for
// methods that only look for the scale (awq.hpp, smoothquant.hpp).
#pragma once

#include <qlite/calibrate/hessian.hpp>
#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/rtn.hpp>
#include <qlite/quantize/scaled_matrix.hpp>

QLITE_BEGIN_NAMESPACE

/// W diag(s) quantized by `Inner`, any method that gives a quantized_matrix. The product w s is rounded to float.
template <class Inner = rtn>
struct scaled_by {
  const channel_scale* scale;    ///< must outlive the call
  Inner inner;
  QLITE_INLINE explicit scaled_by(const channel_scale& s, Inner method = {}) : scale(&s), inner(method) {}
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Floats of their own, in a matrix without gaps.
struct float_matrix {
  buffer memory;
  matrix_view<float> view;
  QLITE_INLINE float_matrix(std::size_t rows, std::size_t cols)
      : memory(rows * cols * sizeof(float)), view(reinterpret_cast<float*>(memory.data()), rows, cols) {}
};

/// W diag(s) in float.
template <class T, class Executor>
void scale_weights(matrix_view<const T> W, const channel_scale& scale, matrix_view<float> to,
                   const Executor& executor) {
  const std::size_t tasks = task_count(executor, W.rows(), W.rows() * W.cols() * sizeof(T), task_grain);
  executor.parallel_for(tasks, [&](std::size_t i) {
    const slice rows = slice_of(W.rows(), tasks, i);
    for (std::size_t r = rows.begin; r < rows.end; ++r)
      for (std::size_t c = 0; c < W.cols(); ++c) to(r, c) = element<T>::load(W(r, c)) * scale[c];
  });
}

inline channel_scale copy_scale(const channel_scale& scale) {
  channel_scale copy(scale.size());
  for (std::size_t c = 0; c < scale.size(); ++c) copy[c] = scale[c];
  return copy;
}

}    // namespace impl

/// Refuses a scale of other columns, factors that are not positive, and what the inner method refuses.
template <class Inner>
void check_columns(const scaled_by<Inner>& method, std::size_t cols) {
  impl::check_scale(*method.scale, cols);
  impl::check_use(method.inner, cols);
}

/// The hook of quantize/quantize.hpp.
template <class Inner, class Scheme, class T, class Executor>
scaled_matrix<Scheme> quantize_matrix(const scaled_by<Inner>& method, Scheme scheme, matrix_view<const T> W,
                                      const Executor& executor) {
  const impl::float_matrix scaled(W.rows(), W.cols());
  impl::scale_weights(W, *method.scale, scaled.view, executor);
  return {impl::quantize_any<impl::kernels>(scheme, matrix_view<const float>(scaled.view), method.inner, executor),
          impl::copy_scale(*method.scale)};
}

/// The Hessian of the inputs x / s: what gptq needs for W diag(s). Error: another number of columns.
inline hessian divide_inputs(const hessian& H, const channel_scale& scale) {
  impl::check_scale(scale, H.cols());
  hessian divided(H.cols());
  for (std::size_t i = 0; i < H.cols(); ++i)
    for (std::size_t j = i; j < H.cols(); ++j)
      divided(i, j) = H(i, j) / static_cast<double>(scale[i]) / static_cast<double>(scale[j]);
  return divided;
}

QLITE_END_FUNCTIONS
