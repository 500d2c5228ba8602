// Rows of X in INT8, as the integer tiles read them: panels of as many rows as a tile has, each one linear stream.
// (Rows of their own would be as many streams beside that of the weights, and cost up to half of the read bandwidth.)
//
// A panel is cut like the weights' groups into runs (groups of more than 65,536 k into several, for the sake of the
// INT32 sums), each behind what a tile needs to know of it. With R rows:
//
//   panel | run 0                                                                                   | run 1 ...
//         | R sums of the codes, INT32 | R scales, FP32 | R x -8 sums | codes: K/U units of R x U bytes |
//
// The sums come times -8 too, which is what the products of symmetric INT4 begin at (a sixteenth of it for INT8).
// A unit holds U = k_unit consecutive codes of each row; codes are padded with zeros to a multiple of 16 k. With one
// scale for the whole row, every run holds that. Rows of no columns have one empty run.
//
// All panels have the rows of the largest tile, save the last, which has those of the smallest tile that takes the
// rows left; rows that are not there are zero.
#pragma once

#include <qlite/pack/layout.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// Activations of a run are padded to a multiple of this, which is a multiple of every backend's weights per line.
inline constexpr std::size_t activation_unit = 16;

/// Bytes that a run of `length` activations takes for each row, and all runs of a group of as many.
QLITE_INLINE constexpr std::size_t run_bytes(std::size_t length) noexcept {
  return 2 * sizeof(std::int32_t) + sizeof(float) + round_up(length, activation_unit);
}
QLITE_INLINE constexpr std::size_t runs_bytes(std::size_t length) noexcept {
  const std::size_t rest = length % fold_length;
  return length / fold_length * run_bytes(fold_length) + (rest == 0 ? 0 : run_bytes(rest));
}
/// Bytes of a panel for each of its rows.
QLITE_INLINE constexpr std::size_t input_row_bytes(const strip_shape& shape) noexcept {
  const std::size_t bytes =
      shape.groups == 0 ? run_bytes(0)
                        : (shape.groups - 1) * runs_bytes(shape.group) + runs_bytes(shape.length(shape.groups - 1));
  return round_up(bytes, cache_line);
}

struct input_rows {
  const std::byte* data = nullptr;
  std::size_t row_bytes = 0;

  /// The panel that begins with this row.
  QLITE_INLINE const std::byte* panel(std::size_t row) const noexcept { return data + row * row_bytes; }
};

/// Rows of the panel that begins with row `begin` of `rows`; `tiles` are those of the tiles, the largest first.
template <std::size_t N>
QLITE_INLINE constexpr std::size_t panel_rows(const std::size_t (&tiles)[N], std::size_t begin,
                                              std::size_t rows) noexcept {
  std::size_t i = 0;
  while (i + 1 < N && begin + tiles[i + 1] >= rows) ++i;
  return tiles[i];
}

}    // namespace detail
QLITE_END_NAMESPACE
