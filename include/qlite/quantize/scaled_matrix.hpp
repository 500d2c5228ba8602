// Weights whose columns were scaled before they were quantized: easier to quantize, and the inputs pay for it. The
// scale belongs to the activations, so it is not hidden in the codes: it goes into the layer before, or the caller
// divides.
#pragma once

#include <qlite/quantize/dequantize.hpp>

QLITE_BEGIN_NAMESPACE

/// One positive factor s for each input channel: weights are multiplied by it, W diag(s), inputs divided, x / s.
class channel_scale {
 public:
  QLITE_INLINE channel_scale() noexcept = default;
  /// `cols` factors, indeterminate until written.
  QLITE_INLINE explicit channel_scale(std::size_t cols) : memory_(cols * sizeof(float)), cols_(cols) {}
  QLITE_INLINE channel_scale(channel_scale&& other) noexcept { *this = static_cast<channel_scale&&>(other); }
  QLITE_INLINE channel_scale& operator=(channel_scale&& other) noexcept {    // swaps
    memory_ = static_cast<detail::buffer&&>(other.memory_);
    const std::size_t cols = cols_;
    cols_ = other.cols_;
    other.cols_ = cols;
    return *this;
  }
  QLITE_INLINE ~channel_scale() = default;

  QLITE_INLINE std::size_t size() const noexcept { return cols_; }
  QLITE_INLINE float* data() noexcept { return reinterpret_cast<float*>(memory_.data()); }
  QLITE_INLINE const float* data() const noexcept { return reinterpret_cast<const float*>(memory_.data()); }
  QLITE_INLINE float& operator[](std::size_t c) noexcept { return data()[c]; }
  QLITE_INLINE float operator[](std::size_t c) const noexcept { return data()[c]; }

 private:
  detail::buffer memory_;
  std::size_t cols_ = 0;
};

/// W diag(s), quantized, and s. `pack` refuses it: fold the scale first (`fold_input_scale`), or take the codes with
/// `take_codes` and divide the inputs with `divide_inputs`.
template <class Scheme>
class scaled_matrix {
 public:
  using scheme_type = Scheme;

  QLITE_INLINE scaled_matrix() noexcept = default;
  QLITE_INLINE scaled_matrix(quantized_matrix<Scheme>&& codes, channel_scale&& scale) noexcept
      : codes_(static_cast<quantized_matrix<Scheme>&&>(codes)), scale_(static_cast<channel_scale&&>(scale)) {}
  QLITE_INLINE scaled_matrix(scaled_matrix&&) noexcept = default;
  QLITE_INLINE scaled_matrix& operator=(scaled_matrix&&) noexcept = default;
  QLITE_INLINE ~scaled_matrix() = default;

  QLITE_INLINE std::size_t rows() const noexcept { return codes_.rows(); }
  QLITE_INLINE std::size_t cols() const noexcept { return codes_.cols(); }
  /// W diag(s), quantized.
  QLITE_INLINE const quantized_matrix<Scheme>& codes() const noexcept { return codes_; }
  /// s.
  QLITE_INLINE const channel_scale& input_scale() const noexcept { return scale_; }
  /// The codes alone, for a caller who sees to the scale.
  QLITE_INLINE quantized_matrix<Scheme> take_codes() && noexcept {
    return static_cast<quantized_matrix<Scheme>&&>(codes_);
  }

 private:
  quantized_matrix<Scheme> codes_;
  channel_scale scale_;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline void check_scale(const channel_scale& scale, std::size_t cols) {
  check_equal("the factors of the input scale", scale.size(), "columns of W", cols);
  for (std::size_t c = 0; c < cols; ++c)
    if (QLITE_UNLIKELY(!(scale[c] >= 0x1p-100f && scale[c] <= 0x1p100f)))
      fail("qlite: factor %zu of the input scale is %g, expected 2^-100 ... 2^100", c, static_cast<double>(scale[c]));
}

/// Every row of m times or divided by the factors.
template <class T, class Executor>
void scale_columns(matrix_view<const T> from, const channel_scale& scale, bool divide, matrix_view<T> to,
                   const Executor& executor) {
  const std::size_t tasks =
      task_count(executor, from.rows(), from.rows() * from.cols() * sizeof(T), std::size_t{1} << 17);
  executor.parallel_for(tasks, [&](std::size_t i) {
    const slice rows = slice_of(from.rows(), tasks, i);
    for (std::size_t r = rows.begin; r < rows.end; ++r) {
      const T* const x = from.row(r);
      T* const y = to.row(r);
      for (std::size_t c = 0; c < from.cols(); ++c) {
        const float v = element<T>::load(x[c]);
        y[c] = element<T>::store(divide ? v / scale[c] : v * scale[c]);
      }
    }
  });
}

}    // namespace impl

/// out [M, K] = X [M, K] with column c divided by scale[c]: the inputs that a scaled_matrix expects, where its scale
/// cannot be folded. `out` may be X. Errors: shapes; a factor that is not a positive finite number.
template <class T, class Executor = serial>
void divide_inputs(matrix_view<T> X, const channel_scale& scale, matrix_view<std::remove_const_t<T>> out,
                   const Executor& executor = {}) {
  using element_type = std::remove_const_t<T>;
  impl::check_matrix("X", X);
  impl::check_matrix("out", out);
  impl::check_equal("rows of out", out.rows(), "rows of X", X.rows());
  impl::check_equal("columns of out", out.cols(), "columns of X", X.cols());
  impl::check_scale(scale, X.cols());
  impl::scale_columns(matrix_view<const element_type>(X), scale, true, out, executor);
}

/// Divides what makes the inputs instead of the inputs: `gain` has one number for each channel, the weight of the
/// RMSNorm or LayerNorm before (divide its bias, if it has one, with a second call). Do it once for all layers that
/// read the same inputs, which must have been quantized with the same scale. Errors: null, another size.
template <class T>
void fold_input_scale(const channel_scale& scale, T* gain, std::size_t count) {
  static_assert(detail::is_element<T>, "qlite: the gain is an array of float, float16 or bfloat16");
  impl::check_array("gain", gain, count);
  impl::check_scale(scale, count);
  for (std::size_t c = 0; c < count; ++c)
    gain[c] = detail::element<T>::store(detail::element<T>::load(gain[c]) / scale[c]);
}

/// The same where a linear layer makes the inputs, with nothing nonlinear between: row c of its weights [K, ...] is
/// divided by scale[c], and so is its bias (call the other overload). Errors: another number of rows.
template <class T>
void fold_input_scale(const channel_scale& scale, matrix_view<T> before) {
  static_assert(detail::is_element<T>, "qlite: the layer before is a matrix of float, float16 or bfloat16");
  impl::check_matrix("the layer before", before);
  impl::check_scale(scale, before.rows());
  for (std::size_t r = 0; r < before.rows(); ++r)
    for (std::size_t c = 0; c < before.cols(); ++c)
      before(r, c) = detail::element<T>::store(detail::element<T>::load(before(r, c)) / scale[r]);
}

/// The weights that the codes and the scale stand for together, Ŵ diag(1 / s), into out [N, K].
template <class Scheme, class T, class Executor = serial>
void dequantize(const scaled_matrix<Scheme>& q, matrix_view<T> out, const Executor& executor = {}) {
  dequantize(q.codes(), out, executor);
  impl::scale_columns(matrix_view<const T>(out), q.input_scale(), true, out, executor);
}

QLITE_END_FUNCTIONS
