// What kernels know of W and X, as plain data, and how a lane reads scales and zero points.
#pragma once

#include <qlite/cuda/detail/element.cuh>
#include <qlite/cuda/detail/layout.cuh>
#include <qlite/cuda/packed_view.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// Packed W [rows, cols] (detail/layout.cuh). What is uniform over a launch is data, not a template parameter, wherever
/// that costs nothing: the kernels of one code width serve all granularities, zero points and types of scales.
struct weights {
  const std::byte* codes;
  const std::byte* scales;
  const std::uint8_t* zeros;    // null: none
  const std::byte* offsets;     // null: none
  std::uint32_t rows, cols, row_tiles, col_tiles, groups, group;
  std::uint32_t
      magic;             // ceil(2^32 / (group / 8)): a division by a multiplication; 0 for groups of 8, 1 for one group
  std::uint32_t bias;    // what codes of symmetric schemes are stored with: 8 or 0
  bool wide_scales, wide_offsets;    // float instead of float16

  /// The group of column k. With n = k / 8 and d = group / 8 the product is exact as long as n (d - 1) < 2^32, since
  /// the magic number is too large by less than d / 2^32 of itself: T. Granlund, P. Montgomery, "Division by invariant
  /// integers using multiplication", PLDI 1994. tiles_of refuses shapes beyond that.
  QLITE_DEVICE std::uint32_t group_of(std::uint32_t k) const { return magic == 0 ? k >> 3 : __umulhi(k >> 3, magic); }
  /// Index of the numbers of rows g and g + 8 of a row tile, as a pair.
  QLITE_DEVICE std::size_t pair(std::uint32_t row_tile, std::uint32_t group_index, std::uint32_t g) const {
    return (std::size_t{row_tile} * groups + group_index) * 8 + g;
  }
};

/// Two numbers as loaded: two float16 in the first word, or two floats. Converted only where they are used, so that the
/// load has time.
struct number_pair {
  uint2 bits;
  QLITE_DEVICE float2 floats(bool wide) const {
    const float2 narrow = __half22float2(*reinterpret_cast<const __half2*>(&bits.x));
    return wide ? make_float2(__uint_as_float(bits.x), __uint_as_float(bits.y)) : narrow;
  }
};
/// The pair `pair` of an array of them.
QLITE_DEVICE number_pair load_pair(const std::byte* numbers, std::size_t pair, bool wide) {
  number_pair n;
  if (wide) {
    n.bits = __ldg(reinterpret_cast<const uint2*>(numbers) + pair);
  } else {
    n.bits.x = __ldg(reinterpret_cast<const unsigned*>(numbers) + pair);
    n.bits.y = 0;
  }
  return n;
}

/// Zero points of rows g and g + 8, as stored, in the low two bytes.
QLITE_DEVICE std::uint32_t load_zeros(const weights& w, std::size_t pair) {
  return w.zeros == nullptr
             ? w.bias * 0x0101u
             : static_cast<std::uint32_t>(__ldg(reinterpret_cast<const unsigned short*>(w.zeros) + pair));
}

/// X [rows, cols] as a kernel reads it: rows on 16-byte boundaries, readable in runs of 16 bytes up to cols.
/// float16 or bfloat16 in order; or signed bytes, each tile of 64 k in the order 16 t + 8 h + 4 e + (0, 2, 1, 3)[j] of
/// detail/layout.cuh, padded with zeros to whole tiles.
struct inputs {
  const std::byte* data;
  std::size_t row_bytes;
  std::uint32_t rows, cols;
  const float* scales;           // of bytes: [rows, scale_groups]
  std::uint32_t scale_groups;    // 1: one per token
  bool late;                     // what is ahead in the stream may still run, and all of this come from there
};

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
