// Register tiles of weight-only products: X stays in float, codes become floats in registers (few rows) or in a panel
// that many rows share.
//
//   few rows    part = Sum over k of x * (code - zero);  acc = fma(part, scale, acc)   per group
//               (offset schemes: acc = Sum of x * fma(scale, code, offset))
//   many rows   acc  = Sum over k of x * w, with w as `dequantize` defines it
//
// Sums are in float32 in an order that depends on the backend; docs/numerics.md has the bound of the error.
#pragma once

#include <qlite/pack/layout.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Rows of X in float, padded with zeros to whole lines of each group where the caller's X is not.
struct float_rows {
  const float* data = nullptr;
  std::size_t stride = 0;
};

struct float_direct_args {
  const std::byte* weights;    // the tile's strips, one after the other
  const strip_shape* shape;
  float_rows x;
  std::size_t rows;    // a tile may have more and repeats the last
  float* out;          // [tile rows][strips * 16]
  prefetch_plan prefetch;
};
using float_direct_function = void (*)(const float_direct_args&);

struct float_panel_args {
  const float* panel;    // [depth][tile strips * 16]
  float_rows x;
  std::size_t depth, rows;
  float* out;    // [tile rows][tile strips * 16], added to
};
using float_panel_function = void (*)(const float_panel_args&);

/// Position in a line of the weight with byte `b` of word `word` and nibble `n`: k within the line.
template <std::size_t KUnit>
QLITE_INLINE constexpr std::size_t k_of(std::size_t word, std::size_t b, std::size_t n) noexcept {
  return n * KUnit + word * 4 + b;
}

/// Turns codes into floats, less the zero point that all share, if they do.
template <class I, class Format>
using decoder_of = typename I::template decoder<Format::kind, Format::zeros ? 0 : Format::zero>;

/// Calls f(k, values of 16 columns at k of each strip) for each k of a line.
template <class I, class Format, std::size_t Strips, class F>
QLITE_INLINE void for_each_k(const decoder_of<I, Format>& decoder, const std::byte* line, std::size_t strip_bytes,
                             F&& f) noexcept {
  typename I::words w[Strips][I::word_count];
  repeat<Strips>([&](auto s) QLITE_LAMBDA { I::load_words(line + s * strip_bytes, w[s]); });
  repeat<(Format::nibbles ? 2 : 1)>([&](auto n) QLITE_LAMBDA {
    repeat<I::word_count>([&](auto word) QLITE_LAMBDA {
      repeat<4>([&](auto b) QLITE_LAMBDA {
        typename I::floats codes[Strips];
        repeat<Strips>([&](auto s) QLITE_LAMBDA {
          codes[s] = decoder.template code<static_cast<int>(8 * b + 4 * n)>(w[s][word]);
        });
        f(constant<k_of<I::k_unit>(word, b, n)>{}, codes);
      });
    });
  });
}

/// Where the numbers of a group stand in the header of its block.
struct group_header {
  const std::byte *scales, *zeros, *offsets;

  QLITE_INLINE group_header(const std::byte* block, const strip_shape& shape) noexcept
      : scales(block), zeros(block + shape.zeros_at), offsets(block + shape.offsets_at) {}
  /// The same group in a strip that lies so many bytes on.
  QLITE_INLINE group_header beside(std::size_t bytes) const noexcept {
    group_header other = *this;
    other.scales += bytes, other.zeros += bytes, other.offsets += bytes;
    return other;
  }
  template <class Format>
  QLITE_INLINE void advance(std::size_t groups) noexcept {
    scales += groups * strip_rows * sizeof(typename Format::scale);
    zeros += groups * strip_rows;
    offsets += groups * strip_rows * size_of_offset<typename Format::offset>;
  }
};

/// Scales, zero points and offsets of a group for 16 columns.
template <class I, class Format>
struct group_values {
  typename I::floats scale, zero, offset;    // the last two only where the format has them

