// The vocabulary of GGUF: value types of the metadata, tensor types and their blocks.
//
// Source of the numbers: ggml's docs/gguf.md (container), ggml/include/ggml.h (type ids) and ggml/src/ggml-common.h
// (block sizes).
#pragma once

#include <qlite/core/config.hpp>

QLITE_BEGIN_NAMESPACE
/// GGUF, the file format of ggml and llama.cpp.
namespace gguf {

/// The type of a metadata value, as the file stores it.
enum class value_type : std::uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12
};

/// The element type of a tensor, as the file stores it. qlite decodes f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0,
/// q4_k, q5_k, q6_k and iq4_nl; of the others it knows the size, so that a file which holds them can still be opened
/// and listed.
enum class tensor_type : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40
};

/// How a tensor type is stored: `bytes` hold `weights` consecutive elements of a row.
struct block_format {
  tensor_type type = tensor_type::f32;
  const char* name = nullptr;    ///< null: no type of that number
  std::size_t weights = 1;
  std::size_t bytes = 0;
};

/// How a metadata value is stored.
struct value_format {
  value_type type = value_type::uint8;
  const char* name = nullptr;    ///< null: no type of that number
  std::size_t bytes = 0;         ///< 0: strings and arrays, whose size is in the file
};

}    // namespace gguf
namespace detail {

inline constexpr gguf::block_format block_formats[] = {
    {gguf::tensor_type::f32, "F32", 1, 4},
    {gguf::tensor_type::f16, "F16", 1, 2},
    {gguf::tensor_type::q4_0, "Q4_0", 32, 18},
    {gguf::tensor_type::q4_1, "Q4_1", 32, 20},
    {gguf::tensor_type::q5_0, "Q5_0", 32, 22},
    {gguf::tensor_type::q5_1, "Q5_1", 32, 24},
    {gguf::tensor_type::q8_0, "Q8_0", 32, 34},
    {gguf::tensor_type::q8_1, "Q8_1", 32, 36},
    {gguf::tensor_type::q2_k, "Q2_K", 256, 84},
    {gguf::tensor_type::q3_k, "Q3_K", 256, 110},
    {gguf::tensor_type::q4_k, "Q4_K", 256, 144},
    {gguf::tensor_type::q5_k, "Q5_K", 256, 176},
    {gguf::tensor_type::q6_k, "Q6_K", 256, 210},
    {gguf::tensor_type::q8_k, "Q8_K", 256, 292},
    {gguf::tensor_type::iq2_xxs, "IQ2_XXS", 256, 66},
    {gguf::tensor_type::iq2_xs, "IQ2_XS", 256, 74},
    {gguf::tensor_type::iq3_xxs, "IQ3_XXS", 256, 98},
    {gguf::tensor_type::iq1_s, "IQ1_S", 256, 50},
    {gguf::tensor_type::iq4_nl, "IQ4_NL", 32, 18},
    {gguf::tensor_type::iq3_s, "IQ3_S", 256, 110},
    {gguf::tensor_type::iq2_s, "IQ2_S", 256, 82},
    {gguf::tensor_type::iq4_xs, "IQ4_XS", 256, 136},
    {gguf::tensor_type::i8, "I8", 1, 1},
    {gguf::tensor_type::i16, "I16", 1, 2},
    {gguf::tensor_type::i32, "I32", 1, 4},
    {gguf::tensor_type::i64, "I64", 1, 8},
    {gguf::tensor_type::f64, "F64", 1, 8},
    {gguf::tensor_type::iq1_m, "IQ1_M", 256, 56},
    {gguf::tensor_type::bf16, "BF16", 1, 2},
    {gguf::tensor_type::tq1_0, "TQ1_0", 256, 54},
    {gguf::tensor_type::tq2_0, "TQ2_0", 256, 66},
    {gguf::tensor_type::mxfp4, "MXFP4", 32, 17},
    {gguf::tensor_type::nvfp4, "NVFP4", 64, 36},
};

inline constexpr gguf::value_format value_formats[] = {
    {gguf::value_type::uint8, "uint8", 1},     {gguf::value_type::int8, "int8", 1},
    {gguf::value_type::uint16, "uint16", 2},   {gguf::value_type::int16, "int16", 2},
    {gguf::value_type::uint32, "uint32", 4},   {gguf::value_type::int32, "int32", 4},
    {gguf::value_type::float32, "float32", 4}, {gguf::value_type::boolean, "bool", 1},
    {gguf::value_type::string, "string", 0},   {gguf::value_type::array, "array", 0},
    {gguf::value_type::uint64, "uint64", 8},   {gguf::value_type::int64, "int64", 8},
    {gguf::value_type::float64, "float64", 8},
};

}    // namespace detail
namespace gguf {

/// The block of a tensor type; its name is null where the number means no type, or one that was removed from GGUF.
QLITE_INLINE constexpr block_format format_of(tensor_type type) noexcept {
  for (const block_format& format : detail::block_formats)
    if (format.type == type) return format;
  return {};
}

/// The name and size of a value type; the name is null where the number means no type.
QLITE_INLINE constexpr value_format format_of(value_type type) noexcept {
  for (const value_format& format : detail::value_formats)
    if (format.type == type) return format;
  return {};
}

}    // namespace gguf
QLITE_END_NAMESPACE
