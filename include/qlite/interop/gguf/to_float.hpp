// Tensors of a GGUF file as floats, whole or some rows at a time.
#pragma once

#include <qlite/interop/float_rows.hpp>
#include <qlite/interop/gguf/import.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// One row of whole blocks, by the arithmetic of `dequantize`.
template <class Block>
void decode_row(const std::uint8_t* bytes, std::size_t cols, float* out) {
  using unpacked = unpacked_block<Block>;
  for (std::size_t c = 0; c < cols; c += Block::weights, bytes += Block::bytes) {
    const unpacked block(bytes);
    for (std::size_t g = 0; g < unpacked::groups; ++g) {
      const decoder<typename Block::scheme_type> code{block.scale(g), block.offset(g), unpacked::traits::stored_bias};
      const std::size_t first = g * unpacked::group;
      for (std::size_t i = first; i < first + unpacked::group; ++i) out[c + i] = code.number(block.fields[i]);
    }
  }
}

/// Decodes rows whose bounds have been checked.
inline void decode_gguf_rows(const gguf::tensor_info& info, const std::uint8_t* bytes, matrix_view<float> out) {
  const std::size_t row_bytes = info.row_bytes();
  const auto each_row = [&](auto decode_one) {
    if (out.empty()) return;    // a file may say that there are 2^50 empty rows
    for (std::size_t r = 0; r < out.rows(); ++r) decode_one(bytes + r * row_bytes, out.cols(), out.row(r));
  };
  switch (info.type) {
    case gguf::tensor_type::f32:
      return each_row([](auto... row) { load_row<float>(row...); });
    case gguf::tensor_type::f16:
      return each_row([](auto... row) { load_row<float16>(row...); });
    case gguf::tensor_type::bf16:
      return each_row([](auto... row) { load_row<bfloat16>(row...); });
    default:
      break;
  }
  const bool known =
      visit_block(info.type, [&](auto block) { each_row([](auto... row) { decode_row<decltype(block)>(row...); }); });
  if (!known)
    fail(
        "qlite: tensor \"%s\" is %s, expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K or "
        "IQ4_NL",
        printable(info.name).text, gguf::format_of(info.type).name);
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {
inline namespace QLITE_FLAG_SET {

/// Whether to_float and rows_to_float read tensors of this type.
inline bool is_readable(tensor_type type) {
  return type == tensor_type::f32 || type == tensor_type::f16 || type == tensor_type::bf16 || is_quantized(type);
}

/// Rows first_row ... first_row + out.rows() - 1 of a tensor into out [rows, info.cols()], of any row stride: for
/// streaming a large tensor, or looking up embeddings. `bytes` are the whole tensor: `file.data(info)`.
///
/// The numbers are exactly those of ggml's reference. Values that are NaN or infinite are passed on.
/// Errors: a type that qlite does not read, rows outside the tensor, another number of columns or bytes.
inline void rows_to_float(const tensor_info& info, bytes_view bytes, std::size_t first_row, matrix_view<float> out) {
  impl::check_matrix("out", out);
  impl::check_equal("columns of out", out.cols(), "columns of the tensor", info.cols());
  impl::check_equal("bytes", bytes.size(), "bytes of the tensor", info.bytes);
  impl::check_rows(detail::printable(info.name).text, first_row, out.rows(), info.rows());
  const std::size_t skipped = first_row * info.row_bytes();
  impl::decode_gguf_rows(info, skipped == 0 ? bytes.data() : bytes.data() + skipped, out);
}

/// A whole tensor into out [info.rows(), info.cols()]. As rows_to_float.
inline void to_float(const tensor_info& info, bytes_view bytes, matrix_view<float> out) {
  impl::check_equal("rows of out", out.rows(), "rows of the tensor", info.rows());
  rows_to_float(info, bytes, 0, out);
}

}    // namespace QLITE_FLAG_SET
}    // namespace gguf
QLITE_END_NAMESPACE
