// How much a layer suffers from each scheme that it might be stored in, and what it would take: the options that
// assignment.hpp chooses from.
#pragma once

#include <qlite/evaluate/assignment.hpp>
#include <qlite/evaluate/memory_plan.hpp>
#include <qlite/evaluate/output_error.hpp>
#include <qlite/quantize/quantize.hpp>

QLITE_BEGIN_FUNCTIONS

/// W [N, K] as float16: 2 bytes a weight, and the error of rounding to it. For layers that no scheme suits.
/// Error as in measure_sensitivity. Errors: a view that cannot be read, another shape, a NaN or an infinity in W or X,
/// a weight beyond float16's range.
template <class T, class U, class Executor = serial>
[[nodiscard]] layer_option float16_option(matrix_view<T> W, matrix_view<U> X, const Executor& executor = {}) {
  using element = detail::element<std::remove_const_t<T>>;
  static_assert(detail::is_element<std::remove_const_t<U>>, "qlite: X is a matrix of float, float16 or bfloat16");
  impl::check_matrix("W", W);
  impl::check_matrix("X", X);
  impl::check_equal("the columns of X", X.cols(), "columns of W", W.cols());
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) {
      const float w = element::load(W(r, c));
      if (QLITE_UNLIKELY(detail::is_finite(w) && !detail::is_finite(float16::from_float(w).to_float())))
        impl::fail("qlite: W has %g at row %zu, column %zu, which float16 cannot hold", static_cast<double>(w), r, c);
    }
  const error_metrics metrics = impl::compare_outputs(
      matrix_view<const std::remove_const_t<T>>(W), matrix_view<const std::remove_const_t<U>>(X),
      [&](std::size_t r, double* out, float*) {
        for (std::size_t c = 0; c < W.cols(); ++c)
          out[c] = static_cast<double>(float16::from_float(element::load(W(r, c))).to_float());
      },
      executor);
  const double relative = metrics.relative_error();
  return {2 * W.rows() * W.cols(), relative * relative};
}

/// Quantizes W [N, K] by `method` with each of `count` schemes, and measures what that does to the outputs of the layer
/// on its inputs X [M, K]. options[i] gets the bytes of candidates[i] packed for Backend and its error,
///     |X (W - q)^T|^2 / |X W^T|^2,
/// the power of the noise relative to that of the signal (output_metrics' relative error, squared).
///
/// List: the schemes that candidates may name (visit_scheme). One quantization and O(M N K) a candidate; memory of one
/// quantized W. Errors: as quantize, visit_scheme and output_metrics.
template <class Backend, class List = default_schemes, class T, class U, class Method, class Executor = serial>
void measure_sensitivity(matrix_view<T> W, matrix_view<U> X, const scheme_info* candidates, std::size_t count,
                         const Method& method, layer_option* options, const Executor& executor = {}) {
  impl::check_array("candidates", candidates, count);
  impl::check_array("options", options, count);
  for (std::size_t i = 0; i < count; ++i)
    visit_scheme<List>(candidates[i], [&](auto scheme) {
      const double relative = output_error(W, quantize(scheme, W, method, executor), X, executor);
      options[i] = layer_option{packed_memory<Backend>(candidates[i], W.rows(), W.cols()).total(), relative * relative};
    });
}

QLITE_END_FUNCTIONS
