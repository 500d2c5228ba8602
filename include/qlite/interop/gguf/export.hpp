// Quantized matrices as the blocks of a GGUF tensor. Only schemes that a GGUF type holds without loss can be written.
#pragma once

#include <qlite/interop/gguf/import.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class Block>
void export_blocks(const quantized_view<typename Block::scheme_type>& q, std::uint8_t* out, std::size_t size) {
  using traits = scheme_traits<typename Block::scheme_type>;
  check_quantized("q", q);
  check_blocks(gguf::format_of(Block::type), size, out, q.rows(), q.cols());
  const std::size_t blocks = q.cols() / Block::weights;
  if (blocks == 0) return;
  for (std::size_t r = 0; r < q.rows(); ++r)
    for (std::size_t b = 0; b < blocks; ++b, out += Block::bytes) {
      const std::uint8_t* const codes = q.codes() + r * q.shape().code_row_bytes();
      std::uint8_t fields[Block::weights];
      if constexpr (traits::bits == 4)
        unpack_nibbles(codes + b * (Block::weights / 2), Block::weights, fields);
      else
        std::memcpy(fields, codes + b * Block::weights, Block::weights);
      const std::size_t group = r * q.groups() + b;
      if constexpr (traits::has_offset)
        Block::write(fields, q.scales()[group], q.offsets()[group], out);
      else
        Block::write(fields, q.scales()[group], 0.0f, out);
    }
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {
inline namespace QLITE_FLAG_SET {

/// Writes `q` as Q4_0 blocks, row after row: `size` bytes at `out`, exactly rows * cols / 32 * 18. The bytes that
/// import_q4_0 reads back as the same matrix.
///
/// Errors: another size, a number of columns that is no multiple of 32, null.
inline void export_q4_0(const quantized_view<scheme<int4, per_group<32>, symmetric, float16>>& q, std::uint8_t* out,
                        std::size_t size) {
  impl::export_blocks<impl::q4_0_block>(q, out, size);
}
/// As export_q4_0; rows * cols / 32 * 20 bytes.
inline void export_q4_1(const quantized_view<scheme<int4, per_group<32>, offset<float16>, float16>>& q,
                        std::uint8_t* out, std::size_t size) {
  impl::export_blocks<impl::q4_1_block>(q, out, size);
}
/// As export_q4_0; rows * cols / 32 * 34 bytes.
inline void export_q8_0(const quantized_view<scheme<int8, per_group<32>, symmetric, float16>>& q, std::uint8_t* out,
                        std::size_t size) {
  impl::export_blocks<impl::q8_0_block>(q, out, size);
}
/// As export_q4_0; rows * cols / 32 * 18 bytes.
inline void export_iq4_nl(const quantized_view<scheme<nl4, per_group<32>, symmetric, float16>>& q, std::uint8_t* out,
                          std::size_t size) {
  impl::export_blocks<impl::iq4_nl_block>(q, out, size);
}

}    // namespace QLITE_FLAG_SET
}    // namespace gguf
QLITE_END_NAMESPACE
