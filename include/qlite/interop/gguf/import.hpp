// Quantized tensors of a GGUF file as qlite's quantized matrices: the same codes, the same numbers.
#pragma once

#include <qlite/interop/gguf/k_blocks.hpp>
#include <qlite/interop/gguf/parse.hpp>
#include <qlite/quantize/dequantize.hpp>
#include <qlite/quantize/quantized_matrix.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Refuses rows that are no whole blocks, and bytes that are not exactly n x k weights.
inline void check_blocks(gguf::block_format format, std::size_t size, const void* data, std::size_t n, std::size_t k) {
  if (k % format.weights != 0)
    fail("qlite: a %s matrix has rows of %zu weights, expected a multiple of %zu", format.name, k, format.weights);
  const std::size_t blocks = k / format.weights, limit = ~std::size_t{0} / 16;
  if (blocks != 0 && n > limit / format.bytes / blocks)
    fail("qlite: a %s matrix is %zu x %zu, which exceeds the address space", format.name, n, k);
  if (size != n * blocks * format.bytes)
    fail("qlite: a %s matrix of %zu x %zu weights has %zu bytes, expected %zu", format.name, n, k, size,
         n * blocks * format.bytes);
  if (size != 0 && data == nullptr) fail("qlite: the bytes of a %s matrix are null, expected %zu", format.name, size);
}

/// A block taken apart: fields, scales and offsets.
template <class Block>
struct unpacked_block {
  using traits = scheme_traits<typename Block::scheme_type>;
  using offset_type = offset_storage<typename Block::scheme_type>;
  static constexpr std::size_t group = traits::group_size({}, Block::weights);
  static constexpr std::size_t groups = Block::weights / group;

  std::uint8_t fields[Block::weights];
  typename traits::scale scales[groups];
  offset_type offsets[groups];

  QLITE_INLINE explicit unpacked_block(const std::uint8_t* block) noexcept {
    Block::read(block, fields, scales, offsets);
  }
  QLITE_INLINE float scale(std::size_t g) const noexcept { return element<typename traits::scale>::load(scales[g]); }
  QLITE_INLINE float offset(std::size_t g) const noexcept {
    if constexpr (traits::has_offset)
      return element<offset_type>::load(offsets[g]);
    else
      return (static_cast<void>(g), 0.0f);
  }
  /// Whether every scale and offset is a number.
  QLITE_INLINE bool finite() const noexcept {
    bool all = true;
    for (std::size_t g = 0; g < groups; ++g) all = all && is_finite(scale(g)) && is_finite(offset(g));
    return all;
  }
};

template <class Block>
quantized_matrix<typename Block::scheme_type> import_blocks(bytes_view bytes, std::size_t n, std::size_t k) {
  using unpacked = unpacked_block<Block>;
  using traits = typename unpacked::traits;
  constexpr gguf::block_format format = gguf::format_of(Block::type);
  static_assert(format.weights == Block::weights && format.bytes == Block::bytes);
  check_blocks(format, bytes.size(), bytes.data(), n, k);

  quantized_matrix<typename Block::scheme_type> q(n, k);
  const std::size_t blocks = k / Block::weights;
  if (blocks == 0) return q;    // a file may say that there are 2^50 empty rows
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t at = (r * blocks + b) * Block::bytes;
      const unpacked block(bytes.data() + at);
      if (QLITE_UNLIKELY(!block.finite()))
        fail(
            "qlite: the %s block at byte %zu (row %zu, columns %zu to %zu) has a scale or offset that is NaN or "
            "infinite, expected a finite number",
            format.name, at, r, b * Block::weights, (b + 1) * Block::weights - 1);
      std::uint8_t* const codes = q.codes() + r * q.shape().code_row_bytes();
      if constexpr (traits::bits == 4)
        pack_nibbles(block.fields, Block::weights, codes + b * (Block::weights / 2));
      else
        std::memcpy(codes + b * Block::weights, block.fields, Block::weights);
      const std::size_t first = r * q.groups() + b * unpacked::groups;
      std::memcpy(q.scales() + first, block.scales, sizeof block.scales);
      if constexpr (traits::has_offset) std::memcpy(q.offsets() + first, block.offsets, sizeof block.offsets);
    }
  return q;
}

