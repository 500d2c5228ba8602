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

template <class I, class = void>
inline constexpr bool takes_four_rows = false;
template <class I>
inline constexpr bool takes_four_rows<I, std::void_t<typename I::rows>> = true;

/// Rows of one panel that are quantized together, so that a line of the panel is written to while it is in the cache.
template <class I, class T>
class panel_writer {
 public:
  static constexpr std::size_t most_rows = I::integer_tiles[0];

  /// Rows first to first + count of a panel of `rows`, of which x is the first.
  QLITE_INLINE panel_writer(std::byte* panel, std::size_t rows, std::size_t first, matrix_view<const T> x) noexcept
      : run_(panel), rows_(rows), first_(first), x_(x) {}

  /// Scales of all columns, or of those from `begin` on: the largest magnitude of each row decides.
  QLITE_INLINE void scale(std::size_t begin, std::size_t count, const input_scale* given) noexcept {
    std::size_t r = 0;
    if constexpr (takes_four_rows<I>) {
      for (; r + 4 <= x_.rows(); r += 4) {
        const T* const rows[4] = {x_.row(r), x_.row(r + 1), x_.row(r + 2), x_.row(r + 3)};
        const auto most = I::rows::largest_magnitudes(rows, begin, count);
        if (given == nullptr && I::rows::scales(most, scale_ + r, inverse_ + r)) continue;
        std::uint32_t amax[4];
        std::memcpy(amax, &most, sizeof amax);
        for (std::size_t i = 0; i < 4; ++i) set_scale(r + i, amax[i], given);
      }
    }
    for (; r < x_.rows(); ++r) set_scale(r, largest_magnitude<floats>(x_.row(r) + begin, count), given);
  }

  /// The runs of `count` columns that share these scales.
  QLITE_INLINE void write(std::size_t begin, std::size_t count) noexcept {
    do {
      const std::size_t length = min_of(count, fold_length);
      std::size_t r = 0;
      if constexpr (takes_four_rows<I>) {
        for (; r + 4 <= x_.rows(); r += 4)
          if (QLITE_LIKELY(all_scaled(r)))
            write_four(begin, r, length);
          else
            for (std::size_t i = 0; i < 4; ++i) write_row(begin, r + i, length);
      }
      for (; r < x_.rows(); ++r) write_row(begin, r, length);
      run_ += rows_ * run_bytes(length);
      begin += length;
      count -= length;
    } while (count != 0);
  }

 private:
  using floats = typename I::floats;

  QLITE_INLINE void set_scale(std::size_t r, std::uint32_t amax, const input_scale* given) noexcept {
    const input_scale s = given == nullptr || amax >= float_infinity_bits ? scale_for(amax) : *given;
    scale_[r] = s.scale;
    inverse_[r] = s.inverse;
  }
  QLITE_INLINE bool all_scaled(std::size_t r) const noexcept {
    return inverse_[r] != 0.0f && inverse_[r + 1] != 0.0f && inverse_[r + 2] != 0.0f && inverse_[r + 3] != 0.0f;
  }

  /// Where row r has its sum, its scale and its first code.
  QLITE_INLINE std::byte* sum_of(std::size_t r) const noexcept { return run_ + (first_ + r) * sizeof(std::int32_t); }
  QLITE_INLINE std::byte* scale_of(std::size_t r) const noexcept { return run_ + (rows_ + first_ + r) * sizeof(float); }
  QLITE_INLINE std::byte* start_of(std::size_t r) const noexcept {
    return run_ + (2 * rows_ + first_ + r) * sizeof(std::int32_t);
  }
  QLITE_INLINE std::byte* codes_of(std::size_t r) const noexcept {
    return run_ + rows_ * run_bytes(0) + (first_ + r) * I::k_unit;
  }

