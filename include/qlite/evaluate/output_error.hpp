// What quantization does to a weight matrix, and to the output of its layer.
#pragma once

#include <qlite/calibrate/batch.hpp>
#include <qlite/core/executor.hpp>
#include <qlite/evaluate/error_metrics.hpp>
#include <qlite/quantize/outliers.hpp>
#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/scaled_matrix.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Row r of a quantized matrix as floats.
template <class Scheme>
QLITE_INLINE void dequantize_row(const quantized_view<Scheme>& q, std::size_t r, float* out) {
  dequantize_rows<kernels>(q, matrix_view<float>{out, q.rows(), q.cols(), 0}, r, r + 1);    // stride 0: every row there
}

/// The sum of a[i] x[i], in eight parts, so that a compiler may vectorize it.
QLITE_INLINE double dot(const double* a, const double* x, std::size_t count) noexcept {
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (std::size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * x[i + j];
  for (std::size_t j = 0; i < count; ++i, ++j) sums[j] += a[i] * x[i];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

template <class T>
QLITE_INLINE void load_doubles(const T* from, std::size_t count, double* to) noexcept {
  for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<double>(element<T>::load(from[i]));
}

/// Ends the call if W holds a NaN or an infinity, with quantize's message.
template <class T>
QLITE_COLD void fail_weights(matrix_view<const T> W) {
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) {
      fault f;
      f.value = element<T>::load(W(r, c));
      f.row = r;
      f.col = c;
      f.kind = fault_kind::not_finite;
      if (!is_finite(f.value)) fail_fault(f, "", "");
    }
}

/// Rows of X that are worked on at once, as doubles: as many as leave room in the L2 cache.
QLITE_INLINE constexpr std::size_t output_block(std::size_t rows, std::size_t cols) noexcept {
  constexpr std::size_t numbers = std::size_t{1} << 15;
  return min_of(rows, max_of(numbers / max_of<std::size_t>(cols, 1), std::size_t{8}));
}

/// Compares X W^T with X V^T, where row_of(r, out) writes row r of V as K doubles and may use K floats of scratch.
///
/// Every row of W has sums of its own, which are joined in order: the result does not depend on the executor.
template <class T, class U, class Rows, class Executor>
error_metrics compare_outputs(matrix_view<const T> W, matrix_view<const U> X, const Rows& row_of,
                              const Executor& executor) {
  const std::size_t n = W.rows(), k = W.cols(), m = X.rows();
  error_metrics all;
  if (n == 0 || m == 0) return all;
  const std::size_t block = output_block(m, k);
  const std::size_t tasks = task_count(executor, n, n * k * m, std::size_t{1} << 18);
  const std::size_t task_doubles = (block + 3) * k;
  const buffer scratch(tasks * task_doubles * sizeof(double));
  const buffer sums(n * sizeof(error_metrics));
  error_metrics* const of_row = reinterpret_cast<error_metrics*>(sums.data());
  executor.parallel_for(tasks, [&](std::size_t task) {
    double* const x = reinterpret_cast<double*>(scratch.data()) + task * task_doubles;
    double* const exact = x + block * k;
    double* const stored = exact + k;
    float* const floats = reinterpret_cast<float*>(stored + k);
    const slice rows = slice_of(n, tasks, task);
    for (std::size_t r = rows.begin; r < rows.end; ++r) of_row[r] = error_metrics();
    for (std::size_t first = 0; first < m; first += block) {
      const std::size_t count = min_of(block, m - first);
      for (std::size_t i = 0; i < count; ++i) load_doubles(X.row(first + i), k, x + i * k);
      for (std::size_t r = rows.begin; r < rows.end; ++r) {
        load_doubles(W.row(r), k, exact);
        row_of(r, stored, floats);
        for (std::size_t i = 0; i < count; ++i) of_row[r].observe(dot(exact, x + i * k, k), dot(stored, x + i * k, k));
      }
    }
  });
  for (std::size_t r = 0; r < n; ++r) all.merge(of_row[r]);
  if (QLITE_UNLIKELY(!(all.squared_error() + all.squared_reference() < __builtin_huge_val()))) {
    check_finite_inputs("X", X);
    fail_weights(W);
  }
  return all;
}

template <class T, class Scheme>
QLITE_INLINE void check_twin(matrix_view<T> W, const quantized_view<Scheme>& q) {
  static_assert(is_element<std::remove_const_t<T>>, "qlite: W is a matrix of float, float16 or bfloat16");
  check_matrix("W", W);
  check_quantized("q", q);
  check_equal("rows of q", q.rows(), "rows of W", W.rows());
  check_equal("columns of q", q.cols(), "columns of W", W.cols());
}

}    // namespace impl

/// Compares the numbers that `q` stands for with W [N, K] (float, float16 or bfloat16). O(N K); allocates one row.
/// Errors: a view that cannot be read, another shape.
template <class T, class Scheme>
[[nodiscard]] error_metrics weight_metrics(matrix_view<T> W, const quantized_view<Scheme>& q) {
  impl::check_twin(W, q);
  error_metrics metrics;
  if (W.empty()) return metrics;
  const detail::buffer memory(q.cols() * sizeof(float));
  float* const row = reinterpret_cast<float*>(memory.data());
  for (std::size_t r = 0; r < q.rows(); ++r) {
    impl::dequantize_row(q, r, row);
    for (std::size_t c = 0; c < q.cols(); ++c)
      metrics.observe(static_cast<double>(detail::element<std::remove_const_t<T>>::load(W(r, c))),
                      static_cast<double>(row[c]));
  }
  return metrics;
}

