// Canonical form -> packed form and back, without loss: unpack(pack(q)) == q.
#pragma once

#include <qlite/core/executor.hpp>
#include <qlite/cpu/kernels.hpp>
#include <qlite/pack/packed_matrix.hpp>
#include <qlite/quantize/scaled_matrix.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class Scheme, class Backend>
QLITE_INLINE strip_shape packed_shape(const canonical_layout<Scheme>& shape) noexcept {
  return format_of<Scheme, Backend>::shape(shape.rows(), shape.cols(), shape.group_size(), Backend::k_unit);
}

/// Four canonical bytes, eight nibbles k 0 ... 7 from the lowest on, as one lane of a line: k 0 ... 3 in the low
/// nibbles of its bytes, k 4 ... 7 in the high ones. Of one word or of each in a vector.
template <class Words>
QLITE_INLINE Words nibbles_to_lane(Words x) noexcept {
  const auto swap = [](Words v, int n, std::uint32_t mask) QLITE_LAMBDA {    // the bits of mask with those n higher
    const Words changed = (v ^ (v >> n)) & Words(mask);
    return v ^ changed ^ (changed << n);
  };
  return swap(swap(x, 8, 0x0000ff00u), 4, 0x00f000f0u);
}

/// Byte and nibble of weight k of a line, for row `lane` of the strip.
struct code_place {
  std::size_t byte;
  int shift;
};
template <int Bits, std::size_t KUnit>
QLITE_INLINE constexpr code_place place_of(std::size_t lane, std::size_t k) noexcept {
  return {lane * KUnit + k % KUnit, Bits == 4 && k >= KUnit ? 4 : 0};
}

/// The stored bytes of canonical codes: a lane of a line, or several.
template <class Scheme, class Backend, class Words>
QLITE_INLINE Words packed_words(Words x) noexcept {
  if constexpr (scheme_traits<Scheme>::bits == 4)
    return nibbles_to_lane(x);
  else
    return packed_bias<Scheme, Backend> != 0 ? x ^ Words(0x80808080u) : x;
}

/// Packs lines [from, to) of group g of one row into its lane of the group's lines.
template <class Scheme, class Backend>
QLITE_INLINE void pack_lane(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t row,
                            std::size_t lane, std::size_t g, std::size_t from, std::size_t to, std::byte* lines) {
  using traits = scheme_traits<Scheme>;
  constexpr int bits = traits::bits, bias = packed_bias<Scheme, Backend> + traits::stored_bias;
  constexpr std::size_t k_unit = Backend::k_unit;
  const std::uint8_t* const codes = q.codes() + row * q.shape().code_row_bytes();
  std::byte* line = lines + from * shape.line_bytes;
  const std::size_t begin = g * shape.group, group_end = begin + shape.length(g);
  std::size_t k = begin + from * shape.line_k;
  const std::size_t end = min_of(group_end, begin + to * shape.line_k);
  if (k_unit == 4 && (bits == 8 || begin % 2 == 0)) {
    for (; k + shape.line_k <= end; k += shape.line_k, line += shape.line_bytes) {
      std::uint32_t word;
      std::memcpy(&word, codes + k * bits / 8, sizeof word);
      word = packed_words<Scheme, Backend>(word);
      std::memcpy(line + lane * k_unit, &word, sizeof word);
    }
  }
  for (; k < end; k += shape.line_k, line += shape.line_bytes) {
    std::uint8_t bytes[k_unit] = {};
    for (std::size_t i = 0; i < shape.line_k && k + i < end; ++i) {
      const code_place at = place_of<bits, k_unit>(0, i);
      const unsigned stored = static_cast<unsigned>(q.code(row, k + i) + bias) & (bits == 4 ? 15u : 255u);
      bytes[at.byte] = static_cast<std::uint8_t>(bytes[at.byte] | (stored << at.shift));
    }
    std::memcpy(line + lane * k_unit, bytes, k_unit);
  }
}

