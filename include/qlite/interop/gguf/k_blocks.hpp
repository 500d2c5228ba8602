// The "K" blocks of 256 weights, whose scales are themselves quantized: Q4_K, Q5_K, Q6_K.
//
// They are expanded to float scales: d (11 significant bits) times a scale of 6 or 8 bits is exact in float, and so is
// that product times a code. Nothing is lost, but the scales take more room than in the file: Q4_K grows from 4.5 to
// 6 bits a weight, Q5_K and Q6_K, in int8 codes, to 10.
//
// Source of the layouts: ggml/src/ggml-common.h (block_q4_K ...); of the 6-bit packing and the order of weights:
// ggml/src/ggml-quants.c (get_scale_min_k4, dequantize_row_q*_K).
#pragma once

#include <qlite/interop/gguf/blocks.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Scales and offsets of the 8 sub-blocks of Q4_K and Q5_K, from the 16 bytes that both begin with:
///
///     byte   0  1 | 2  3 | 4 ... 7         | 8 ... 11        | 12 ... 15
///            d    | dmin | sc 0 ... 3      | m 0 ... 3       | low : sc 4 ... 7, high : m 4 ... 7
///                        | above 6 bits:   | above 6 bits:   |
///                        | top of sc 4..7  | top of m 4..7   |
///
/// scale = d * sc, offset = -dmin * m, sc and m of 6 bits.
QLITE_INLINE void read_k_scales(const std::uint8_t* block, float* scales, float* offsets) noexcept {
  const float d = load_half(block).to_float(), dmin = load_half(block + 2).to_float();
  const std::uint8_t* const s = block + 4;
  for (std::size_t j = 0; j < 4; ++j) {
    scales[j] = d * static_cast<float>(s[j] & 63);
    offsets[j] = -(dmin * static_cast<float>(s[j + 4] & 63));
    scales[j + 4] = d * static_cast<float>((s[j + 8] & 15) | (s[j] >> 6) << 4);
    offsets[j + 4] = -(dmin * static_cast<float>((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4));
  }
}

/// The low 4 bits of Q4_K and Q5_K: 32 bytes for 64 weights, the low nibbles first.
QLITE_INLINE void read_k_nibbles(const std::uint8_t* bytes, std::uint8_t* fields) noexcept {
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j < 32; ++j) {
      fields[64 * i + j] = bytes[32 * i + j] & 15;
      fields[64 * i + 32 + j] = static_cast<std::uint8_t>(bytes[32 * i + j] >> 4);
    }
}

/// Q4_K, 144 bytes: w = d * sc * q - dmin * m, 8 sub-blocks of 32 weights
///
///     byte   0 ... 15       | 16 ... 47               | 48 ... 79 | 80 ... 111 | 112 ... 143
///            scales (above) | low : 0...31,           | 64...127  | 128...191  | 192...255
///                           | high : 32...63          |
struct q4_k_block {
  using scheme_type = scheme<int4, per_group<32>, offset<float>, float>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q4_k;
  static constexpr std::size_t weights = 256, bytes = 144;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float* scales,
                                float* offsets) noexcept {
    read_k_scales(block, scales, offsets);
    read_k_nibbles(block + 16, fields);
  }
};

/// Q5_K, 176 bytes: as Q4_K with q of 5 bits
///
///     byte   0 ... 15       | 16 ... 47                           | 48 ... 175
///            scales (above) | fifth bits: bit s of byte j belongs | nibbles as in Q4_K
///                           | to weight j of sub-block s          |
struct q5_k_block {
  using scheme_type = scheme<int8, per_group<32>, offset<float>, float>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q5_k;
  static constexpr std::size_t weights = 256, bytes = 176;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float* scales,
                                float* offsets) noexcept {
    read_k_scales(block, scales, offsets);
    read_k_nibbles(block + 48, fields);
    for (std::size_t s = 0; s < 8; ++s)
      for (std::size_t j = 0; j < 32; ++j)
        fields[32 * s + j] = static_cast<std::uint8_t>(fields[32 * s + j] | ((block[16 + j] >> s) & 1) << 4);
  }
};

/// Q6_K, 210 bytes: w = d * sc * (q - 32), q of 6 bits, 16 sub-blocks of 16 weights
///
///     byte   0 ... 127   | 128 ... 191   | 192 ... 207          | 208 209
///            low 4 bits  | high 2 bits   | sc of 16 sub-blocks, | d
///                                        | signed bytes         |
///
/// in two halves of 128 weights, each with 64 bytes of low and 32 bytes of high bits. Weight 32 r + j of a half, r = 0
/// ... 3, has its low bits in byte 32 (r % 2) + j, the high nibble for r > 1, and its high bits in byte j, bit 2 r on.
struct q6_k_block {
  using scheme_type = scheme<int8, per_group<16>, symmetric, float>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q6_k;
  static constexpr std::size_t weights = 256, bytes = 210;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float* scales, float*) noexcept {
    const float d = load_half(block + 208).to_float();
    for (std::size_t g = 0; g < 16; ++g) scales[g] = d * static_cast<float>(static_cast<std::int8_t>(block[192 + g]));
    for (std::size_t half = 0; half < 2; ++half) {
      const std::uint8_t *const low = block + 64 * half, *const high = block + 128 + 32 * half;
      for (std::size_t r = 0; r < 4; ++r)
        for (std::size_t j = 0; j < 32; ++j) {
          const int q = ((low[32 * (r % 2) + j] >> (4 * (r / 2))) & 15) | ((high[j] >> (2 * r)) & 3) << 4;
          fields[128 * half + 32 * r + j] = static_cast<std::uint8_t>(q - 32);
        }
    }
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