  QLITE_INLINE void load(const group_header& at) noexcept {
    scale = I::floats::load(reinterpret_cast<const typename Format::scale*>(at.scales));
    if constexpr (Format::zeros) zero = I::template zero_floats<Format::kind>(at.zeros);
    if constexpr (Format::has_offset)
      offset = I::floats::load(reinterpret_cast<const typename Format::offset*>(at.offsets));
  }
  /// code - zero point.
  QLITE_INLINE typename I::floats centred(typename I::floats code) const noexcept {
    if constexpr (Format::zeros)
      return sub(code, zero);
    else
      return code;
  }
  /// The weight, as `dequantize` defines it.
  QLITE_INLINE typename I::floats weight(typename I::floats code) const noexcept {
    if constexpr (Format::has_offset)
      return fma(code, scale, offset);
    else
      return mul(centred(code), scale);
  }
};

template <class I, class Format, std::size_t Rows, std::size_t Strips>
struct float_direct_tile {
  using floats = typename I::floats;
  /// Independent sums per output, so that eight registers of them hide the latency of two fmas a cycle.
  static constexpr std::size_t sum_registers = Strips * Rows * I::floats::count;
  static constexpr std::size_t chains = sum_registers >= 8 ? 1 : min_of<std::size_t>(4, 8 / sum_registers);
  /// Several strips leave no room for the sums of all groups beside those of one.
  static constexpr bool keeps_sums = Strips == 1;

  static void apply(const float_direct_args& args) {
    const strip_shape& shape = *args.shape;
    const strip_stream<Strips, (Rows >= 4)> all(args.weights, shape.strip_bytes, args.prefetch);
    float* first = args.out;
    const auto out = [&first](std::size_t s, std::size_t m)
                         QLITE_LAMBDA { return first + (m * Strips + s) * strip_rows; };
    const float* x[Rows];
    floats acc[keeps_sums ? Rows : 1];
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      x[m] = args.x.data + min_of<std::size_t>(m, args.rows - 1) * args.x.stride;
      if constexpr (keeps_sums)
        acc[m] = floats::splat(0.0f);
      else
        repeat<Strips>([&](auto s) QLITE_LAMBDA { floats::splat(0.0f).store(out(s, m)); });
    });
    const decoder_of<I, Format> decoder;
    std::size_t k = 0;
    const std::byte* line = args.weights;
    for (std::size_t g = 0; g < shape.groups;) {
      group_header header(line, shape);
      for (std::size_t i = 0; i < shape.header_bytes; i += cache_line) all.prefetch(line + i);
      line += shape.header_bytes;
      for (const std::size_t end = min_of(shape.groups, g + shape.block); g < end; ++g) {
        group_values<I, Format> values[Strips];
        repeat<Strips>([&](auto s) QLITE_LAMBDA { values[s].load(header.beside(s * all.bytes)); });
        header.template advance<Format>(1);
        floats part[chains][Strips][Rows];
        repeat<chains>([&](auto c) QLITE_LAMBDA {
          repeat<Strips>([&](auto s) QLITE_LAMBDA {
            repeat<Rows>([&](auto m) QLITE_LAMBDA { part[c][s][m] = floats::splat(0.0f); });
          });
        });
        for (std::size_t i = shape.lines(g); i != 0; --i, line += shape.line_bytes, k += shape.line_k) {
          all.prefetch(line);    // each line that is read, headers too, asks for one further on
          for_each_k<I, Format, Strips>(
              decoder, line, all.bytes, [&](auto at, const floats(&codes)[Strips]) QLITE_LAMBDA {
                floats value[Strips];
                repeat<Strips>([&](auto s) QLITE_LAMBDA {
                  value[s] = Format::has_offset ? values[s].weight(codes[s]) : values[s].centred(codes[s]);
                });
                repeat<Rows>([&](auto m) QLITE_LAMBDA {
                  const floats spread = floats::splat(x[m][k + at]);
                  repeat<Strips>([&](auto s) QLITE_LAMBDA {
                    part[at % chains][s][m] = fma(spread, value[s], part[at % chains][s][m]);
                  });
                });
              });
        }
        if constexpr (!keeps_sums) __asm__("" : "+r"(first));    // or g++ keeps them too: on the stack
        repeat<Strips>([&](auto s) QLITE_LAMBDA {
          repeat<Rows>([&](auto m) QLITE_LAMBDA {
            repeat<chains - 1>([&](auto c) QLITE_LAMBDA { part[0][s][m] = add(part[0][s][m], part[c + 1][s][m]); });
            const auto added = [&](floats sum) QLITE_LAMBDA {
              return Format::has_offset ? add(sum, part[0][s][m]) : fma(part[0][s][m], values[s].scale, sum);
            };
            if constexpr (keeps_sums)
              acc[m] = added(acc[m]);
            else
              added(floats::load(out(s, m))).store(out(s, m));
          });
        });
      }
    }
    if constexpr (keeps_sums) repeat<Rows>([&](auto m) QLITE_LAMBDA { acc[m].store(out(0, m)); });
  }
};

