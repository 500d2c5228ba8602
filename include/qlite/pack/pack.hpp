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

/// Columns [begin, end) of all rows of a strip, whose codes fill lines from `lines` on, past the caches if `streams`.
struct code_run {
  std::size_t begin, end;
  std::byte* lines;
  bool streams;
};

/// From how many bytes on packed weights go past the caches: they would drive out what is in there, and a line is read
/// before it is written to.
inline constexpr std::size_t least_streamed = std::size_t{4} << 20;

/// Packs lines [from, to) of a run of one row into its lane.
template <class Scheme, class Backend>
QLITE_INLINE void pack_lane(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t row,
                            std::size_t lane, const code_run& run, std::size_t from, std::size_t to) {
  using traits = scheme_traits<Scheme>;
  constexpr int bits = traits::bits, bias = packed_bias<Scheme, Backend> + traits::stored_bias;
  constexpr std::size_t k_unit = Backend::k_unit;
  const std::uint8_t* const codes = q.codes() + row * q.shape().code_row_bytes();
  std::byte* line = run.lines + from * shape.line_bytes;
  std::size_t k = run.begin + from * shape.line_k;
  const std::size_t end = min_of(run.end, run.begin + to * shape.line_k);
  if (k_unit == 4 && (bits == 8 || run.begin % 2 == 0)) {
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

/// Lanes that are packed together: as many rows as a register holds fours of words, times four.
inline constexpr std::size_t lanes_together = 4 * word_fours::count;

/// The same for `lanes_together` lanes from `lane` on. A register of each of these rows makes as many lines, or parts
/// of them: the words of a line from four rows at a time are a 4 x 4 matrix that is transposed.
template <class Scheme, class Backend>
QLITE_INLINE void pack_lanes(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t row,
                             std::size_t lane, const code_run& run, std::size_t from, std::size_t to) {
  constexpr int bits = scheme_traits<Scheme>::bits;
  constexpr std::size_t word_bytes = sizeof(std::uint32_t), line_k = Backend::k_unit * 8 / bits,
                        fours = word_fours::count;
  if (Backend::k_unit == 4 && (bits == 8 || run.begin % 2 == 0)) {
    const std::size_t stride = q.shape().code_row_bytes(), whole = min_of(to, (run.end - run.begin) / line_k);
    const auto* codes = reinterpret_cast<const std::byte*>(q.codes()) + row * stride + run.begin * bits / 8;
    for (; from + lanes_together <= whole; from += lanes_together) {
      word_fours rows[4][fours];    // rows[i][j]: row i + 4 j
      repeat<fours>([&](auto j) QLITE_LAMBDA {
        repeat<4>([&](auto i) QLITE_LAMBDA {
          const std::byte* const at = codes + (i + 4 * j) * stride + from * word_bytes;
          // what the next strip will want: rows lie too far apart for the processor to see it coming
          __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(at) + strip_rows * stride));
          rows[i][j] = packed_words<Scheme, Backend>(word_fours::load(at));
        });
      });
      repeat<4>([&](auto i) QLITE_LAMBDA { transpose_fours(rows[i]); });
      std::byte* const to_lane = run.lines + from * shape.line_bytes + lane * word_bytes;
      repeat<fours>([&](auto j) QLITE_LAMBDA {
        const word_fours ac_low = zip_low(rows[0][j], rows[2][j]), ac_high = zip_high(rows[0][j], rows[2][j]),
                         bd_low = zip_low(rows[1][j], rows[3][j]), bd_high = zip_high(rows[1][j], rows[3][j]);
        const word_fours lines[4] = {zip_low(ac_low, bd_low), zip_high(ac_low, bd_low), zip_low(ac_high, bd_high),
                                     zip_high(ac_high, bd_high)};
        repeat<4>([&](auto i) QLITE_LAMBDA {
          std::byte* const line = to_lane + (4 * j + i) * shape.line_bytes;
          run.streams ? lines[i].stream(line) : lines[i].store(line);
        });
      });
    }
  }
  if (from == to) return;
  for (std::size_t i = 0; i < lanes_together; ++i)
    pack_lane<Scheme, Backend>(q, shape, row + i, lane + i, run, from, to);
}

