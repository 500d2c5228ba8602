// From the canonical form to tiles and back, on the device. Done once, at load time: plain code, one thread per word.
#pragma once

#include <qlite/cuda/detail/book.cuh>
#include <qlite/cuda/detail/element.cuh>
#include <qlite/cuda/detail/layout.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// The canonical arrays as plain pointers.
struct canonical_pointers {
  const std::uint8_t* codes;
  const void* scales;
  const std::uint8_t* zeros;
  const void* offsets;
  std::size_t code_row_bytes, zero_row_bytes;
  bool one_scale;
};

template <int Bits>
QLITE_DEVICE unsigned field_of(const std::uint8_t* row, std::size_t i) {
  return Bits == 4 ? (row[i / 2] >> (4 * (i % 2))) & 15u : row[i];
}

/// One thread per 32-bit word of codes.
template <int Bits>
__global__ void __launch_bounds__(256) pack_codes(canonical_pointers q, tile_layout t, std::uint32_t* packed) {
  const std::size_t words = t.row_tiles * t.col_tiles * t.tile_bytes / 4;
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words; i += stride) {
    const std::size_t tile = i / (t.tile_bytes / 4), word = i % (t.tile_bytes / 4);
    const std::size_t row0 = tile / t.col_tiles * tile_rows, col0 = tile % t.col_tiles * tile_cols;
    const auto w = static_cast<unsigned>(word);
    const unsigned lane = w / 4 % 32, g = lane / 4, lane_t = lane % 4;
    const unsigned h = w % 4 / 2, e = w % 2;
    std::uint32_t value = 0;
    for (unsigned r = 0; r < 2; ++r) {
      if (Bits == 8 && r != w / 128) continue;
      for (unsigned j = 0; j < 4; ++j) {
        const unsigned k = 32 * h + 8 * lane_t + 4 * e + j;
        if (row0 + g + 8 * r >= t.rows || col0 + k >= t.cols) continue;
        const code_place to = place_in_tile<Bits>(g + 8 * r, k);
        const unsigned field = field_of<Bits>(q.codes + (row0 + g + 8 * r) * q.code_row_bytes, col0 + k);
        value |= field << (8 * (to.byte % 4) + 4 * to.nibble);
      }
    }
    packed[i] = value;
  }
}

/// One thread per scale of the packed form.
template <class Scale, class Offset, int Bits, bool Zeros, bool Offsets>
__global__ void __launch_bounds__(256) pack_numbers(canonical_pointers q, tile_layout t, std::byte* packed) {
  const std::size_t count = t.row_tiles * tile_rows * t.groups;
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const std::size_t r = i / t.groups, group = i % t.groups, to = tile_number(r, group, t.groups);
    const bool inside = r < t.rows;
    const std::size_t row = q.one_scale || !inside ? 0 : r, from = row * t.groups + group;
    // moved as bits: no conversion may touch them
    reinterpret_cast<Scale*>(packed + t.scales_at)[to] = inside ? static_cast<const Scale*>(q.scales)[from] : Scale{};
    if (Zeros)
      reinterpret_cast<std::uint8_t*>(packed + t.zeros_at)[to] =
          static_cast<std::uint8_t>(inside ? field_of<Bits>(q.zeros + row * q.zero_row_bytes, group) : 0u);
    if (Offsets)
      reinterpret_cast<Offset*>(packed + t.offsets_at)[to] =
          inside ? static_cast<const Offset*>(q.offsets)[from] : Offset{};
  }
}

/// One thread per byte of canonical codes.
template <int Bits>
__global__ void __launch_bounds__(256)
    unpack_codes(const std::byte* packed, tile_layout t, std::uint8_t* codes, std::size_t row_bytes) {
  const std::size_t count = t.rows * row_bytes, stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const std::size_t r = i / row_bytes, first = i % row_bytes * (8 / Bits);
    unsigned value = 0;
    for (std::size_t n = 0; n < 8 / Bits && first + n < t.cols; ++n) {
      const std::size_t k = first + n, tile = r / tile_rows * t.col_tiles + k / tile_cols;
      const code_place at =
          place_in_tile<Bits>(static_cast<unsigned>(r % tile_rows), static_cast<unsigned>(k % tile_cols));
      const auto byte = static_cast<unsigned>(packed[tile * t.tile_bytes + at.byte]);
      value |= (Bits == 4 ? (byte >> (4 * at.nibble)) & 15u : byte) << (4 * n);
    }
    codes[i] = static_cast<std::uint8_t>(value);
  }
}

