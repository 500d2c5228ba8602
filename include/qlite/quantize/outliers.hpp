// Outliers: the few input channels whose magnitudes ruin INT8 activations keep 16-bit weights and float inputs; the
// rest is INT8.
//
//     const auto split = quantize<w8>(W, split_outliers{stats});
//     const auto packed = pack<backend>(split.codes());
//     clear_outliers(X, split.outliers(), rest);                     // rest = X without those channels
//     gemm(dynamic<int8>(rest), packed, Y);
//     add_outliers(X, split.outliers(), Y);                          // and with them
#pragma once

#include <qlite/calibrate/activation_stats.hpp>
#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/rtn.hpp>
#include <qlite/quantize/scaled_by.hpp>

QLITE_BEGIN_NAMESPACE

/// Splits W by columns (Dettmers, Lewis, Belkada, Zettlemoyer: LLM.int8(), NeurIPS 2022, arXiv:2208.07339): where
/// max |x_c| of the statistics is above `threshold`, the weights are kept in float16 and count as 0 in the codes; the
/// others are quantized by `Fit`. The paper looks at each batch, this at calibration data: weights are split once.
template <class Fit = rtn>
struct split_outliers {
  const activation_stats* statistics;    ///< must outlive the call
  float threshold;
  Fit fit;
  QLITE_INLINE explicit split_outliers(const activation_stats& stats, float above = 6.0f, Fit method = {})
      : statistics(&stats), threshold(above), fit(method) {}
};

/// Columns of W [rows, cols] that are not quantized.
class outlier_columns {
 public:
  QLITE_INLINE outlier_columns() noexcept = default;
  QLITE_INLINE outlier_columns(std::size_t rows, std::size_t cols, std::size_t count)
      : indices_(count * sizeof(std::size_t)),
        weights_(rows * count * sizeof(float16)),
        rows_(rows),
        cols_(cols),
        count_(count) {}
  QLITE_INLINE outlier_columns(outlier_columns&& other) noexcept { *this = static_cast<outlier_columns&&>(other); }
  QLITE_INLINE outlier_columns& operator=(outlier_columns&& other) noexcept {    // takes; the other is empty then
    indices_ = static_cast<detail::buffer&&>(other.indices_);
    weights_ = static_cast<detail::buffer&&>(other.weights_);
    rows_ = other.rows_;
    cols_ = other.cols_;
    count_ = other.count_;
    other.rows_ = other.cols_ = other.count_ = 0;
    return *this;
  }
  QLITE_INLINE ~outlier_columns() = default;

  QLITE_INLINE std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE std::size_t cols() const noexcept { return cols_; }
  QLITE_INLINE std::size_t count() const noexcept { return count_; }
  /// Which columns, ascending, [count].
  QLITE_INLINE std::size_t* indices() noexcept { return reinterpret_cast<std::size_t*>(indices_.data()); }
  QLITE_INLINE const std::size_t* indices() const noexcept {
    return reinterpret_cast<const std::size_t*>(indices_.data());
  }
  /// Their weights, [count, rows]: one column after the other.
  QLITE_INLINE float16* weights() noexcept { return reinterpret_cast<float16*>(weights_.data()); }
  QLITE_INLINE const float16* weights() const noexcept { return reinterpret_cast<const float16*>(weights_.data()); }
  QLITE_INLINE std::size_t bytes() const noexcept { return indices_.size() + weights_.size(); }

 private:
  detail::buffer indices_, weights_;
  std::size_t rows_ = 0, cols_ = 0, count_ = 0;
};

/// Codes of all columns, those of the outliers meaning 0, and the outliers.
template <class Scheme>
class split_matrix {
 public:
  using scheme_type = Scheme;
  QLITE_INLINE split_matrix() noexcept = default;
  QLITE_INLINE split_matrix(split_matrix&&) noexcept = default;
  QLITE_INLINE split_matrix& operator=(split_matrix&&) noexcept = default;
  QLITE_INLINE ~split_matrix() = default;
  QLITE_INLINE split_matrix(quantized_matrix<Scheme>&& codes, outlier_columns&& outliers) noexcept
      : codes_(static_cast<quantized_matrix<Scheme>&&>(codes)), outliers_(static_cast<outlier_columns&&>(outliers)) {}

  QLITE_INLINE std::size_t rows() const noexcept { return codes_.rows(); }
  QLITE_INLINE std::size_t cols() const noexcept { return codes_.cols(); }
  QLITE_INLINE const quantized_matrix<Scheme>& codes() const noexcept { return codes_; }
  QLITE_INLINE const outlier_columns& outliers() const noexcept { return outliers_; }

