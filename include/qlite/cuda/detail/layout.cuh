// The packed form on a GPU: one layout for every architecture and kernel.
//
// W [N, K] is cut into tiles of 16 rows by 64 k. A tile is what one warp multiplies: its codes lie in the order in
// which the lanes hold them as the 16 x 16 operand of mma.sync.m16n8k16 (16 x 32 of bytes), so that a lane takes a tile
// with one load of 16 bytes (int4) or two (int8), straight into registers. Four tiles, one above the other, are the
// operand that Hopper's wgmma takes from registers.
//
//   packed   | codes | scales | zero points, if asymmetric | offsets, if offset<T> |   each part on a 256-byte boundary
//   codes    [row tiles = ceil(N / 16)] [k tiles = ceil(K / 64)] tiles of 512 (int4) or 1024 (int8) bytes
//   scales   [row tiles] [groups] [16]    in the order row 0, 8, 1, 9, ..., 7, 15 of the tile
//   zeros    the same, a byte each;  offsets  the same, of T
//
//   lane     = 4 g + t  with  g = 0 ... 7,  t = 0 ... 3     holds rows g and g + 8, and
//   k        = 32 h + 8 t + 4 e + j  of the tile, for h, e = 0, 1 and j = 0 ... 3
//
// so that the k of a lane come in runs of 8: its activations are 16 contiguous bytes of float16 for each h. The order
// of k in a product of fragments is free, as long as both operands agree.
//
//   int4: a tile is 32 lanes x 16 bytes; word s = 2 h + e of a lane holds 8 codes
//
//     bits      31..28   27..24   23..20   19..16   15..12   11..8    7..4     3..0
//     row       g+8      g        g+8      g        g+8      g        g+8      g
//     j         3        3        1        1        2        2        0        0
//
//     (w & 0x000f000f) is the pair j = 0, 1 of row g; 0x00f000f0 that of row g + 8; shifted by 8, the pairs j = 2, 3.
//     (w & 0x0f0f0f0f) are the bytes j = 0, 2, 1, 3 of row g.
//
//   int8: a tile is 2 planes, one for rows g and one for rows g + 8, of 32 lanes x 16 bytes; word 2 h + e of a lane
//   holds 4 codes
//
//     byte      3        2        1        0
//     j         3        1        2        0
//
//     So the 64 bytes of a row lie together, in the order of k that INT8 activations have (detail/operands.cuh): tiles
//     are what wgmma takes from shared memory as they are.
//
// Codes are stored as in the canonical form (int4: code + 8 if symmetric; int8: signed bytes). The padding of the last
// row tile and of the last k tile is 0. Scales of padding rows are 0.
//
//   code (r, c)    tile r / 16, c / 64;  row = r % 16, k = c % 64;  g = row % 8, t = k / 8 % 4, h = k / 32, e = k / 4 %
//   2
#pragma once

#include <qlite/core/bits.hpp>
#include <qlite/cuda/detail/config.cuh>
#include <qlite/quantize/quantized_matrix.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

inline constexpr std::size_t tile_rows = 16, tile_cols = 64, packed_part = 256;

/// Sizes of a packed matrix.
struct tile_layout {
  std::size_t rows = 0, cols = 0, group = 1, groups = 0;
  std::size_t row_tiles = 0, col_tiles = 0, tile_bytes = 0;
  std::size_t scales_at = 0, zeros_at = 0, offsets_at = 0, bytes = 0;
  bool valid = false;    // false: sizes or groups that the kernels do not take
};

template <class Scheme>
QLITE_INLINE tile_layout tiles_of(std::size_t rows, std::size_t cols, Scheme scheme) noexcept {
  using traits = scheme_traits<Scheme>;
  const canonical_layout<Scheme> shape(rows, cols, scheme);
  tile_layout t;
  t.rows = rows;
  t.cols = cols;
  t.group = shape.group_size();
  constexpr std::size_t most = std::size_t{1} << 30;
  // A lane's runs of 8 k must not straddle a group.
  t.valid = t.group != 0 && rows <= most && cols <= most && (t.group % 8 == 0 || t.group >= cols);
  // The kernels find groups by a multiplication that is exact up to here (detail/operands.cuh).
  if (t.group < cols) t.valid = t.valid && cols / 8 < (std::size_t{1} << 32) / (t.group / 8 + 1);
  if (!t.valid) return t;
  if (t.group >= cols) t.group = cols == 0 ? 1 : cols;
  t.groups = shape.groups();
  t.row_tiles = ceil_div(rows, tile_rows);
  t.col_tiles = ceil_div(cols, tile_cols);
  t.tile_bytes = tile_rows * tile_cols * static_cast<std::size_t>(traits::bits) / 8;
  const std::size_t numbers = t.row_tiles * t.groups * tile_rows;
  t.scales_at = round_up(t.row_tiles * t.col_tiles * t.tile_bytes, packed_part);
  t.zeros_at = t.scales_at + round_up(numbers * sizeof(typename traits::scale), packed_part);
  t.offsets_at = t.zeros_at + round_up(traits::has_zero_point ? numbers : 0, packed_part);
  t.bytes = t.offsets_at;
  if constexpr (traits::has_offset) t.bytes += round_up(numbers * sizeof(typename traits::offset_type), packed_part);
  return t;
}

/// Where a scale, zero point or offset of row r, group `group` lies in its part.
__host__ __device__ inline __attribute__((always_inline)) std::size_t tile_number(std::size_t r, std::size_t group,
                                                                                  std::size_t groups) {
  const std::size_t row = r % tile_rows;
  return (r / tile_rows * groups + group) * tile_rows + row % 8 * 2 + row / 8;
}

/// Where the code of weight (row, k) of a tile lies: byte and, for int4, nibble (0 low, 1 high).
struct code_place {
  unsigned byte, nibble;
};
template <int Bits>
__host__ __device__ inline __attribute__((always_inline)) code_place place_in_tile(unsigned row, unsigned k) {
  const unsigned g = row % 8, r = row / 8, t = k / 8 % 4, h = k / 32, e = k / 4 % 2, j = k % 4;
  const unsigned lane = 4 * g + t, swapped = (j == 1 ? 2u : j == 2 ? 1u : j);    // 0, 2, 1, 3
  if (Bits == 4) return {16 * lane + 4 * (2 * h + e) + swapped, r};
  return {512 * r + 16 * lane + 4 * (2 * h + e) + swapped, 0};
}

}    // namespace detail
QLITE_END_NAMESPACE