/// Calls f(Block{}) for the block type of a quantized tensor; false where qlite has none.
template <class F>
bool visit_block(gguf::tensor_type type, F&& f) {
  const auto visit = [&](auto block) { return block.type == type ? (f(block), true) : false; };
  return visit(q4_0_block{}) || visit(q4_1_block{}) || visit(q5_0_block{}) || visit(q5_1_block{}) ||
         visit(q8_0_block{}) || visit(q4_k_block{}) || visit(q5_k_block{}) || visit(q6_k_block{}) ||
         visit(iq4_nl_block{});
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {
inline namespace QLITE_FLAG_SET {

/// n x k weights from the blocks of a GGUF tensor, row after row. Lossless: `dequantize` gives the very numbers that
/// the format defines.
///
/// Errors: k is no multiple of the block (32, or 256 for the K types), another number of bytes than n x k weights take,
/// a scale or offset that is NaN or infinite.
inline quantized_matrix<scheme<int4, per_group<32>, symmetric, float16>> import_q4_0(bytes_view bytes, std::size_t n,
                                                                                     std::size_t k) {
  return impl::import_blocks<impl::q4_0_block>(bytes, n, k);
}
/// As import_q4_0.
inline quantized_matrix<scheme<int4, per_group<32>, offset<float16>, float16>> import_q4_1(bytes_view bytes,
                                                                                           std::size_t n,
                                                                                           std::size_t k) {
  return impl::import_blocks<impl::q4_1_block>(bytes, n, k);
}
/// As import_q4_0. Codes of 5 bits in int8.
inline quantized_matrix<scheme<int8, per_group<32>, symmetric, float16>> import_q5_0(bytes_view bytes, std::size_t n,
                                                                                     std::size_t k) {
  return impl::import_blocks<impl::q5_0_block>(bytes, n, k);
}
/// As import_q4_0. Codes of 5 bits in int8.
inline quantized_matrix<scheme<int8, per_group<32>, offset<float16>, float16>> import_q5_1(bytes_view bytes,
                                                                                           std::size_t n,
                                                                                           std::size_t k) {
  return impl::import_blocks<impl::q5_1_block>(bytes, n, k);
}
/// As import_q4_0.
inline quantized_matrix<scheme<int8, per_group<32>, symmetric, float16>> import_q8_0(bytes_view bytes, std::size_t n,
                                                                                     std::size_t k) {
  return impl::import_blocks<impl::q8_0_block>(bytes, n, k);
}
/// As import_q4_0. The 6-bit scales of the sub-blocks are multiplied out, exactly, into float.
inline quantized_matrix<scheme<int4, per_group<32>, offset<float>, float>> import_q4_k(bytes_view bytes, std::size_t n,
                                                                                       std::size_t k) {
  return impl::import_blocks<impl::q4_k_block>(bytes, n, k);
}
/// As import_q4_k. Codes of 5 bits in int8.
inline quantized_matrix<scheme<int8, per_group<32>, offset<float>, float>> import_q5_k(bytes_view bytes, std::size_t n,
                                                                                       std::size_t k) {
  return impl::import_blocks<impl::q5_k_block>(bytes, n, k);
}
/// As import_q4_k. Codes of 6 bits in int8, groups of 16.
inline quantized_matrix<scheme<int8, per_group<16>, symmetric, float>> import_q6_k(bytes_view bytes, std::size_t n,
                                                                                   std::size_t k) {
  return impl::import_blocks<impl::q6_k_block>(bytes, n, k);
}
/// As import_q4_0. ggml's table is that of nl4.
inline quantized_matrix<scheme<nl4, per_group<32>, symmetric, float16>> import_iq4_nl(bytes_view bytes, std::size_t n,
                                                                                      std::size_t k) {
  return impl::import_blocks<impl::iq4_nl_block>(bytes, n, k);
}

/// Whether visit_import takes tensors of this type.
inline bool is_quantized(tensor_type type) {
  return impl::visit_block(type, [](auto) {});
}

/// Imports a tensor by its type and calls `f` with the quantized matrix, rows() x cols(), as an rvalue. `f` is
/// instantiated once per scheme. `bytes` are the tensor's own: `file.data(info)`.
///
/// Errors: those of import_q4_0, and a type that is not quantized, or that qlite does not read.
template <class F>
void visit_import(const tensor_info& info, bytes_view bytes, F&& f) {
  const bool known = impl::visit_block(
      info.type, [&](auto block) { f(impl::import_blocks<decltype(block)>(bytes, info.rows(), info.cols())); });
  if (!known)
    impl::fail("qlite: tensor \"%s\" is %s, expected Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K or IQ4_NL",
               detail::printable(info.name).text, format_of(info.type).name);
}

}    // namespace QLITE_FLAG_SET
}    // namespace gguf
QLITE_END_NAMESPACE