/// Packs the codes of `count` rows from `first` on, 64 bytes of a few rows at a time: rows are often a multiple of 4
/// KiB apart, and caches keep few lines at such a distance. The lines of a block of groups follow each other without a
/// gap where groups are whole lines.
template <class Scheme, class Backend>
QLITE_INLINE void pack_codes(const quantized_view<Scheme>& q, const strip_shape& shape, std::size_t first,
                             std::size_t count, std::byte* strip) {
  constexpr std::size_t some_lines = 16;
  const std::size_t together = shape.group % shape.line_k == 0 ? shape.block : 1;
  for (std::size_t g = 0; g < shape.groups; g = min_of(g + together, shape.groups)) {
    const std::size_t last = min_of(g + together, shape.groups) - 1;
    std::byte* const codes = strip + shape.codes_at(g);
    const code_run run{g * shape.group, last * shape.group + shape.length(last), codes,
                       shape.bytes() >= least_streamed && reinterpret_cast<std::uintptr_t>(codes) % cache_line == 0};
    const std::size_t lines = ceil_div(run.end - run.begin, shape.line_k);
    for (std::size_t from = 0; from < lines; from += some_lines) {
      const std::size_t to = min_of(lines, from + some_lines);
      std::size_t lane = 0;
      for (; lane + lanes_together <= count; lane += lanes_together)
        pack_lanes<Scheme, Backend>(q, shape, first + lane, lane, run, from, to);
      for (; lane < count; ++lane) pack_lane<Scheme, Backend>(q, shape, first + lane, lane, run, from, to);
    }
  }
}

/// Four numbers from each of four rows, a quarter of a word each: those of one column together in each word of
/// `columns`.
template <class Word>
QLITE_INLINE void transpose_quarters(const Word (&rows)[4], Word (&columns)[4]) noexcept {
  constexpr int half = 4 * sizeof(Word), quarter = half / 2;
  constexpr Word low = (Word{1} << half) - 1, even = (low >> quarter) | (low >> quarter << half);
  const auto pair = [](Word a, Word b, bool odd) QLITE_LAMBDA {
    return odd ? ((a >> quarter) & even) | (b & (even << quarter)) : (a & even) | ((b & even) << quarter);
  };
  for (std::size_t i = 0; i < 2; ++i) {
    const Word first = pair(rows[0], rows[1], i != 0), second = pair(rows[2], rows[3], i != 0);
    columns[i] = (first & low) | (second << half);
    columns[i + 2] = (first >> half) | (second & (low << half));
  }
}

/// Numbers of four groups, which lie together in each row, for four lanes of a header's part.
template <class T>
QLITE_INLINE void pack_numbers(const T* const (&from)[4], std::byte* to) noexcept {
  if constexpr (sizeof(T) == 2) {
    std::uint64_t rows[4], columns[4];
    for (std::size_t i = 0; i < 4; ++i) std::memcpy(&rows[i], from[i], sizeof rows[i]);
    transpose_quarters(rows, columns);
    for (std::size_t i = 0; i < 4; ++i) std::memcpy(to + i * strip_rows * sizeof(T), &columns[i], sizeof columns[i]);
  } else {
    for (std::size_t i = 0; i < 4; ++i)
      for (std::size_t j = 0; j < 4; ++j) std::memcpy(to + (i * strip_rows + j) * sizeof(T), from[j] + i, sizeof(T));
  }
}

