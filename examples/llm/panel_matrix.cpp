#include "panel_matrix.hpp"

#include <algorithm>

namespace llm {
namespace {

/// One tile of packed_rows: `rows` rows of x from `first` on, a few columns at a time.
template <class T>
void pack_tile(qlite::matrix_view<const float> x, std::size_t first, std::size_t rows, std::size_t depth,
               std::uint32_t* out) {
  constexpr std::size_t columns = 2 * lanes;
  constexpr std::size_t together = sizeof(float) / sizeof(a_element<T>);
  for (std::size_t k = 0; k < x.cols(); k += columns) {
    a_element<T> values[tile_rows][columns] = {};
    for (std::size_t r = 0; r < rows; ++r) convert(x.row(first + r) + k, std::min(columns, x.cols() - k), values[r]);
    for (std::size_t i = 0; i < columns && k + i < depth * together; i += together)
      for (std::size_t r = 0; r < rows; ++r)
        std::memcpy(out + (k + i) / together * rows + r, &values[r][i], sizeof(float));
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
      pack_tile<T>(x, first, std::min(tile_rows, rows_ - first), depth_, data_.data() + first * depth_);
    }
  });
}

template <class T>
panel_matrix<T>::panel_matrix(std::size_t rows, std::size_t cols) : rows_(rows), cols_(cols) {
  const std::size_t panels = (rows + panel - 1) / panel;
  data_ = array<T>(panels * panel * padded_cols());
  // Only the padding needs zeros, but it lies between rows: the last panel, and with an odd number of columns all.
  const std::size_t clean = cols % step == 0 && panels > 0 ? (panels - 1) * panel * padded_cols() : 0;
  std::memset(static_cast<void*>(data_.data() + clean), 0, (data_.size() - clean) * sizeof(T));
}

template <class T>
void panel_matrix<T>::set_rows(std::size_t first, qlite::matrix_view<const float> values) {
  for (std::size_t i = 0; i < values.rows(); ++i) {
    const std::size_t row = first + i;
    T* const out = data_.data() + row / panel * panel * padded_cols() + row % panel * step;
    for (std::size_t k = 0; k < cols_; ++k) convert(&values(i, k), 1, out + k / step * panel * step + k % step);
  }
}

template <class T>
template <std::size_t R>
void panel_matrix<T>::multiply_tile(const packed_rows& x, std::size_t first_row, std::size_t panel_index,
                                    qlite::matrix_view<float> y, const after& op) const {
  tile_sums<R> sums;
  constexpr std::size_t together = sizeof(float) / sizeof(a_element<T>);    // a pair of bfloat16, or one float
  multiply_add<R>(sums, reinterpret_cast<const a_element<T>*>(x.tile(first_row)), together, R, panel_at(panel_index),
                  padded_cols());
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
