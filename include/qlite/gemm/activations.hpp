// How the rows of X take part in a product.
//
//   X                               as they are: weight-only arithmetic in float
//   dynamic<int8>(X)                quantized on the fly, one scale per token and weight group (per token where the
//                                   weights have no groups)
//   dynamic<int8, per_token>(X)     one scale per token
//   dynamic<int8, per_tensor>(X)    one scale for all of X; the only form in which rows depend on each other
//   fixed<int8>(X, scale)           a scale from calibration
//   quantize_activations(...)       any of the integer forms, computed once for several products
//
// Codes are x * (127 / amax), rounded to nearest even and clamped to +-127, and the scale is amax / 127, both in float.
// Where amax is 0, or so small that 127 / amax is not finite (below 4e-37), codes and scale are 0. A row of X that
// holds a NaN or an infinity gives an all-NaN row of Y.
#pragma once

#include <qlite/core/check.hpp>
#include <qlite/core/executor.hpp>
#include <qlite/gemm/activation_types.hpp>
#include <qlite/gemm/epilogue.hpp>
#include <qlite/gemm/integer_tile.hpp>
#include <qlite/pack/packed_matrix.hpp>

QLITE_BEGIN_NAMESPACE

/// Activations that are quantized already, in memory of the caller; made by `quantize_activations`. Serves every packed
/// matrix of that backend with the same K and group size. Granularity: per_weight_group or per_token.
template <class Granularity, class Backend = cpu::native>
class quantized_activations {
 public:
  using granularity = Granularity;
  using backend = Backend;

  QLITE_INLINE quantized_activations() noexcept = default;
  QLITE_INLINE quantized_activations(const detail::input_rows& data, std::size_t rows, std::size_t cols,
                                     std::size_t group) noexcept
      : data_(data), rows_(rows), cols_(cols), group_(group) {}

  QLITE_INLINE std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE std::size_t cols() const noexcept { return cols_; }
  /// Weights of a row that share a scale, as in the packed matrix these were made for.
  QLITE_INLINE std::size_t group_size() const noexcept { return group_; }
  QLITE_INLINE detail::input_rows data() const noexcept { return data_; }

 private:
  detail::input_rows data_;
  std::size_t rows_ = 0, cols_ = 0, group_ = 0;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Where the quantized rows of X [rows, K] go, in the panels of instruction set I (gemm/input_rows.hpp).
template <class I>
struct input_buffers {
  static constexpr std::size_t largest = I::integer_tiles[0];
  std::byte* data;
  std::size_t rows, row_bytes, padded_rows = 0;

  QLITE_INLINE input_buffers(carver& memory, const strip_shape& shape, std::size_t m) noexcept
      : rows(m), row_bytes(input_row_bytes(shape)) {
    if (rows != 0) {
      const std::size_t last = (rows - 1) / largest * largest;
      padded_rows = last + panel_rows(I::integer_tiles, last, rows);
    }
    data = memory.take<std::byte>(padded_rows * row_bytes);
  }
  QLITE_INLINE operator input_rows() const noexcept { return {data, row_bytes}; }    // NOLINT: implicit on purpose
};

/// One row of a panel, where its next run begins.
template <class I>
struct panel_row {
  std::byte* run;
  std::size_t rows, row;    // of the panel; which one it is

  /// Writes the codes of k to k + 15, the first at a multiple of 16.
  QLITE_INLINE void store(std::size_t k, const std::int8_t* codes) const noexcept {
    std::byte* const to = run + rows * (run_bytes(0) + k) + row * I::k_unit;
    for (std::size_t i = 0; i < activation_unit; i += I::k_unit) std::memcpy(to + i * rows, codes + i, I::k_unit);
  }
  /// Ends a run of `length` codes.
  QLITE_INLINE void finish(std::size_t length, std::int32_t sum, float scale) noexcept {
    std::memcpy(run + row * sizeof sum, &sum, sizeof sum);
    std::memcpy(run + rows * sizeof sum + row * sizeof scale, &scale, sizeof scale);
    run += rows * run_bytes(length);
  }
};

/// Largest |x| of `count` values as bits of a float; NaN counts as larger than infinity.
template <class F, class T>
QLITE_INLINE std::uint32_t largest_magnitude(const T* x, std::size_t count) noexcept {
  F most = F::splat(0.0f);
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) most = max_bits(most, bit_and(F::load(x + i), 0x7fffffffu));
  if (i < count) most = max_bits(most, bit_and(load_part<F>(x + i, count - i), 0x7fffffffu));
  return largest_bits(most);
}

struct input_scale {
  float scale, inverse;
};