/// Zero points, as stored in a header, of a row's groups g to g + 3, where g is a multiple of four: a byte each.
template <class Scheme, class Backend>
QLITE_INLINE std::uint32_t zero_points_of_4(const quantized_view<Scheme>& q, std::size_t row, std::size_t g) noexcept {
  constexpr int bits = scheme_traits<Scheme>::bits;
  std::uint8_t bytes[bits == 4 ? 2 : 4];
  std::memcpy(bytes,
              q.zeros() + (scheme_traits<Scheme>::one_scale ? 0 : row) * q.shape().zero_row_bytes() + g * bits / 8,
              sizeof bytes);
  std::uint32_t packed = 0;
  if constexpr (bits == 4) {
    const std::uint32_t first = bytes[0], second = bytes[1];
    packed = (first & 15u) | (first >> 4 << 8) | ((second & 15u) << 16) | (second >> 4 << 24);
  } else {
    std::memcpy(&packed, bytes, sizeof packed);
  }
  return packed_bias<Scheme, Backend> != 0 ? packed ^ 0x80808080u : packed;
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
    const std::size_t groups = min_of(shape.block, shape.groups - g);
    std::size_t done = 0;    // lanes whose numbers are there
    if (groups == block_groups && count == strip_rows) {
      for (; done < count; done += 4) {
        const scale* scales[4];
        for (std::size_t i = 0; i < 4; ++i) scales[i] = q.scales() + q.scale_index(first + done + i, g);
        pack_numbers(scales, header + done * sizeof(scale));
        if constexpr (traits::has_offset) {
          const offset_storage<Scheme>* offsets[4];
          for (std::size_t i = 0; i < 4; ++i) offsets[i] = q.offsets() + q.scale_index(first + done + i, g);
          pack_numbers(offsets, header + shape.offsets_at + done * sizeof(*offsets[0]));
        }
        if constexpr (traits::has_zero_point) {
          std::uint32_t rows[4], columns[4];
          for (std::size_t i = 0; i < 4; ++i) rows[i] = zero_points_of_4<Scheme, Backend>(q, first + done + i, g);
          transpose_quarters(rows, columns);
          for (std::size_t i = 0; i < 4; ++i)
            std::memcpy(header + shape.zeros_at + i * strip_rows + done, &columns[i], sizeof columns[i]);
        }
      }
    } else {
      std::memset(header, 0, shape.header_bytes);
    }
    for (std::size_t lane = done; lane < count; ++lane) {
      const std::size_t row = first + lane, from = q.scale_index(row, g);
      for (std::size_t i = 0; i < groups; ++i) {
        const std::size_t at = i * strip_rows + lane;
        if constexpr (traits::has_zero_point)
          header[shape.zeros_at + at] = static_cast<std::byte>(q.zero_point(row, g + i) + packed_bias<Scheme, Backend>);
        std::memcpy(header + at * sizeof(scale), q.scales() + from + i, sizeof(scale));
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
    streamed();
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

/// The canonical form back, bit for bit. (Of a per_tensor matrix without rows nothing is packed: its scale comes back
/// as 0.)
template <class Scheme, class Backend>
inline quantized_matrix<Scheme> unpack(const packed_view<Scheme, Backend>& packed) {
  using traits = detail::scheme_traits<Scheme>;
  constexpr int bits = traits::bits, bias = impl::packed_bias<Scheme, Backend>;
  const detail::strip_shape& shape = packed.raw().shape;
  quantized_matrix<Scheme> q(shape.rows, shape.cols, packed.scheme());
  if (q.shape().code_bytes() != 0) std::memset(q.codes(), 0, q.shape().code_bytes());
  if (q.shape().zero_bytes() != 0) std::memset(q.zeros(), 0, q.shape().zero_bytes());
  if (shape.rows == 0 && q.shape().scale_bytes() != 0) {
    std::memset(q.scales(), 0, q.shape().scale_bytes());
    if constexpr (traits::has_offset) std::memset(q.offsets(), 0, q.shape().scale_count() * sizeof(*q.offsets()));
  }
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