/// The same for lanes [lane, lane + 4) of a whole strip. Lines of 64 bytes go in fours: 16 bytes of four rows are a 4 x
/// 4 matrix of words, which is transposed.
template <class Scheme, class Backend>
QLITE_INLINE void pack_four_lanes(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t row,
                                  std::size_t lane, std::size_t g, std::size_t from, std::size_t to, std::byte* lines) {
  constexpr int bits = scheme_traits<Scheme>::bits;
  constexpr std::size_t word_bytes = sizeof(std::uint32_t), line_k = Backend::k_unit * 8 / bits;
  const std::size_t begin = g * shape.group;
  if (Backend::k_unit == 4 && (bits == 8 || begin % 2 == 0)) {
    const std::size_t stride = q.shape().code_row_bytes(), whole = min_of(to, shape.length(g) / line_k);
    const auto* codes = reinterpret_cast<const std::byte*>(q.codes()) + row * stride + begin * bits / 8;
    const auto load = [](const std::byte* p) QLITE_LAMBDA {
      std::uint32_t words[4];
      std::memcpy(words, p, sizeof words);
      return packed_words<Scheme, Backend>(words_of_4::load_unaligned(words));
    };
    const auto store = [&](std::size_t line, words_of_4 x) QLITE_LAMBDA {
      std::uint32_t words[4];
      x.store_unaligned(words);
      std::memcpy(lines + line * shape.line_bytes + lane * word_bytes, words, sizeof words);
    };
    for (; from + 4 <= whole; from += 4) {
      const std::byte* const at = codes + from * word_bytes;
      const words_of_4 a = load(at), b = load(at + stride), c = load(at + 2 * stride), d = load(at + 3 * stride);
      const words_of_4 ac_low = zip_lo(a, c), ac_high = zip_hi(a, c), bd_low = zip_lo(b, d), bd_high = zip_hi(b, d);
      store(from, zip_lo(ac_low, bd_low));
      store(from + 1, zip_hi(ac_low, bd_low));
      store(from + 2, zip_lo(ac_high, bd_high));
      store(from + 3, zip_hi(ac_high, bd_high));
    }
  }
  if (from == to) return;
  for (std::size_t i = 0; i < 4; ++i) pack_lane<Scheme, Backend>(q, shape, row + i, lane + i, g, from, to, lines);
}

/// Packs the codes of `count` rows from `first` on, 64 bytes of a few rows at a time: rows are often a multiple of 4
/// KiB apart, and caches keep few lines at such a distance. Groups shorter than that go together.
template <class Scheme, class Backend>
QLITE_INLINE void pack_codes(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t first,
                             std::size_t count, std::byte* strip) {
  constexpr std::size_t some_lines = 16;
  const std::size_t together = shape.group_lines >= some_lines ? 1 : shape.block;
  const std::size_t group_bytes = shape.group_lines * shape.line_bytes;
  std::byte* block = strip;
  for (std::size_t b = 0; b < shape.groups; b += shape.block, block += shape.block_at(shape.block)) {
    const std::size_t block_end = min_of(shape.groups, b + shape.block);
    std::byte* some = block + shape.header_bytes;
    for (std::size_t begin = b; begin < block_end; begin += together, some += together * group_bytes) {
      const std::size_t end = min_of(block_end, begin + together);
      for (std::size_t from = 0; from < shape.lines(begin); from += some_lines) {
        for (std::size_t lane = 0; lane < count; lane += 4) {
          std::byte* lines = some;
          for (std::size_t g = begin; g < end; ++g, lines += group_bytes) {
            const std::size_t to = min_of(shape.lines(g), from + some_lines);
            if (to <= from) continue;
            if (lane + 4 <= count)
              pack_four_lanes<Scheme, Backend>(q, shape, first + lane, lane, g, from, to, lines);
            else
              for (std::size_t i = lane; i < count; ++i)
                pack_lane<Scheme, Backend>(q, shape, first + i, i, g, from, to, lines);
          }
        }
      }
    }
  }
}

/// Scales, zero points and offsets of a strip of `count` rows from `first` on; the other lanes get scale 0.
template <class Scheme, class Backend>
QLITE_INLINE void pack_headers(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t first,
                               std::size_t count, std::byte* strip) {
  using traits = scheme_traits<Scheme>;
  using scale = typename traits::scale;
  const std::size_t block_bytes = shape.block_at(shape.block);
  std::byte* header = strip;
  for (std::size_t g = 0; g < shape.groups; g += shape.block, header += block_bytes) {
    std::memset(header, 0, shape.header_bytes);
    const std::size_t groups = min_of(shape.block, shape.groups - g);
    for (std::size_t lane = 0; lane < count; ++lane) {
      const std::size_t row = first + lane, from = q.scale_index(row, g);
      for (std::size_t i = 0; i < groups; ++i) {
        const std::size_t at = i * strip_rows + lane;
        std::memcpy(header + at * sizeof(scale), q.scales() + from + i, sizeof(scale));
        if constexpr (traits::has_zero_point)
          header[shape.zeros_at + at] = static_cast<std::byte>(q.zero_point(row, g + i) + packed_bias<Scheme, Backend>);
        if constexpr (traits::has_offset)
          std::memcpy(header + shape.offsets_at + at * sizeof(*q.offsets()), q.offsets() + from + i,
                      sizeof(*q.offsets()));
      }
    }
  }
}

