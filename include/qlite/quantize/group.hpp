// What a method sees of the matrix: one group at a time, as spans of floats; and what it answers: how the group's
// numbers are stored.
#pragma once

#include <qlite/core/check.hpp>
#include <qlite/core/scheme.hpp>
#include <qlite/quantize/rules.hpp>

QLITE_BEGIN_FUNCTIONS

// These types are in the namespace of functions: they never leave a translation unit.

/// Weights that share a scale: a piece of one row, or the whole matrix (per_tensor). `Kernels` are the loops that read
/// it, plain_kernels or vector_kernels.
template <class T, class Kernels>
struct weight_group {
  using element_type = T;
  using kernels = Kernels;
  const T* data;
  std::size_t rows, cols, row_stride;
  std::size_t col = 0;    ///< the column of W that the first weight is in
};

/// Why a group cannot be quantized.
enum class fault_kind : std::int32_t { none = 0, not_finite = 1, scale_overflow = 2, offset_overflow = 4 };

/// The smallest and the largest weight of a group (of several groups, a lane each). `high` is infinite where a weight
/// is NaN or infinite. Zeros have either sign.
template <class F = float>
struct weight_range {
  F low{}, high{};
  detail::ints_of<F> negative_first{};    ///< all bits where high == -low and the negative one comes first

  QLITE_INLINE detail::ints_of<F> not_finite() const noexcept { return detail::where_not_finite(high); }
};

namespace impl {

/// Weights converted to float at once. The order of every sum depends on it.
inline constexpr std::size_t span_size = 512;

/// A fault and where it is. Tasks record it and the calling thread reports it, so that no exception has to cross
/// somebody else's thread pool.
struct fault {
  fault_kind kind = fault_kind::none;
  float value = 0.0f;
  std::size_t row = 0, col = 0;
};

/// Calls f(const float* w, size_t n) for the weights of a group in row-major order, n <= span_size. The cuts are the
/// same for every element type.
template <class T, class Kernels, class F>
QLITE_INLINE void for_each_span(const weight_group<T, Kernels>& group, F&& f) {
  for (std::size_t r = 0; r < group.rows; ++r) {
    const T* const row = group.data + r * group.row_stride;
    for (std::size_t c = 0; c < group.cols; c += span_size) {
      const std::size_t n = min_of(span_size, group.cols - c);
      if constexpr (std::is_same_v<T, float>) {
        f(row + c, n);
      } else {
        float w[span_size];
        for (std::size_t i = 0; i < n; ++i) w[i] = element<T>::load(row[c + i]);
        f(static_cast<const float*>(w), n);
      }
    }
  }
}

/// Whether a group has two extremes of the same size, and the negative one comes first.
template <class T, class Kernels>
QLITE_COLD bool negative_extreme_first(const weight_group<T, Kernels>& group, float low, float high) {
  if (!(high == -low && high > 0.0f)) return false;
  for (std::size_t r = 0; r < group.rows; ++r)
    for (std::size_t c = 0; c < group.cols; ++c) {
      const float w = element<T>::load(group.data[r * group.row_stride + c]);
      if (abs_of(w) == high) return w < 0.0f;
    }
  return false;
}

/// The range of a group; also where NaN and infinity show.
template <class T, class Kernels>
QLITE_INLINE weight_range<> range_of(const weight_group<T, Kernels>& group) {
  weight_range<> all = Kernels::range(group.data, group.cols);
  for (std::size_t r = 1; r < group.rows; ++r) {
    const weight_range<> row = Kernels::range(group.data + r * group.row_stride, group.cols);
    all.low = at_most(row.low, all.low);
    all.high = at_least(row.high, all.high);
  }
  if (QLITE_UNLIKELY(all.high == -all.low))
    all.negative_first = negative_extreme_first(group, all.low, all.high) ? -1 : 0;
  return all;
}

}    // namespace impl
QLITE_END_FUNCTIONS
