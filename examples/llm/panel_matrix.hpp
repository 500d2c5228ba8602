// The unquantized baseline: a float32 or bfloat16 weight matrix and its products.
#pragma once

#include "after.hpp"
#include "executor.hpp"
#include "memory.hpp"
#include "simd.hpp"

namespace llm {

/// Rows of activations, copied into the order in which the micro-kernels read them: tiles of tile_rows rows (the last
/// one has what is left), k after k in each. bfloat16 weights take pairs of k, see simd.hpp.
class packed_rows {
 public:
  /// Packs for weights of type T (float or bfloat16), on all threads.
  template <class T>
  void pack(qlite::matrix_view<const float> x, executor& threads);

  /// Elements of a row in packed order, of 4 bytes each.
  std::size_t depth() const { return depth_; }
  std::size_t rows() const { return rows_; }
  const std::uint32_t* tile(std::size_t first_row) const { return data_.data() + first_row * depth_; }

 private:
  array<std::uint32_t> data_;
  std::size_t rows_ = 0, depth_ = 0;
};

/// A weight matrix [rows (outputs), cols (inputs)] of T = float or bfloat16, in panels of `panel` rows (simd.hpp), the
/// last panel and the last pair padded with zeros.
template <class T>
class panel_matrix {
 public:
  panel_matrix() = default;    // 0 x 0
  panel_matrix(std::size_t rows, std::size_t cols);

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  /// Bytes of the weights, padding not counted.
  std::size_t bytes() const { return rows_ * cols_ * sizeof(T); }

  /// Stores rows first ... first + values.rows() of the matrix, rounded to T (nearest, ties to even).
  void set_rows(std::size_t first, qlite::matrix_view<const float> values);

  /// y[m, rows] = after(x[m, cols] * W^T), x packed for T.
  void multiply(const packed_rows& x, qlite::matrix_view<float> y, const after& op, executor& threads) const;

 private:
  static constexpr std::size_t step = sizeof(T) == 2 ? 2 : 1;    // k that lie together
  std::size_t padded_cols() const { return (cols_ + step - 1) / step * step; }
  const T* panel_at(std::size_t index) const { return data_.data() + index * panel * padded_cols(); }
  template <std::size_t R>
  void multiply_tile(const packed_rows& x, std::size_t first_row, std::size_t panel_index, qlite::matrix_view<float> y,
                     const after& op) const;

  std::size_t rows_ = 0, cols_ = 0;
  array<T> data_;
};

}    // namespace llm
