// Blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL. One struct per type, with its picture.
//
// A block type says which scheme reads it without loss, and takes a block apart:
//     read(block, fields, scales, offsets)      fields: one canonical field per weight, a byte each, in order of K;
//                                               scales, offsets: one per group of the scheme
// Everything else (import, float rows, export) is written once, in import.hpp, to_float.hpp and export.hpp.
//
// Source of the layouts: ggml/src/ggml-common.h of ggml (block_q4_0 ...), and ggml-quants.c for the order of nibbles.
#pragma once

#include <qlite/core/scheme.hpp>
#include <qlite/interop/byte_reader.hpp>
#include <qlite/interop/gguf/types.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

QLITE_INLINE float16 load_half(const std::uint8_t* from) noexcept {
  return float16::from_bits(load<std::uint16_t>(from));
}

QLITE_INLINE void store_half(std::uint8_t* to, float16 x) noexcept {
  const std::uint16_t bits = x.bits();
  std::memcpy(to, &bits, sizeof bits);
}

/// ggml's order of nibbles in 16 bytes: the low ones are weights 0 ... 15, the high ones 16 ... 31.
QLITE_INLINE void split_halves(const std::uint8_t* bytes, std::uint8_t* fields) noexcept {
  for (std::size_t j = 0; j < 16; ++j) fields[j] = bytes[j] & 15;
  for (std::size_t j = 0; j < 16; ++j) fields[j + 16] = static_cast<std::uint8_t>(bytes[j] >> 4);
}

QLITE_INLINE void join_halves(const std::uint8_t* fields, std::uint8_t* bytes) noexcept {
  for (std::size_t j = 0; j < 16; ++j) bytes[j] = static_cast<std::uint8_t>(fields[j] | fields[j + 16] << 4);
}

/// A scale and 32 nibbles: what Q4_0 and IQ4_NL share.
struct scaled_nibbles {
  static constexpr std::size_t weights = 32, bytes = 18;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float16* scales, float*) noexcept {
    scales[0] = load_half(block);
    split_halves(block + 2, fields);
  }
  QLITE_INLINE static void write(const std::uint8_t* fields, float16 scale, float, std::uint8_t* block) noexcept {
    store_half(block, scale);
    join_halves(fields, block + 2);
  }
};

/// Q4_0, 18 bytes: w = d * (q - 8)
///
///     byte   0  1 | 2       3       ...  17
///            d    | 16 : 0  17 : 1       31 : 15        high : low nibble of each byte, by weight
///
/// The field of symmetric int4 is code + 8, which is q itself. d may be negative.
struct q4_0_block : scaled_nibbles {
  using scheme_type = scheme<int4, per_group<32>, symmetric, float16>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q4_0;
};

/// Q4_1, 20 bytes: w = d * q + m, nibbles as in Q4_0
///
///     byte   0  1 | 2  3 | 4 ... 19
///            d    | m    | nibbles
struct q4_1_block {
  using scheme_type = scheme<int4, per_group<32>, offset<float16>, float16>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q4_1;
  static constexpr std::size_t weights = 32, bytes = 20;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float16* scales,
                                float16* offsets) noexcept {
    scales[0] = load_half(block);
    offsets[0] = load_half(block + 2);
    split_halves(block + 4, fields);
  }
  QLITE_INLINE static void write(const std::uint8_t* fields, float16 scale, float16 offset,
                                 std::uint8_t* block) noexcept {
    store_half(block, scale);
    store_half(block + 2, offset);
    join_halves(fields, block + 4);
  }
};

/// The fifth bits of Q5_0 and Q5_1: bit i of a 32-bit word belongs to weight i.
QLITE_INLINE void add_fifth_bits(const std::uint8_t* word, std::uint8_t* fields) noexcept {
  const auto bits = load<std::uint32_t>(word);
  for (std::uint32_t i = 0; i < 32; ++i) fields[i] = static_cast<std::uint8_t>(fields[i] | ((bits >> i) & 1u) << 4);
}

/// Q5_0, 22 bytes: w = d * (q - 16), q of 5 bits
///
///     byte   0  1 | 2 ... 5    | 6 ... 21
///            d    | fifth bits | nibbles as in Q4_0
///
/// No scheme has 5 bits: the codes q - 16 go into int8.
struct q5_0_block {
  using scheme_type = scheme<int8, per_group<32>, symmetric, float16>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q5_0;
  static constexpr std::size_t weights = 32, bytes = 22;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float16* scales, float*) noexcept {
    scales[0] = load_half(block);
    split_halves(block + 6, fields);
    add_fifth_bits(block + 2, fields);
    for (std::size_t i = 0; i < 32; ++i) fields[i] = static_cast<std::uint8_t>(fields[i] - 16);
  }
};

/// Q5_1, 24 bytes: w = d * q + m, q of 5 bits
///
///     byte   0  1 | 2  3 | 4 ... 7    | 8 ... 23
///            d    | m    | fifth bits | nibbles as in Q4_0
struct q5_1_block {
  using scheme_type = scheme<int8, per_group<32>, offset<float16>, float16>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q5_1;
  static constexpr std::size_t weights = 32, bytes = 24;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float16* scales,
                                float16* offsets) noexcept {
    scales[0] = load_half(block);
    offsets[0] = load_half(block + 2);
    split_halves(block + 8, fields);
    add_fifth_bits(block + 4, fields);
  }
};

/// Q8_0, 34 bytes: w = d * q
///
///     byte   0  1 | 2 ... 33
///            d    | q of weights 0 ... 31, signed
struct q8_0_block {
  using scheme_type = scheme<int8, per_group<32>, symmetric, float16>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::q8_0;
  static constexpr std::size_t weights = 32, bytes = 34;

  QLITE_INLINE static void read(const std::uint8_t* block, std::uint8_t* fields, float16* scales, float*) noexcept {
    scales[0] = load_half(block);
    std::memcpy(fields, block + 2, 32);
  }
  QLITE_INLINE static void write(const std::uint8_t* fields, float16 scale, float, std::uint8_t* block) noexcept {
    store_half(block, scale);
    std::memcpy(block + 2, fields, 32);
  }
};

/// IQ4_NL, 18 bytes: w = d * table[q], nibbles as in Q4_0
///
///     byte   0  1 | 2 ... 17
///            d    | nibbles
struct iq4_nl_block : scaled_nibbles {
  using scheme_type = scheme<nl4, per_group<32>, symmetric, float16>;
  static constexpr gguf::tensor_type type = gguf::tensor_type::iq4_nl;
};

}    // namespace impl
QLITE_END_FUNCTIONS