/// One thread per row of scales (zero points of int4 share bytes).
template <class Scale, class Offset, int Bits, bool Zeros, bool Offsets>
__global__ void __launch_bounds__(256)
    unpack_numbers(const std::byte* packed, tile_layout t, std::size_t rows, Scale* scales, std::uint8_t* zeros,
                   std::size_t zero_row_bytes, Offset* offsets) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t r = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; r < rows; r += stride) {
    for (std::size_t group = 0; group < t.groups; ++group) {
      const std::size_t from = tile_number(r, group, t.groups), to = r * t.groups + group;
      scales[to] = reinterpret_cast<const Scale*>(packed + t.scales_at)[from];
      if (Offsets) offsets[to] = reinterpret_cast<const Offset*>(packed + t.offsets_at)[from];
    }
    for (std::size_t b = 0; Zeros && b < zero_row_bytes; ++b) {
      unsigned value = 0;
      for (std::size_t n = 0; n < 8 / Bits && b * (8 / Bits) + n < t.groups; ++n)
        value |= static_cast<unsigned>(reinterpret_cast<const std::uint8_t*>(
                     packed + t.zeros_at)[tile_number(r, b * (8 / Bits) + n, t.groups)])
                 << (4 * n);
      zeros[r * zero_row_bytes + b] = static_cast<std::uint8_t>(value);
    }
  }
}

/// A number of a code book.
template <class Code>
QLITE_DEVICE float book_number(int code) {
  constexpr book_numbers numbers = numbers_in<Code>;
  float value = 0.0f;
#pragma unroll
  for (int i = 0; i < 16; ++i) value = i == code ? numbers.v[i] : value;
  return value;
}

/// The numbers that tiles stand for: float(code - zero) * scale or fma(scale, code, offset), rounded to T. Book: the
/// type of codes that choose from a code book, else void.
template <class T, class Scale, class Offset, class Book, int Bits, bool Zeros, bool Offsets>
__global__ void __launch_bounds__(256)
    dequantize_tiles(const std::byte* packed, tile_layout t, int bias, T* out, std::size_t out_stride) {
  const std::size_t count = t.rows * t.cols, stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const std::size_t r = i / t.cols, k = i % t.cols, tile = r / tile_rows * t.col_tiles + k / tile_cols;
    const code_place at =
        place_in_tile<Bits>(static_cast<unsigned>(r % tile_rows), static_cast<unsigned>(k % tile_cols));
    const auto byte = static_cast<unsigned>(packed[tile * t.tile_bytes + at.byte]);
    const int code = Bits == 4 ? static_cast<int>((byte >> (4 * at.nibble)) & 15u) : static_cast<std::int8_t>(byte);
    const std::size_t n = tile_number(r, k / t.group, t.groups);
    const float scale = to_float(reinterpret_cast<const Scale*>(packed + t.scales_at)[n]);
    float value;
    if (Offsets) {
      value = __fmaf_rn(scale, static_cast<float>(code),
                        to_float(reinterpret_cast<const Offset*>(packed + t.offsets_at)[n]));
    } else {
      int zero = bias;
      if (Zeros) {
        const std::uint8_t field = reinterpret_cast<const std::uint8_t*>(packed + t.zeros_at)[n];
        zero = Bits == 4 ? field : static_cast<std::int8_t>(field);
      }
      if constexpr (std::is_void_v<Book>)
        value = __fmul_rn(static_cast<float>(code - zero), scale);
      else
        value = __fmul_rn(book_number<Book>(code), scale);
    }
    out[r * out_stride + k] = from_float<T>(value);
  }
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