template <class Scheme, class Backend>
inline void pack_strip(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t s, std::byte* data) {
  std::byte* const strip = data + s * shape.strip_bytes;
  const std::size_t first = s * strip_rows, count = min_of(strip_rows, shape.rows - first);
  if (count < strip_rows && shape.strip_bytes != 0) std::memset(strip, 0, shape.strip_bytes);
  pack_headers<Scheme, Backend>(q, shape, first, count, strip);
  pack_codes<Scheme, Backend>(q, shape, first, count, strip);
}

template <class Scheme, class Backend, class Executor>
inline void pack_strips(const quantized_view<Scheme>& q, const strip_shape& shape, std::byte* data,
                        Executor&& executor) {
  const std::size_t tasks = task_count(executor, shape.strips, shape.bytes(), std::size_t{1} << 16);
  const auto task = [&](std::size_t i) {
    const slice strips = slice_of(shape.strips, tasks, i);
    for (std::size_t s = strips.begin; s < strips.end; ++s) pack_strip<Scheme, Backend>(q, shape, s, data);
  };
  if (tasks == 1)
    task(0);
  else
    executor.parallel_for(tasks, task);
}

template <class Scheme, class Backend>
QLITE_INLINE void check_backend() noexcept {
  static_assert(is_compiled<Backend>,
                "qlite: this backend needs instructions that the flags of this translation unit lack; "
                "its tag in core/backend.hpp names the flags");
  static_cast<void>(sizeof(isa<Backend>));    // and its file in cpu/ says so by name
}

}    // namespace impl

/// Bytes of the packed form of a rows x cols matrix: codes, scales, zero points or offsets, and padding. Exact. For
/// whole strips, lines and blocks of groups it is what the canonical form takes, but for int4 zero points, which take a
/// byte.
template <class Scheme, class Backend>
inline std::size_t packed_bytes(std::size_t rows, std::size_t cols, Scheme scheme = {}) {
  const canonical_layout<Scheme> shape{rows, cols, scheme};
  impl::check_layout("packed matrix", shape);
  return impl::packed_shape<Scheme, Backend>(shape).bytes();
}

/// Packs into memory of the caller, at least packed_bytes<Scheme, Backend>(rows, cols) of it, aligned to 4 bytes
/// (64 is fast). The view refers to that memory. Errors: null or misaligned arrays of q, too little memory.
template <class Backend, class Scheme, class Executor = serial,
          std::enable_if_t<detail::is_executor<Executor>, int> = 0>
inline packed_view<Scheme, Backend> pack(const quantized_view<Scheme>& q, void* memory, std::size_t bytes,
                                         Executor&& executor = {}) {
  impl::check_backend<Scheme, Backend>();
  impl::check_quantized("q", q);
  const detail::strip_shape shape = impl::packed_shape<Scheme, Backend>(q.shape());
  if (bytes < shape.bytes())
    impl::fail("qlite: the memory for the packed matrix is %zu bytes, expected %zu", bytes, shape.bytes());
  impl::check_array("memory", static_cast<const std::uint32_t*>(memory), shape.bytes());
  impl::pack_strips<Scheme, Backend>(q, shape, static_cast<std::byte*>(memory), executor);
  return {detail::packed_data{static_cast<std::byte*>(memory), shape}, q.scheme()};
}

/// Packs into memory of its own. O(rows * cols).
template <class Backend, class Scheme, class Executor = serial,
          std::enable_if_t<detail::is_executor<Executor>, int> = 0>