/// The same for a matrix that owns its memory.
template <class T, class Scheme>
[[nodiscard]] error_metrics weight_metrics(matrix_view<T> W, const quantized_matrix<Scheme>& q) {
  return weight_metrics(W, q.view());
}

/// The same for weights whose columns were scaled: the numbers that codes and input scale stand for together.
template <class T, class Scheme>
[[nodiscard]] error_metrics weight_metrics(matrix_view<T> W, const scaled_matrix<Scheme>& q) {
  impl::check_twin(W, q.codes().view());
  impl::check_scale(q.input_scale(), W.cols());
  error_metrics metrics;
  if (W.empty()) return metrics;
  const detail::buffer memory(q.cols() * sizeof(float));
  float* const row = reinterpret_cast<float*>(memory.data());
  for (std::size_t r = 0; r < q.rows(); ++r) {
    impl::dequantize_row(q.codes().view(), r, row);
    for (std::size_t c = 0; c < q.cols(); ++c)
      metrics.observe(static_cast<double>(detail::element<std::remove_const_t<T>>::load(W(r, c))),
                      static_cast<double>(row[c]) / static_cast<double>(q.input_scale()[c]));
  }
  return metrics;
}

/// Compares the outputs X W^T [M, N] of a layer with those of its quantized weights, X dequantize(q)^T, both in double.
/// X [M, K] are the layer's inputs on data that matter: W [N, K] and X of float, float16 or bfloat16.
///
/// O(M N K). `executor` spreads the rows of W; the result does not depend on it. Allocates 56 bytes a row of W and
/// about 300 KiB a task. Errors: a view that cannot be read, another shape, a NaN or an infinity in W or X.
template <class T, class Scheme, class U, class Executor = serial>
[[nodiscard]] error_metrics output_metrics(matrix_view<T> W, const quantized_view<Scheme>& q, matrix_view<U> X,
                                           const Executor& executor = {}) {
  static_assert(detail::is_element<std::remove_const_t<U>>, "qlite: X is a matrix of float, float16 or bfloat16");
  impl::check_twin(W, q);
  impl::check_matrix("X", X);
  impl::check_equal("the columns of X", X.cols(), "columns of W", W.cols());
  return impl::compare_outputs(
      matrix_view<const std::remove_const_t<T>>(W), matrix_view<const std::remove_const_t<U>>(X),
      [&](std::size_t r, double* out, float* floats) {
        impl::dequantize_row(q, r, floats);
        impl::load_doubles(floats, q.cols(), out);
      },
      executor);
}

/// The same for a matrix that owns its memory.
template <class T, class Scheme, class U, class Executor = serial>
[[nodiscard]] error_metrics output_metrics(matrix_view<T> W, const quantized_matrix<Scheme>& q, matrix_view<U> X,
                                           const Executor& executor = {}) {
  return output_metrics(W, q.view(), X, executor);
}

/// The same for weights whose columns were scaled: (X / s) dequantize(codes)^T, with the input scale s.
template <class T, class Scheme, class U, class Executor = serial>
[[nodiscard]] error_metrics output_metrics(matrix_view<T> W, const scaled_matrix<Scheme>& q, matrix_view<U> X,
                                           const Executor& executor = {}) {
  static_assert(detail::is_element<std::remove_const_t<U>>, "qlite: X is a matrix of float, float16 or bfloat16");
  impl::check_twin(W, q.codes().view());
  impl::check_scale(q.input_scale(), W.cols());
  impl::check_matrix("X", X);
  impl::check_equal("the columns of X", X.cols(), "columns of W", W.cols());
  return impl::compare_outputs(
      matrix_view<const std::remove_const_t<T>>(W), matrix_view<const std::remove_const_t<U>>(X),
      [&](std::size_t r, double* out, float* floats) {
        impl::dequantize_row(q.codes().view(), r, floats);
        for (std::size_t c = 0; c < q.cols(); ++c)
          out[c] = static_cast<double>(floats[c]) / static_cast<double>(q.input_scale()[c]);
      },
      executor);
}

/// The same for weights some of whose columns stay in float16: X (dequantize(codes) + outliers)^T, all in double.
template <class T, class Scheme, class U, class Executor = serial>
[[nodiscard]] error_metrics output_metrics(matrix_view<T> W, const split_matrix<Scheme>& q, matrix_view<U> X,
                                           const Executor& executor = {}) {
  static_assert(detail::is_element<std::remove_const_t<U>>, "qlite: X is a matrix of float, float16 or bfloat16");
  impl::check_twin(W, q.codes().view());
  impl::check_matrix("X", X);
  impl::check_equal("the columns of X", X.cols(), "columns of W", W.cols());
  const outlier_columns& outliers = q.outliers();
  return impl::compare_outputs(
      matrix_view<const std::remove_const_t<T>>(W), matrix_view<const std::remove_const_t<U>>(X),
      [&](std::size_t r, double* out, float* floats) {
        impl::dequantize_row(q.codes().view(), r, floats);
        impl::load_doubles(floats, q.cols(), out);
        for (std::size_t i = 0; i < outliers.count(); ++i)    // whose codes mean 0
          out[outliers.indices()[i]] += static_cast<double>(outliers.weights()[i * outliers.rows() + r].to_float());
      },
      executor);
}

/// The relative error of a layer's output, |X (W - q)^T| / |X W^T| in the Frobenius norm: the `relative_error` of
/// output_metrics. `q` is a quantized_view, a quantized_matrix, a scaled_matrix or a split_matrix.
template <class T, class Quantized, class U, class Executor = serial>
[[nodiscard]] double output_error(matrix_view<T> W, const Quantized& q, matrix_view<U> X,
                                  const Executor& executor = {}) {
  return output_metrics(W, q, X, executor).relative_error();
}

QLITE_END_FUNCTIONS