 private:
  quantized_matrix<Scheme> codes_;
  outlier_columns outliers_;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS

/// Refuses statistics of other columns, a threshold that is none, and what the inner method refuses.
template <class Fit>
void check_columns(const split_outliers<Fit>& method, std::size_t cols) {
  impl::check_equal("the columns of the statistics", method.statistics->cols(), "columns of W", cols);
  if (QLITE_UNLIKELY(!(method.threshold >= 0.0f)))
    impl::fail("qlite: split_outliers.threshold is %g, expected at least 0", static_cast<double>(method.threshold));
  impl::check_use(method.fit, cols);
}

/// The hook of quantize/quantize.hpp. Errors: as quantize; a weight of an outlier that overflows float16.
template <class Fit, class Scheme, class T, class Executor>
split_matrix<Scheme> quantize_matrix(const split_outliers<Fit>& method, Scheme scheme, matrix_view<const T> W,
                                     const Executor& executor) {
  using traits = detail::scheme_traits<Scheme>;
  static_assert(!traits::has_offset && !(traits::has_codebook && traits::is_integer),
                "qlite: split_outliers needs a scheme with a code that means 0, which offsets and nl4 have not");
  const auto is_outlier = [&](std::size_t c) { return method.statistics->max_abs(c) > method.threshold; };
  std::size_t count = 0;
  for (std::size_t c = 0; c < W.cols(); ++c) count += is_outlier(c) ? std::size_t{1} : std::size_t{0};
  outlier_columns outliers(W.rows(), W.cols(), count);
  const impl::float_matrix rest(W.rows(), W.cols());
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) rest.view(r, c) = detail::element<T>::load(W(r, c));
  for (std::size_t c = 0, i = 0; c < W.cols(); ++c) {
    if (!is_outlier(c)) continue;
    outliers.indices()[i] = c;
    for (std::size_t r = 0; r < W.rows(); ++r) {
      const float w = rest.view(r, c);
      const float16 stored = float16::from_float(w);
      if (QLITE_UNLIKELY(!detail::is_finite(stored.to_float())))
        impl::fail("qlite: W at row %zu, column %zu is %g, which overflows the float16 of an outlier", r, c,
                   static_cast<double>(w));
      outliers.weights()[i * W.rows() + r] = stored;
      rest.view(r, c) = 0.0f;
    }
    ++i;
  }
  return {impl::quantize_any<impl::kernels>(scheme, matrix_view<const float>(rest.view), method.fit, executor),
          static_cast<outlier_columns&&>(outliers)};
}

/// out [M, K] = X [M, K] with 0 in the columns of the outliers. `out` may be X. Errors: shapes.
template <class T>
void clear_outliers(matrix_view<T> X, const outlier_columns& outliers, matrix_view<std::remove_const_t<T>> out) {
  impl::check_matrix("X", X);
  impl::check_matrix("out", out);
  impl::check_equal("columns of X", X.cols(), "columns of W", outliers.cols());
  impl::check_equal("rows of out", out.rows(), "rows of X", X.rows());
  impl::check_equal("columns of out", out.cols(), "columns of X", X.cols());
  for (std::size_t r = 0; r < X.rows(); ++r) {
    if (out.row(r) != X.row(r))
      for (std::size_t c = 0; c < X.cols(); ++c) out(r, c) = X(r, c);
    for (std::size_t i = 0; i < outliers.count(); ++i)
      out(r, outliers.indices()[i]) = detail::element<std::remove_const_t<T>>::store(0.0f);
  }
}

/// Y [M, N] += X Wᵀ for the outliers alone: one fma in float for each column, in their order. Errors: shapes.
template <class T, class Executor = serial>
void add_outliers(matrix_view<T> X, const outlier_columns& outliers, matrix_view<float> Y,
                  const Executor& executor = {}) {
  using element_type = std::remove_const_t<T>;
  impl::check_matrix("X", X);
  impl::check_matrix("Y", Y);
  impl::check_equal("columns of X", X.cols(), "columns of W", outliers.cols());
  impl::check_equal("rows of Y", Y.rows(), "rows of X", X.rows());
  impl::check_equal("columns of Y", Y.cols(), "rows of W", outliers.rows());
  const std::size_t tasks =
      impl::task_count(executor, Y.rows(), Y.rows() * Y.cols() * outliers.count(), std::size_t{1} << 17);
  executor.parallel_for(tasks, [&](std::size_t task) {
    const detail::slice rows = detail::slice_of(Y.rows(), tasks, task);
    for (std::size_t r = rows.begin; r < rows.end; ++r)
      for (std::size_t i = 0; i < outliers.count(); ++i) {
        const float x = detail::element<element_type>::load(X(r, outliers.indices()[i]));
        const float16* const w = outliers.weights() + i * outliers.rows();
        float* const y = Y.row(r);
        for (std::size_t n = 0; n < Y.cols(); ++n) y[n] = detail::fma(x, w[n].to_float(), y[n]);
      }
  });
}

QLITE_END_FUNCTIONS
