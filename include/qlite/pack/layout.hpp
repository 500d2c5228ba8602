// The packed layout of every CPU backend: strips of 16 rows of W, each one linear stream.
//
// W [N, K] is cut into strips of 16 rows; the last strip is padded with zero scales. In a strip, the 16 rows lie side
// by side, one per SIMD lane ("column" of the product). Along K, the groups of the scheme follow each other in blocks
// of up to four groups; a block begins with the scales (and zero points, or offsets) of its groups, then come their
// codes:
//
//   strip | block 0                                            | block 1 ...
//         | header: 4 x 16 scales | 4 x 16 zeros | 4 x 16 offs | codes of group 0 | group 1 | group 2 | group 3 |
//           each part padded to 64 bytes                         whole lines each
//
// Codes come in lines. With k_unit 4 (all backends but neon_i8mm, which has 8) a line is 64 bytes: lane j holds four
// consecutive weights of row j, so that one dot product instruction takes it as it is. Digits are k within the line:
//
//   int8, 4 k a line   byte  0  1  2  3 | 4  5  6  7 | ... | 60 61 62 63
//                      row   0  0  0  0 | 1  1  1  1 | ... | 15 15 15 15
//                      k     0  1  2  3 | 0  1  2  3 | ... |  0  1  2  3
//
//   int4, 8 k a line   as above for the low nibbles (k 0 to 3); the high nibbles hold k 4 to 7
//
// Each group is padded to whole lines; activations are padded alike with zeros, so that what the padding holds never
// counts. In shape algebra, with L = k_unit * (8 / bits) weights of a row in a line, for groups of G:
//
//   N/16 strips x groups/4 blocks x (4 x 16 scales, 4 x 16 zeros, 4 x G/L lines x 16 x k_unit bytes)
//
// Codes are stored unsigned where the backend's dot product wants it: int4 as in the canonical form; int8 as code + 128
// for the backends whose tag says unsigned_int8.
#pragma once

#include <qlite/cpu/isa.hpp>
#include <qlite/quantize/quantized_matrix.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

inline constexpr std::size_t strip_rows = 16;
inline constexpr std::size_t block_groups = 4;
/// Longest run of k that one INT32 sum takes: 255 * 127 * 65,536 < 2^31. Longer groups are folded.
inline constexpr std::size_t fold_length = 65536;

/// Sizes and offsets of a packed matrix. The same for every scheme with the same widths; plain numbers, so that the
/// kernels and the loops around them need no scheme.
struct strip_shape {
  QLITE_INLINE constexpr strip_shape() noexcept = default;

  std::size_t rows = 0, cols = 0, group = 1, groups = 0;
  std::size_t strips = 0;
  std::size_t line_bytes = 0, line_k = 1;
  std::size_t group_lines = 0, last_lines = 0;    // lines of a full group, and of the last
  std::size_t block = 1;                          // groups per block
  std::size_t zeros_at = 0, offsets_at = 0;       // parts of the header
  std::size_t header_bytes = 0, strip_bytes = 0;

  QLITE_INLINE constexpr std::size_t bytes() const noexcept { return strips * strip_bytes; }
  QLITE_INLINE constexpr std::size_t length(std::size_t g) const noexcept {
    return g + 1 < groups ? group : cols - g * group;
  }
  QLITE_INLINE constexpr std::size_t lines(std::size_t g) const noexcept {
    return g + 1 < groups ? group_lines : last_lines;
  }
  /// Offset of the block that holds group g, within a strip.
  QLITE_INLINE constexpr std::size_t block_at(std::size_t g) const noexcept {
    return g / block * (header_bytes + block * group_lines * line_bytes);
  }
  /// Offset of the codes of group g, within a strip.
  QLITE_INLINE constexpr std::size_t codes_at(std::size_t g) const noexcept {
    return block_at(g) + header_bytes + g % block * group_lines * line_bytes;
  }
};

