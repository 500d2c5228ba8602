// A watch over quantized layers in production: now and then, a few rows of an output are computed again from the
// original weights, and the difference is reported.
#pragma once

#include <qlite/cpu/scalar.hpp>
#include <qlite/evaluate/output_error.hpp>
#include <qlite/gemm/epilogue.hpp>

QLITE_BEGIN_NAMESPACE

/// How often and how much a shadow_check looks.
struct shadow_options {
  std::size_t period = 1000;      ///< every how many calls; 1: at each
  std::size_t rows = 1;           ///< rows of X (tokens) that are computed again then, at most
  std::size_t columns = 256;      ///< of Y (rows of W), at most; they move on from check to check
  double expected_error = 0.0;    ///< relative error that is normal for the layer: output_error on calibration data

  QLITE_INLINE constexpr shadow_options() noexcept = default;
};

/// What a check has found.
struct shadow_report {
  std::size_t call = 0;         ///< the number of the call, from 1
  std::size_t first_row = 0;    ///< rows and columns of Y that were looked at
  std::size_t rows = 0;
  std::size_t first_column = 0;
  std::size_t columns = 0;
  error_metrics now;    ///< of this check: outputs in float64 against Y
  error_metrics all;    ///< of all checks so far, this one included
  double drift =
      0;    ///< now.relative_error() / expected_error: about 1 while nothing has changed; 0 if none was given

  QLITE_INLINE constexpr shadow_report() noexcept = default;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// The sum of w[i] x[i] in double.
template <class T, class U>
double dot_of(const T* w, const U* x, std::size_t count) noexcept {
  double sums[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (std::size_t j = 0; j < 4; ++j)
      sums[j] += static_cast<double>(element<T>::load(w[i + j])) * static_cast<double>(element<U>::load(x[i + j]));
  for (std::size_t j = 0; i < count; ++i, ++j)
    sums[j] += static_cast<double>(element<T>::load(w[i])) * static_cast<double>(element<U>::load(x[i]));
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

template <class T, class U, class V, class Epilogue>
void run_shadow_check(matrix_view<T> W, matrix_view<U> X, matrix_view<V> Y, const Epilogue& e,
                      const shadow_options& options, std::size_t& next_column, std::size_t& next_row,
                      shadow_report& report) {
  using value = std::remove_const_t<V>;
  static_assert(is_element<std::remove_const_t<U>> && is_element<value>,
                "qlite: X and Y are matrices of float, float16 or bfloat16");
  check_matrix("X", X);
  check_matrix("Y", Y);
  check_equal("the columns of X", X.cols(), "columns of W", W.cols());
  check_equal("the rows of Y", Y.rows(), "rows of X", X.rows());
  check_equal("the columns of Y", Y.cols(), "rows of W", W.rows());
  check_epilogue(e, Y.rows(), Y.cols());
  const std::size_t m = X.rows(), n = W.rows();
  report.now = error_metrics();
  report.rows = min_of(options.rows, m);
  report.first_row = next_row % (m - report.rows + 1);
  report.columns = min_of(options.columns, n);
  report.first_column = n == 0 ? 0 : min_of(next_column % n, n - report.columns);
  for (std::size_t r = report.first_row; r < report.first_row + report.rows; ++r) {
    const std::size_t end = report.first_column + report.columns;
    for (std::size_t first = report.first_column; first < end; first += 16) {
      const std::size_t count = min_of<std::size_t>(16, end - first);
      float sums[16] = {};
      for (std::size_t j = 0; j < count; ++j)
        sums[j] = static_cast<float>(
            dot_of<std::remove_const_t<T>, std::remove_const_t<U>>(W.row(first + j), X.row(r), X.cols()));
      scalar_floats exact = apply_epilogue(e, scalar_floats::load(sums), r, first, count);
      for (std::size_t j = 0; j < count; ++j)
        report.now.observe(static_cast<double>(exact.v[j]), static_cast<double>(element<value>::load(Y(r, first + j))));
    }
  }
  report.all.merge(report.now);
  report.drift = options.expected_error > 0.0 ? report.now.relative_error() / options.expected_error : 0.0;
  next_row += report.rows;
  next_column = report.first_column + report.columns >= n ? 0 : report.first_column + report.columns;
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// Watches one layer. The object belongs to one thread at a time; it holds numbers only, and the weights stay the
/// caller's (a mapped file, say: they are read only when a check is due).
///
///     shadow_check watch(W, options, [&](const shadow_report& r) { if (r.drift > 2) alarm(r); });
///     gemm(dynamic<int8>(X), packed, Y);
///     watch(X, Y);
///
/// A call that is no check costs a decrement. A check costs rows x columns x K operations, allocates nothing and starts
/// no thread; then it calls `report` with a `const shadow_report&`.
template <class T, class Report>
class shadow_check {
 public:
  static_assert(detail::is_element<std::remove_const_t<T>>, "qlite: W is a matrix of float, float16 or bfloat16");

  /// W [N, K]: the weights before quantization, readable as long as the object is used.
  /// Errors: a view that cannot be read; a period, rows or columns of 0; an expected error that is negative or NaN.
  QLITE_INLINE shadow_check(matrix_view<T> W, const shadow_options& options, Report report)
      : weights_(W), options_(options), report_(static_cast<Report&&>(report)), left_(options.period) {
    impl::check_matrix("W", weights_);
    if (QLITE_UNLIKELY(options.period == 0 || options.rows == 0 || options.columns == 0))
      impl::fail("qlite: shadow_options has period %zu, rows %zu, columns %zu; expected at least 1 each",
                 options.period, options.rows, options.columns);
    if (QLITE_UNLIKELY(!(options.expected_error >= 0.0)))
      impl::fail("qlite: shadow_options.expected_error is %g, expected 0 or more", options.expected_error);
  }

  /// To be called after Y [M, N] = epilogue(X [M, K] W^T); true if this call was a check. Operands of the epilogue must
  /// still hold what the product saw (a residual added to Y in place does not). A call without rows counts for nothing.
  /// Errors, if a check is due: shapes that do not fit, null or misaligned data.
  template <class U, class V, class Epilogue = epilogue::none>
  QLITE_INLINE bool operator()(matrix_view<U> X, matrix_view<V> Y, const Epilogue& e = {}) {
    if (X.rows() == 0) return false;
    ++calls_;
    if (QLITE_LIKELY(--left_ != 0)) return false;
    left_ = options_.period;
    impl::run_shadow_check(weights_, X, Y, e, options_, next_column_, next_row_, last_);
    last_.call = calls_;
    report_(static_cast<const shadow_report&>(last_));
    return true;
  }

  /// Calls so far, and the last report (of call 0 before the first check).
  QLITE_INLINE std::size_t calls() const noexcept { return calls_; }
  QLITE_INLINE const shadow_report& last() const noexcept { return last_; }

 private:
  matrix_view<T> weights_;
  shadow_options options_;
  Report report_;
  std::size_t left_, calls_ = 0, next_column_ = 0, next_row_ = 0;
  shadow_report last_;
};

QLITE_END_NAMESPACE