inline packed_matrix<Scheme, Backend> pack(const quantized_view<Scheme>& q, Executor&& executor = {}) {
  impl::check_backend<Scheme, Backend>();
  impl::check_quantized("q", q);
  const detail::strip_shape shape = impl::packed_shape<Scheme, Backend>(q.shape());
  detail::buffer memory(shape.bytes());
  impl::pack_strips<Scheme, Backend>(q, shape, memory.data(), executor);
  return {static_cast<detail::buffer&&>(memory), shape, q.scheme()};
}

/// The same for a matrix that owns its memory.
template <class Backend, class Scheme, class Executor = serial,
          std::enable_if_t<detail::is_executor<Executor>, int> = 0>
inline packed_matrix<Scheme, Backend> pack(const quantized_matrix<Scheme>& q, Executor&& executor = {}) {
  return pack<Backend>(q.view(), executor);
}

/// A matrix that owns its memory, into memory of the caller.
template <class Backend, class Scheme, class Executor = serial,
          std::enable_if_t<detail::is_executor<Executor>, int> = 0>
inline packed_view<Scheme, Backend> pack(const quantized_matrix<Scheme>& q, void* memory, std::size_t bytes,
                                         Executor&& executor = {}) {
  return pack<Backend>(q.view(), memory, bytes, executor);
}

/// Not for weights whose columns were scaled: a product with their codes alone would be wrong.
template <class Backend, class Scheme, class... Arguments>
void pack(const scaled_matrix<Scheme>&, Arguments&&...) {
  static_assert(sizeof(Scheme) == 0,
                "qlite: a scaled_matrix is packed once its input scale is seen to: fold it into the layer before "
                "(fold_input_scale) or divide the inputs (divide_inputs), and pack .codes()");
}

/// The canonical form back, bit for bit.
template <class Scheme, class Backend>
inline quantized_matrix<Scheme> unpack(const packed_view<Scheme, Backend>& packed) {
  using traits = detail::scheme_traits<Scheme>;
  constexpr int bits = traits::bits, bias = impl::packed_bias<Scheme, Backend>;
  const detail::strip_shape& shape = packed.raw().shape;
  quantized_matrix<Scheme> q(shape.rows, shape.cols, packed.scheme());
  if (q.shape().code_bytes() != 0) std::memset(q.codes(), 0, q.shape().code_bytes());
  if (q.shape().zero_bytes() != 0) std::memset(q.zeros(), 0, q.shape().zero_bytes());
  const auto put = [](std::uint8_t* row, std::size_t i, int field) {
    if constexpr (bits == 4)
      row[i / 2] = static_cast<std::uint8_t>(row[i / 2] | ((field & 15) << (4 * (i % 2))));
    else
      row[i] = static_cast<std::uint8_t>(field);
  };
  for (std::size_t r = 0; r < shape.rows; ++r) {
    const std::byte* const strip = packed.data() + r / detail::strip_rows * shape.strip_bytes;
    const std::size_t lane = r % detail::strip_rows;
    for (std::size_t g = 0; g < shape.groups; ++g) {
      const std::byte* const header = strip + shape.block_at(g);
      const std::size_t at = g % shape.block * detail::strip_rows + lane;
      if (r < q.shape().scale_rows()) {
        const std::size_t to = q.view().scale_index(r, g);
        std::memcpy(q.scales() + to, header + at * sizeof(*q.scales()), sizeof(*q.scales()));
        if constexpr (traits::has_zero_point)
          put(q.zeros() + r * q.shape().zero_row_bytes(), g, static_cast<int>(header[shape.zeros_at + at]) - bias);
        if constexpr (traits::has_offset)
          std::memcpy(q.offsets() + to, header + shape.offsets_at + at * sizeof(*q.offsets()), sizeof(*q.offsets()));
      }
      const std::byte* const codes = strip + shape.codes_at(g);
      for (std::size_t i = 0; i < shape.length(g); ++i) {
        const impl::code_place where = impl::place_of<bits, Backend::k_unit>(lane, i % shape.line_k);
        const int byte = static_cast<int>(codes[i / shape.line_k * shape.line_bytes + where.byte]);
        put(q.codes() + r * q.shape().code_row_bytes(), g * shape.group + i, (byte >> where.shift) - bias);
      }
    }
  }
  return q;
}

/// The same for packed weights that own their memory.
template <class Scheme, class Backend>
inline quantized_matrix<Scheme> unpack(const packed_matrix<Scheme, Backend>& packed) {
  return unpack(packed.view());
}

QLITE_END_FUNCTIONS