struct no_offset {};

template <class T>
inline constexpr std::size_t size_of_offset = sizeof(T);
template <>
inline constexpr std::size_t size_of_offset<no_offset> = 0;

QLITE_INLINE constexpr strip_shape make_strip_shape(std::size_t rows, std::size_t cols, std::size_t group, int bits,
                                                    std::size_t k_unit, std::size_t scale_bytes, bool zeros,
                                                    std::size_t offset_bytes) noexcept {
  strip_shape s;
  s.rows = rows;
  s.cols = cols;
  s.group = min_of(group, max_of<std::size_t>(cols, 1));
  s.groups = cols == 0 ? 0 : ceil_div(cols, s.group);
  s.strips = ceil_div(rows, strip_rows);
  s.line_bytes = strip_rows * k_unit;
  s.line_k = k_unit * (bits == 4 ? 2 : 1);
  s.group_lines = ceil_div(s.group, s.line_k);
  s.last_lines = s.groups == 0 ? 0 : ceil_div(s.length(s.groups - 1), s.line_k);
  s.block = max_of<std::size_t>(min_of(s.groups, block_groups), 1);
  const std::size_t per_block = s.block * strip_rows;
  s.zeros_at = round_up(per_block * scale_bytes, cache_line);
  s.offsets_at = s.zeros_at + (zeros ? round_up(per_block, cache_line) : 0);
  s.header_bytes = s.offsets_at + round_up(per_block * offset_bytes, cache_line);
  if (s.groups != 0)
    s.strip_bytes =
        ceil_div(s.groups, s.block) * s.header_bytes + ((s.groups - 1) * s.group_lines + s.last_lines) * s.line_bytes;
  return s;
}

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// What a kernel must know at compile time about the strips it reads.
template <code_kind Kind, bool Nibbles, class Scale, class Offset, int ConstantZero, bool Zeros>
struct strip_format {
  static constexpr code_kind kind = Kind;
  static constexpr bool nibbles = Nibbles;     // two codes a byte
  static constexpr bool zeros = Zeros;         // a zero point per group and row, of the width of a byte
  static constexpr int zero = ConstantZero;    // otherwise this one, as stored
  using scale = Scale;
  using offset = Offset;    // no_offset, or float or float16
  static constexpr bool has_offset = !std::is_same_v<Offset, no_offset>;

  QLITE_INLINE static constexpr strip_shape shape(std::size_t rows, std::size_t cols, std::size_t group,
                                                  std::size_t k_unit) noexcept {
    return make_strip_shape(rows, cols, group, nibbles ? 4 : 8, k_unit, sizeof(Scale), Zeros, size_of_offset<Offset>);
  }
};

/// Added to a stored canonical field to give the field of the packed form.
template <class Scheme, class Backend>
inline constexpr int packed_bias = scheme_traits<Scheme>::bits == 8 && Backend::unsigned_int8 ? 128 : 0;

/// The strips of a scheme on a backend.
template <class Scheme, class Backend>
using format_of = strip_format<
    std::is_same_v<typename scheme_traits<Scheme>::code, nf4> ? code_kind::nf4
    : scheme_traits<Scheme>::has_codebook ? (Backend::unsigned_int8 ? code_kind::nl4_u8 : code_kind::nl4_s8)
    : scheme_traits<Scheme>::bits == 4    ? code_kind::u4
                                          : (Backend::unsigned_int8 ? code_kind::u8 : code_kind::s8),
    scheme_traits<Scheme>::bits == 4, typename scheme_traits<Scheme>::scale,
    std::conditional_t<scheme_traits<Scheme>::has_offset, offset_storage<Scheme>, no_offset>,
    packed_bias<Scheme, Backend> + scheme_traits<Scheme>::stored_bias, scheme_traits<Scheme>::has_zero_point>;

}    // namespace impl
QLITE_END_FUNCTIONS
