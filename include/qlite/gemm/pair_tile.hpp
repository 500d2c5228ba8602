// Register tiles of weight-only products with X of bfloat16, for instruction sets that multiply pairs of bfloat16 and
// add to floats: X as it is, times codes less their zero point, which bfloat16 holds exactly.
//
//   part = Sum over k of x * (code - zero);  acc = fma(part, scale, acc)   per group
//
// Two terms to an instruction, which rounds after each. Sums, and the order of theirs, are otherwise those of the
// tiles for few rows in float_tile.hpp.
#pragma once

#include <qlite/gemm/float_tile.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Formats with such tiles: bfloat16 holds the integers up to 256. Weights with offsets are no multiples of their
/// scale, and the numbers of nf4 are no integers.
template <class I, class Format, class = void>
inline constexpr bool has_pairs = false;
template <class I, class Format>
inline constexpr bool has_pairs<I, Format, std::void_t<typename I::pairs>> =
    !Format::has_offset && Format::kind != code_kind::nf4;

/// Writes rows of X as a panel of so many, one stream for a tile: pairs in the order that I decodes, each of all rows
/// side by side; each group padded with zeros to whole lines. The last row stands for those that are not there. A pair
/// is a word of 32 bits, which here has the type of a float, as all scratch of weight-only products.
using pair_copy_function = void (*)(matrix_view<const bfloat16> x, std::size_t panel_rows, const strip_shape& shape,
                                    float* to);

template <class I, class Format>
inline void copy_pairs(matrix_view<const bfloat16> x, std::size_t panel_rows, const strip_shape& shape, float* to) {
  constexpr std::size_t block = I::pair_block;
  for (std::size_t g = 0; g < shape.groups; ++g) {
    const std::size_t begin = g * shape.group, length = shape.length(g), end = shape.lines(g) * shape.line_k;
    for (std::size_t k = 0; k < end; k += block) {
      const std::size_t pairs = min_of(end - k, block) / 2;
      if (k + block <= length && panel_rows == I::pair_rows) {
        I::template copy_pair_rows<Format::nibbles>(x, begin + k, to);
      } else {
        for (std::size_t m = 0; m < panel_rows; ++m) {
          const bfloat16* from = x.row(min_of(m, x.rows() - 1)) + begin + k;
          bfloat16 in_order[block], padded[block] = {};
          if (k + block > length) {
            if (k < length) std::memcpy(padded, from, (length - k) * sizeof(bfloat16));
            from = padded;
          }
          I::template copy_pairs<Format::nibbles>(from, in_order);
          for (std::size_t i = 0; i < pairs; ++i) std::memcpy(to + i * panel_rows + m, in_order + 2 * i, sizeof(float));
        }
      }
      to += pairs * panel_rows;
    }
  }
}

template <class I, class Format, std::size_t Rows, std::size_t Strips>
struct pair_tile {
  using floats = typename I::floats;
  using decoder = typename I::template pair_decoder<Format::kind, Format::zeros ? 0 : Format::zero, Format::zeros>;
  /// Independent sums per output, to hide the latency of the dot product.
  static constexpr std::size_t chains = Strips > 1 ? 1 : min_of<std::size_t>(4, 16 / Rows);
  /// Lines at a time, so that each has its turn.
  static constexpr std::size_t turn = max_of<std::size_t>(1, chains / decoder::pairs_per_line);
  /// Several strips leave no room for the sums of all groups beside those of one.
  static constexpr bool keeps_sums = Strips == 1;

  static void apply(const float_direct_args& args) {
    const strip_shape& shape = *args.shape;
    const strip_stream<Strips, (Rows >= 4)> all(args.weights, shape.strip_bytes, args.prefetch);
    float* first = args.out;
    const auto out = [&first](std::size_t s, std::size_t m)
                         QLITE_LAMBDA { return first + (m * Strips + s) * strip_rows; };
    const float* x = args.x.data;    // a panel of as many rows as the tile
    floats acc[keeps_sums ? Rows : 1];
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      if constexpr (keeps_sums)
        acc[m] = floats::splat(0.0f);
      else
        repeat<Strips>([&](auto s) QLITE_LAMBDA { floats::splat(0.0f).store(out(s, m)); });
    });
    const decoder decode;
    const std::byte* line = args.weights;
    for (std::size_t g = 0; g < shape.groups;) {
      group_header header(line, shape);
      for (std::size_t i = 0; i < shape.header_bytes; i += cache_line) all.prefetch(line + i);
      line += shape.header_bytes;
      for (const std::size_t end = min_of(shape.groups, g + shape.block); g < end; ++g) {
        typename decoder::zeros zeros[Strips];
        repeat<Strips>([&](auto s) QLITE_LAMBDA { zeros[s] = decode.load_zeros(header.beside(s * all.bytes).zeros); });
        floats part[chains][Strips][Rows];
        repeat<chains>([&](auto c) QLITE_LAMBDA {
          repeat<Strips>([&](auto s) QLITE_LAMBDA {
            repeat<Rows>([&](auto m) QLITE_LAMBDA { part[c][s][m] = floats::splat(0.0f); });
          });
        });
        const auto add_line = [&](auto i) QLITE_LAMBDA {
          constexpr std::size_t before = i * decoder::pairs_per_line;
          all.prefetch(line);    // each line that is read, headers too, asks for one further on
          typename I::words w[Strips];
          repeat<Strips>([&](auto s) QLITE_LAMBDA { I::load_words(line + s * all.bytes, &w[s]); });
          repeat<decoder::pairs_per_line>([&](auto p) QLITE_LAMBDA {
            typename I::pairs codes[Strips];
            repeat<Strips>([&](auto s) QLITE_LAMBDA { codes[s] = decode.template codes<p>(w[s], zeros[s]); });
            repeat<Rows>([&](auto m) QLITE_LAMBDA {
              const auto pair = I::template load_pair<Strips>(x + p * Rows + m);
              repeat<Strips>([&](auto s)
                                 QLITE_LAMBDA { I::dot_pairs(part[(before + p) % chains][s][m], codes[s], pair); });
            });
          });
          x += decoder::pairs_per_line * Rows;
          line += shape.line_bytes;
        };
        std::size_t lines = shape.lines(g);
        for (; lines >= turn; lines -= turn) repeat<turn>(add_line);
        if constexpr (turn == 2)
          if (lines != 0) add_line(constant<0>{});
        if constexpr (!keeps_sums) __asm__("" : "+r"(first));    // or g++ keeps them too: on the stack
        repeat<Strips>([&](auto s) QLITE_LAMBDA {
          const floats scale =
              floats::load(reinterpret_cast<const typename Format::scale*>(header.beside(s * all.bytes).scales));
          repeat<Rows>([&](auto m) QLITE_LAMBDA {
            repeat<chains - 1>([&](auto c) QLITE_LAMBDA { part[0][s][m] = add(part[0][s][m], part[c + 1][s][m]); });
            if constexpr (keeps_sums)
              acc[m] = fma(part[0][s][m], scale, acc[m]);
            else
              fma(part[0][s][m], scale, floats::load(out(s, m))).store(out(s, m));
          });
        });
        header.template advance<Format>(1);
      }
    }
    if constexpr (keeps_sums) repeat<Rows>([&](auto m) QLITE_LAMBDA { acc[m].store(out(0, m)); });
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
