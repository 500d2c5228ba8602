#include "panel_matrix.hpp"

#include <algorithm>

namespace llm {
namespace {

template <class T>
T element(float x);
template <>
float element<float>(float x) {
  return x;
}
template <>
qlite::bfloat16 element<qlite::bfloat16>(float x) {
  return qlite::bfloat16::from_float(x);
}

std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

/// One tile of packed_rows: `rows` rows of x from `first` on.
template <class T>
void pack_tile(qlite::matrix_view<const float> x, std::size_t first, std::size_t rows, std::uint32_t* out) {
  constexpr bool pairs = sizeof(T) == 2;
  for (std::size_t r = 0; r < rows; ++r) {
    const float* const row = x.row(first + r);
    std::size_t k = 0;
    if constexpr (pairs && has_bf16_dot) {
      const auto half = [](float value) { return std::uint32_t{qlite::bfloat16::from_float(value).bits()}; };
      for (; k + 1 < x.cols(); k += 2) out[k / 2 * rows + r] = half(row[k]) | half(row[k + 1]) << 16;
      if (k < x.cols()) out[k / 2 * rows + r] = half(row[k]);
    } else {
      for (; k < x.cols(); ++k) out[k * rows + r] = bits_of(row[k]);
      if (pairs && k % 2 != 0) out[k * rows + r] = 0;
    }
  }
}

/// Applies `op` to a vector of sums for y(row, col) onwards.
inline vec finish(const vec& sum, const after& op, std::size_t row, std::size_t col) {
  switch (op.what) {
    case then::store:
      return sum;
    case then::silu:
      return silu(sum);
    case then::multiply:
      return sum * load(op.operand.row(row) + col);
    case then::add:
      return sum + load(op.operand.row(row) + col);
  }
  return sum;
}

}    // namespace

template <class T>
void packed_rows::pack(qlite::matrix_view<const float> x, executor& threads) {
  rows_ = x.rows();
  depth_ = sizeof(T) == 4 ? x.cols() : (x.cols() + 1) / 2 * (has_bf16_dot ? 1 : 2);
  data_.require(rows_ * depth_);
  const std::size_t tiles = (rows_ + tile_rows - 1) / tile_rows;
  for_each_slice(threads, tiles, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t first = t * tile_rows;
      pack_tile<T>(x, first, std::min(tile_rows, rows_ - first), data_.data() + first * depth_);
    }
  });
}

template <class T>
panel_matrix<T>::panel_matrix(std::size_t rows, std::size_t cols) : rows_(rows), cols_(cols) {
  const std::size_t panels = (rows + panel - 1) / panel;
  data_ = array<T>(panels * panel * padded_cols());
  // Only the padding needs zeros, but it lies between rows: the last panel, and with an odd number of columns all.
  const std::size_t clean = cols % step == 0 && panels > 0 ? (panels - 1) * panel * padded_cols() : 0;
  std::fill(data_.data() + clean, data_.data() + data_.size(), element<T>(0.0f));
}

template <class T>
void panel_matrix<T>::set_rows(std::size_t first, qlite::matrix_view<const float> values) {
  for (std::size_t i = 0; i < values.rows(); ++i) {
    const std::size_t row = first + i;
    T* const out = data_.data() + row / panel * panel * padded_cols() + row % panel * step;
    for (std::size_t k = 0; k < cols_; ++k) out[k / step * panel * step + k % step] = element<T>(values(i, k));
  }
}

template <class T>
template <std::size_t R>
void panel_matrix<T>::multiply_tile(const packed_rows& x, std::size_t first_row, std::size_t panel_index,
                                    qlite::matrix_view<float> y, const after& op) const {
  tile_sums<R> sums;
  if constexpr (sizeof(T) == 4) {
    multiply_add<R>(sums, reinterpret_cast<const float*>(x.tile(first_row)), 1, R, panel_at(panel_index), panel, cols_);
  } else {
    using packed = std::conditional_t<has_bf16_dot, std::uint32_t, float>;
    multiply_add<R>(sums, reinterpret_cast<const packed*>(x.tile(first_row)), panel_at(panel_index), padded_cols() / 2);
  }
  const std::size_t col = panel_index * panel;
  if (col + panel <= rows_) {
    for (std::size_t r = 0; r < R; ++r) {
      for (std::size_t v = 0; v < 2; ++v) {
        const std::size_t c = col + v * lanes;
        finish(sums.v[r][v], op, first_row + r, c).store_unaligned(y.row(first_row + r) + c);
      }
    }
    return;
  }
  // The last panel has fewer columns: outputs and operand go through a full-sized copy.
  const std::size_t valid = rows_ - col;
  for (std::size_t r = 0; r < R; ++r) {
    float out[panel] = {};
    float in[panel] = {};
    if (op.operand.data() != nullptr) std::copy_n(op.operand.row(first_row + r) + col, valid, in);
    const after copied{op.what, {in, 1, panel}};
    for (std::size_t v = 0; v < 2; ++v) finish(sums.v[r][v], copied, 0, v * lanes).store_unaligned(out + v * lanes);
    std::copy_n(out, valid, y.row(first_row + r) + col);
  }
}

template <class T>
void panel_matrix<T>::multiply(const packed_rows& x, qlite::matrix_view<float> y, const after& op,
                               executor& threads) const {
  const std::size_t panels = (rows_ + panel - 1) / panel;
  // A panel stays in the second-level cache while all tiles of rows pass by it.
  for_each_slice(threads, panels, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      for (std::size_t row = 0; row < x.rows(); row += tile_rows) {
        with_rows(std::min(tile_rows, x.rows() - row),
                  [&](auto r) { this->template multiply_tile<decltype(r)::value>(x, row, p, y, op); });
      }
    }
  });
}

template void packed_rows::pack<float>(qlite::matrix_view<const float>, executor&);
template void packed_rows::pack<qlite::bfloat16>(qlite::matrix_view<const float>, executor&);
template class panel_matrix<float>;
template class panel_matrix<qlite::bfloat16>;

}    // namespace llm