/// One place in the lines of a strip.
struct line_position {
  std::size_t group = 0, line = 0;
};

/// Decodes the next `lines` lines of a strip into floats, row k of the panel at panel + k * stride.
template <class I, class Format>
inline line_position decode_floats(const std::byte* weights, const strip_shape& shape, line_position from,
                                   std::size_t lines, float* panel, std::size_t stride) {
  using floats = typename I::floats;
  const decoder_of<I, Format> decoder;
  while (lines != 0) {
    group_header header(weights + shape.block_at(from.group), shape);
    header.template advance<Format>(from.group % shape.block);
    group_values<I, Format> values;
    values.load(header);
    const std::byte* line = weights + shape.codes_at(from.group) + from.line * shape.line_bytes;
    const std::size_t end = min_of(shape.lines(from.group), from.line + lines);
    lines -= end - from.line;
    for (; from.line < end; ++from.line, line += shape.line_bytes, panel += shape.line_k * stride) {
      for_each_k<I, Format, 1>(decoder, line, 0, [&](auto at, const floats(&code)[1]) QLITE_LAMBDA {
        values.weight(code[0]).store(panel + at * stride);
      });
    }
    if (from.line == shape.lines(from.group)) from = {from.group + 1, 0};
  }
  return from;
}
using float_decode_function = line_position (*)(const std::byte*, const strip_shape&, line_position, std::size_t,
                                                float*, std::size_t);

template <class I, std::size_t Rows, std::size_t Strips>
struct float_panel_tile {
  using floats = typename I::floats;

  static void apply(const float_panel_args& args) {
    const float* x[Rows];
    floats acc[Rows][Strips];
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      x[m] = args.x.data + min_of<std::size_t>(m, args.rows - 1) * args.x.stride;
      repeat<Strips>([&](auto s) QLITE_LAMBDA { acc[m][s] = floats::load(args.out + (m * Strips + s) * strip_rows); });
    });
    const float* w = args.panel;
    for (std::size_t k = 0; k < args.depth; ++k, w += Strips * strip_rows) {
      floats value[Strips];
      repeat<Strips>([&](auto s) QLITE_LAMBDA { value[s] = floats::load(w + s * strip_rows); });
      repeat<Rows>([&](auto m) QLITE_LAMBDA {
        const floats spread = floats::splat(x[m][k]);
        repeat<Strips>([&](auto s) QLITE_LAMBDA { acc[m][s] = fma(spread, value[s], acc[m][s]); });
      });
    }
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      repeat<Strips>([&](auto s) QLITE_LAMBDA { acc[m][s].store(args.out + (m * Strips + s) * strip_rows); });
    });
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