/// Scale and inverse for a largest magnitude; a NaN scale where that is not finite.
QLITE_INLINE input_scale scale_for(std::uint32_t amax_bits) noexcept {
  if (amax_bits >= float_infinity_bits) return {bits_float(float_quiet_nan_bits), 0.0f};
  const float amax = bits_float(amax_bits), inverse = 127.0f / amax;
  if (amax_bits == 0 || !is_finite(inverse)) return {0.0f, 0.0f};
  return {amax / 127.0f, inverse};
}

/// Writes the runs of `count` values that share a scale.
template <class I, class T>
QLITE_INLINE void quantize_runs(const T* x, std::size_t count, input_scale s, panel_row<I>& to) noexcept {
  using floats = typename I::floats;
  const floats factor = floats::splat(s.inverse);
  do {
    const std::size_t length = min_of(count, fold_length);
    typename floats::code_sums sum;
    std::int8_t codes[activation_unit] = {};    // zeros also in place of NaN
    for (std::size_t k = 0; k < length; k += activation_unit) {
      if (s.inverse != 0.0f) {
        const floats values =
            k + activation_unit <= length ? floats::load(x + k) : load_part<floats>(x + k, length - k);
        store_codes(mul(values, factor), codes, sum);
      }
      to.store(k, codes);
    }
    to.finish(length, sum.total(), s.scale);
    x += length;
    count -= length;
  } while (count != 0);
}

/// Quantizes one row. `given` is a scale for the whole row, or null to take it from the row: per group of the weights
/// if GroupScales, else per row.
template <bool GroupScales, class I, class T>
QLITE_INLINE void quantize_row(const T* x, const strip_shape& shape, const input_scale* given,
                               panel_row<I> to) noexcept {
  using floats = typename I::floats;
  input_scale s{0.0f, 0.0f};
  if (!GroupScales || shape.groups == 0) {
    const std::uint32_t amax = largest_magnitude<floats>(x, shape.cols);
    s = given == nullptr || amax >= float_infinity_bits ? scale_for(amax) : *given;
    if (shape.groups == 0) quantize_runs(x, 0, s, to);
  }
  for (std::size_t g = 0; g < shape.groups; ++g) {
    const T* const from = x + g * shape.group;
    const std::size_t length = shape.length(g);
    if (GroupScales) s = scale_for(largest_magnitude<floats>(from, length));
    quantize_runs(from, length, s, to);
  }
}

/// The scale that all rows share: given by the caller, or the largest magnitude of the finite rows (per_tensor).
template <class F, class Code, class T>
QLITE_INLINE input_scale shared_scale(const fixed_activations<Code, T>& x) noexcept {
  return {x.scale, 1.0f / x.scale};
}
template <class F, class Code, class T>
QLITE_INLINE input_scale shared_scale(const dynamic_activations<Code, per_tensor, T>& x) noexcept {
  std::uint32_t most = 0;
  for (std::size_t r = 0; r < x.x.rows(); ++r) {
    const std::uint32_t amax = largest_magnitude<F>(x.x.row(r), x.x.cols());
    if (amax < float_infinity_bits) most = max_of(most, amax);
  }
  return scale_for(most);
}

/// Whether the scales of an integer form are one per token, given the weights.
template <class Activations>
inline constexpr bool wants_token_scales = !std::is_same_v<typename Activations::granularity, per_weight_group>;

template <class X>
inline constexpr bool has_shared_scale = false;
template <class Code, class T>
inline constexpr bool has_shared_scale<fixed_activations<Code, T>> = true;
template <class Code, class T>
inline constexpr bool has_shared_scale<dynamic_activations<Code, per_tensor, T>> = true;

/// Quantizes all rows on the executor.
template <class I, bool GroupScales, class Activations, class Executor>
inline void quantize_rows(const Activations& x, const strip_shape& shape, const input_buffers<I>& to,
                          Executor& executor) {
  const std::size_t rows = x.x.rows();
  input_scale shared{0.0f, 0.0f};
  const input_scale* given = nullptr;
  if constexpr (has_shared_scale<Activations>) {
    shared = shared_scale<typename I::floats>(x);
    given = &shared;
  }
  if (to.padded_rows != rows) {
    const std::size_t last = (rows - 1) / to.largest * to.largest;
    std::memset(to.data + last * to.row_bytes, 0, (to.padded_rows - last) * to.row_bytes);
  }
  const std::size_t tasks = task_count(executor, rows, rows * shape.cols, std::size_t{1} << 15);
  const auto task = [&](std::size_t i) {
    const slice part = slice_of(rows, tasks, i);
    for (std::size_t r = part.begin; r < part.end; ++r) {
      const std::size_t begin = r / to.largest * to.largest;
      quantize_row<GroupScales>(
          x.x.row(r), shape, given,
          panel_row<I>{to.data + begin * to.row_bytes, panel_rows(I::integer_tiles, begin, rows), r - begin});
    }
  };
  if (tasks == 1)
    task(0);
  else
    executor.parallel_for(tasks, task);
}

}    // namespace impl
QLITE_END_FUNCTIONS