  /// A run of one row, padded with zeros to whole units.
  QLITE_INLINE void write_row(std::size_t begin, std::size_t r, std::size_t length) const noexcept {
    const T* const x = x_.row(r) + begin;
    const floats factor = floats::splat(inverse_[r]);
    const bool zero = inverse_[r] == 0.0f;    // also in place of NaN
    typename floats::code_sums sums;
    std::byte* to = codes_of(r);
    std::int8_t unit[activation_unit] = {};
    for (std::size_t k = 0; k < length; k += activation_unit, to += rows_ * activation_unit) {
      if (!zero) {
        const floats values =
            k + activation_unit <= length ? floats::load(x + k) : load_part<floats>(x + k, length - k);
        store_codes(mul(values, factor), unit, sums);
      }
      for (std::size_t i = 0; i < activation_unit; i += I::k_unit) std::memcpy(to + i * rows_, unit + i, I::k_unit);
    }
    const std::int32_t sum = sums.total(), start = -8 * sum;
    std::memcpy(sum_of(r), &sum, sizeof sum);
    std::memcpy(start_of(r), &start, sizeof start);
    std::memcpy(scale_of(r), &scale_[r], sizeof(float));
  }

  /// A run of rows r to r + 3.
  QLITE_INLINE void write_four(std::size_t begin, std::size_t r, std::size_t length) const noexcept {
    const T* const rows[4] = {x_.row(r) + begin, x_.row(r + 1) + begin, x_.row(r + 2) + begin, x_.row(r + 3) + begin};
    const auto sums = I::rows::codes(rows, length, inverse_ + r, codes_of(r), rows_ * I::k_unit);
    std::int32_t start[4];
    std::memcpy(start, &sums, sizeof start);
    for (std::int32_t& s : start) s *= -8;
    std::memcpy(sum_of(r), &sums, sizeof sums);
    std::memcpy(start_of(r), start, sizeof start);
    std::memcpy(scale_of(r), scale_ + r, sizeof start);
  }

  std::byte* run_;
  std::size_t rows_, first_;
  matrix_view<const T> x_;
  float scale_[most_rows], inverse_[most_rows];
};

/// Quantizes rows of one panel. `given` is a scale for all of them, or null to take one from each row: per group of the
/// weights if GroupScales, else for the whole row.
template <bool GroupScales, class I, class T>
QLITE_INLINE void quantize_panel(panel_writer<I, T> to, const strip_shape& shape, const input_scale* given) noexcept {
  if (!GroupScales || shape.groups == 0) to.scale(0, shape.cols, given);
  if (shape.groups == 0) to.write(0, 0);
  for (std::size_t g = 0; g < shape.groups; ++g) {
    if (GroupScales) to.scale(g * shape.group, shape.length(g), nullptr);
    to.write(g * shape.group, shape.length(g));
  }
}

/// X with rows that can be asked for where there are no columns, and so perhaps no data to count from.
template <class T>
QLITE_INLINE matrix_view<const T> counted(matrix_view<const T> x) noexcept {
  return {x.data(), x.rows(), x.cols(), x.cols() == 0 ? 0 : x.row_stride()};
}

/// The scale that all rows share: given by the caller, or the largest magnitude of the finite rows (per_tensor).
template <class F, class Code, class T>
QLITE_INLINE input_scale shared_scale(const fixed_activations<Code, T>& x) noexcept {
  return {x.scale, 1.0f / x.scale};
}
template <class F, class Code, class T>
QLITE_INLINE input_scale shared_scale(const dynamic_activations<Code, per_tensor, T>& x) noexcept {
  std::uint32_t most = 0;
  const matrix_view<const T> rows = counted(x.x);
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    const std::uint32_t amax = largest_magnitude<F>(rows.row(r), rows.cols());
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
  const auto from = counted(x.x);
  const std::size_t rows = from.rows();
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
    for (std::size_t r = part.begin, end; r < part.end; r = end) {
      const std::size_t begin = r / to.largest * to.largest;
      end = min_of(part.end, begin + to.largest);
      using value = std::remove_const_t<typename decltype(from)::element_type>;
      quantize_panel<GroupScales>(
          panel_writer<I, value>(to.data + begin * to.row_bytes, panel_rows(I::integer_tiles, begin, rows), r - begin,
                                 {from.row(r), end - r, from.cols(), from.row_stride()}),
          shape, given);
    }
  };
  if (tasks == 1)
    task(0);
  else
    executor.parallel_for(tasks, task);
}

}    // namespace impl
QLITE_END_FUNCTIONS
