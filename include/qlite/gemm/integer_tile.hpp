// The register tile of INT8 activations times INT4 or INT8 weights, for every instruction set.
//
// For each group g of the weights (or each run of 65,536 k of it, see pack/layout.hpp):
//
//     sum_g = Sum over k of (code - zero) * activation code       INT32, exact
//     acc   = fma(float(sum_g), sw_g * sx_g, acc)                 one activation scale per group
//     acc   = fma(float(sum_g), sw_g, acc)                        one per token; times sx at the end
//     acc   = fma(offset_g * sx_g, float(Sum a), acc)             offset schemes
//
// The weights take part as stored, unsigned where the dot product wants it; the sum starts at -zero * (Sum a), which
// costs nothing and keeps every intermediate exact. Each output depends on its row of X and its row of W only, so
// neither the tile nor the split over threads shows in the result.
#pragma once

#include <qlite/gemm/input_rows.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Which scales meet in a product.
enum class scale_kind {
  groups,    // both sides have one per group: acc = fma(sum, sw * sx, acc)
  token,     // groups of weights, one activation scale per token: acc = fma(sum, sw, acc), times sx at the end
  row        // one scale per row of W and per token: as `token`, with one sum (or few) per output
};

struct integer_tile_args {
  const std::byte* weights;    // the tile's strips, one after the other
  const strip_shape* shape;
  const std::byte* x;    // one panel, of as many rows as the tile
  float* out;            // [rows][strips * 16]
  prefetch_plan prefetch;
  std::size_t next_panel = 0;    // not 0: a second panel so many bytes on takes part, in tiles that take two
};
using integer_tile_function = void (*)(const integer_tile_args&);

template <class I, class Format, scale_kind Scales, std::size_t Rows, std::size_t Strips>
struct integer_tile {
  static_assert(Rows % I::row_unit == 0, "a tile has whole units of rows");
  static constexpr code_kind kind = dot_kind<Format::kind>;
  /// The zero point that all codes share, as the dot product sees them.
  static constexpr int zero = Format::kind == code_kind::nl4_u8 ? 128 : Format::zero;
  static_assert(zero % 8 == 0, "-8 times the sums are at hand");
  static constexpr std::size_t units = Rows / I::row_unit;
  static constexpr std::size_t line_units = Format::nibbles ? 2 : 1;
  static constexpr std::size_t burst_units = I::template burst<kind>;
  static constexpr bool starts_corrected = I::row_unit == 1;
  /// Rows of the first strip whose float sums are kept in registers; all others are added up in memory. With one sum
  /// (or few) per output that is all of them, with several strips those that registers are left for.
  static constexpr std::size_t kept = Scales == scale_kind::row ? 0 : Strips == 1 ? Rows : 4;
  static constexpr bool is_kept(std::size_t s, std::size_t m) noexcept { return s == 0 && m < kept; }
  /// Independent sums per output: a chain of dependent dot products is slower than the unit's throughput.
  static constexpr std::size_t parallel = Strips * Rows * I::floats::count;    // registers of one chain
  static constexpr std::size_t chains = burst_units != 0 || parallel >= 8 ? 1 : parallel >= 4 ? 2 : 4;

  using floats = typename I::floats;
  using ints = typename I::ints;
  using weights = typename I::weights;
  using scale = typename Format::scale;
  using offset = typename Format::offset;

  /// One unit of sums for each strip and unit of rows.
  template <class Sum>
  struct block {
    Sum v[Strips][units];
  };
  struct sums {
    block<ints> v[chains];
  };

  using strips = strip_stream<Strips, (Rows >= 4)>;
  /// Each line that is read, headers too, asks for one further on: one that nobody asked for stalls everything. With
  /// one row and a dot product of one instruction, a line of bytes is done with so soon that the processor sees enough
  /// lines ahead.
  QLITE_INLINE static void prefetch(const strips& all, const std::byte* w) noexcept {
    if constexpr (Format::nibbles || Rows > 1 || burst_units != 0) all.prefetch(w);
    static_cast<void>(all), static_cast<void>(w);
  }

  /// A run of the panel, and a unit of its codes (input_rows.hpp).
  template <class T>
  QLITE_INLINE static T number(const std::byte* p) noexcept {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  QLITE_INLINE static std::int32_t sum_at(const std::byte* run, std::size_t m) noexcept {
    return number<std::int32_t>(run + m * sizeof(std::int32_t));
  }
  QLITE_INLINE static float scale_at(const std::byte* run, std::size_t m) noexcept {
    return number<float>(run + Rows * sizeof(std::int32_t) + m * sizeof(float));
  }
  /// -8 times the sum.
  QLITE_INLINE static std::int32_t start_at(const std::byte* run, std::size_t m) noexcept {
    return number<std::int32_t>(run + Rows * (sizeof(std::int32_t) + sizeof(float)) + m * sizeof(std::int32_t));
  }
  /// A unit of activations, for one dot product or for one with each strip.
  QLITE_INLINE static auto load_unit(const std::byte* codes, std::size_t m) noexcept {
    const auto* const unit = reinterpret_cast<const std::int8_t*>(codes) + m * I::row_unit * I::k_unit;
    if constexpr (Strips == 1)
      return I::load_inputs(unit);
    else
      return I::load_shared_inputs(unit);
  }

  /// Adds a unit.
  template <class Sum, class M>
  QLITE_INLINE static void multiply(block<Sum>& sum, M m, const weights (&w)[Strips], const std::byte* x) noexcept {
    const auto unit = load_unit(x, m);
    repeat<Strips>([&](auto s) QLITE_LAMBDA { I::template dot<kind>(sum.v[s][m], w[s], unit); });
  }

  static constexpr std::size_t line_bytes = strip_rows * I::k_unit;
  static constexpr std::size_t line_k = I::k_unit * line_units;
  static constexpr std::size_t unit_bytes = Rows * I::k_unit, line_x = Rows * line_k;

  /// The codes of one line of each strip.
  struct line_codes {
    weights unit[line_units][Strips];

    QLITE_INLINE void load(const std::byte* w, const strips& all) noexcept {
      prefetch(all, w);
      repeat<Strips>([&](auto s) QLITE_LAMBDA {
        const std::byte* const at = w + s * all.bytes;
        if constexpr (Format::nibbles) {
          I::load_nibbles(at, unit[0][s], unit[1][s]);
          if constexpr (is_book<Format::kind>)
            repeat<2>([&](auto u) QLITE_LAMBDA { unit[u][s] = I::template look_up<Format::kind>(unit[u][s]); });
        } else {
          unit[0][s] = I::load_bytes(at);
        }
      });
    }
  };

  /// Adds one line of each strip: one unit of byte codes, or two of nibbles into `even` and `odd`.
  template <class Sum>
  QLITE_INLINE static void line(block<Sum>& even, block<Sum>& odd, const std::byte* w, const strips& all,
                                const std::byte* x) noexcept {
    line_codes codes;
    codes.load(w, all);
    repeat<units>([&](auto m) QLITE_LAMBDA { multiply(even, m, codes.unit[0], x); });
    if constexpr (line_units == 2)
      repeat<units>([&](auto m) QLITE_LAMBDA { multiply(odd, m, codes.unit[1], x + unit_bytes); });
    static_cast<void>(odd);
  }
  /// Adds `lines` lines of each strip.
  QLITE_INLINE static void run(sums& sum, const std::byte* w, const strips& all, const std::byte* x,
                               std::size_t lines) noexcept {
    if constexpr (burst_units == 0) {
      constexpr std::size_t step = chains > line_units ? chains / line_units : 1;
      for (; lines >= step; lines -= step, w += step * line_bytes, x += step * line_x) {
        repeat<step>([&](auto j) QLITE_LAMBDA {
          line(sum.v[j * line_units % chains], sum.v[(j * line_units + line_units - 1) % chains], w + j * line_bytes,
               all, x + j * line_x);
        });
      }
      if constexpr (step > 1) {
        for (; lines != 0; --lines, w += line_bytes, x += line_x) line(sum.v[0], sum.v[line_units - 1], w, all, x);
      }
    } else if constexpr (burst_units < line_units) {    // a partial is full before the line is through
      for (; lines != 0; --lines, w += line_bytes, x += line_x) {
        block<typename I::partial> even, odd;
        each(even, [](auto& p) QLITE_LAMBDA { p = I::start_partial(); });
        each(odd, [](auto& p) QLITE_LAMBDA { p = I::start_partial(); });
        line(even, odd, w, all, x);
        flush(sum, even);
        flush(sum, odd);
      }
    } else {
      constexpr std::size_t most = burst_units / line_units;
      while (lines != 0) {
        const std::size_t some = min_of(lines, most);
        block<typename I::partial> part;
        each(part, [](auto& p) QLITE_LAMBDA { p = I::start_partial(); });
        for (std::size_t i = 0; i < some; ++i, w += line_bytes, x += line_x) line(part, part, w, all, x);
        flush(sum, part);
        lines -= some;
      }
    }
  }
  template <class Sum, class F>
  QLITE_INLINE static void each(block<Sum>& sum, F&& f) noexcept {
    repeat<Strips>([&](auto s) QLITE_LAMBDA { repeat<units>([&](auto m) QLITE_LAMBDA { f(sum.v[s][m]); }); });
  }
  template <class Partial>
  QLITE_INLINE static void flush(sums& sum, const block<Partial>& part) noexcept {
    repeat<Strips>([&](auto s) QLITE_LAMBDA {
      repeat<units>([&](auto m) QLITE_LAMBDA { I::flush(sum.v[0].v[s][m], part.v[s][m]); });
    });
  }

  /// Sums of one strip at the beginning of a run.
  template <class S>
  QLITE_INLINE static void start(sums& sum, S s, const std::byte* zeros, const std::byte* x) noexcept {
    repeat<units>([&](auto m) QLITE_LAMBDA {
      if constexpr (starts_corrected && Format::zeros)
        sum.v[0].v[s][m] = I::template start<kind>(zeros, sum_at(x, m));
      else if constexpr (starts_corrected && zero != 0)
        sum.v[0].v[s][m] = I::start(-zero / 8, start_at(x, m));
      else
        sum.v[0].v[s][m] = I::start(0, 0);
      repeat<chains - 1>([&](auto c) QLITE_LAMBDA { sum.v[c + 1].v[s][m] = I::start(0, 0); });
    });
    static_cast<void>(zeros), static_cast<void>(x);
  }

  QLITE_INLINE static floats sum_of(const sums& sum, std::size_t s, std::size_t m, const std::byte* zeros,
                                    const std::byte* x) noexcept {
    ints total = sum.v[0].v[s][m / I::row_unit];
    repeat<chains - 1>([&](auto c) QLITE_LAMBDA { total = I::add_ints(total, sum.v[c + 1].v[s][m / I::row_unit]); });
    static_cast<void>(zeros), static_cast<void>(x);
    if constexpr (starts_corrected)
      return I::to_floats(total);
    else if constexpr (Format::zeros)
      return I::template to_floats<kind>(total, m % I::row_unit, zeros, sum_at(x, m));
    else
      return I::to_floats(total, m % I::row_unit, zero, sum_at(x, m));
  }

  /// A scale of the weights times the activations' scale of the group, where that has one.
  QLITE_INLINE static floats scaled(floats sw, const std::byte* x, std::size_t m) noexcept {
    if constexpr (Scales == scale_kind::groups)
      return mul(sw, floats::splat(scale_at(x, m)));
    else
      return (static_cast<void>(x), static_cast<void>(m), sw);
  }

  /// y plus what a run gave for row m of a strip.
  QLITE_INLINE static floats added(floats y, floats sum, std::size_t m, floats sw, const std::byte* offsets,
                                   const std::byte* x) noexcept {
    y = fma(sum, scaled(sw, x, m), y);
    if constexpr (Format::has_offset)
      y = fma(scaled(floats::load(reinterpret_cast<const offset*>(offsets)), x, m),
              floats::splat(static_cast<float>(sum_at(x, m))), y);
    return (static_cast<void>(offsets), y);
  }

  static void apply(const integer_tile_args& args) {
    const strip_shape& shape = *args.shape;
    const strips all(args.weights, shape.strip_bytes, args.prefetch);
    const std::byte* x = args.x;
    float* first = args.out;
    const auto out = [&first](std::size_t s, std::size_t m)
                         QLITE_LAMBDA { return first + (m * Strips + s) * strip_rows; };
    floats acc[kept == 0 ? 1 : kept];
    repeat<Strips>([&](auto s) QLITE_LAMBDA {
      repeat<Rows>([&](auto m) QLITE_LAMBDA {
        if constexpr (is_kept(s, m))
          acc[m] = floats::splat(0.0f);
        else
          floats::splat(0.0f).store(out(s, m));
      });
    });

    constexpr std::size_t fold_lines = fold_length / line_k;
    const std::byte* w = args.weights;
    for (std::size_t g = 0; g < shape.groups;) {
      const std::byte* header = w;
      const std::byte* zeros = header + shape.zeros_at;
      const std::byte* offsets = header + shape.offsets_at;
      for (std::size_t i = 0; i < shape.header_bytes; i += cache_line) prefetch(all, w + i);
      w += shape.header_bytes;
      for (const std::size_t end = min_of(shape.groups, g + shape.block); g < end; ++g) {
        for (std::size_t left = shape.lines(g); left != 0;) {
          const std::size_t lines = min_of(left, fold_lines);
          sums sum;
          repeat<Strips>([&](auto s) QLITE_LAMBDA { start(sum, s, zeros + s * all.bytes, x); });
          if constexpr (kept < Strips * Rows) __asm__("" : "+r"(first));    // or g++ keeps them too: on the stack
          floats sw[Strips];
          repeat<Strips>([&](auto s) QLITE_LAMBDA {
            sw[s] = floats::load(reinterpret_cast<const scale*>(header + s * all.bytes));
          });
          const std::byte* const codes = x + Rows * run_bytes(0);
          // With several strips the last line goes row by row, each with what becomes of its sums: spread between the
          // dot products that costs less than as a burst behind them (benchmarks/NOTES.md).
          constexpr std::size_t apart = Strips > 1 && burst_units == 0 ? 1 : 0;
          run(sum, w, all, codes, lines - apart);
          const std::byte* const last_x = codes + (lines - apart) * line_x;
          line_codes last;
          if constexpr (apart != 0) last.load(w + (lines - apart) * line_bytes, all);
          repeat<Rows>([&](auto m) QLITE_LAMBDA {
            if constexpr (apart != 0 && m % I::row_unit == 0) {
              constexpr std::size_t unit = m / I::row_unit;
              multiply(sum.v[0], unit, last.unit[0], last_x);
              if constexpr (line_units == 2) multiply(sum.v[chains > 1], unit, last.unit[1], last_x + unit_bytes);
            }
            repeat<Strips>([&](auto s) QLITE_LAMBDA {
              const std::size_t at = s * all.bytes;
              if constexpr (is_kept(s, m))
                acc[m] = added(acc[m], sum_of(sum, s, m, zeros + at, x), m, sw[s], offsets + at, x);
              else
                added(floats::load(out(s, m)), sum_of(sum, s, m, zeros + at, x), m, sw[s], offsets + at, x)
                    .store(out(s, m));
            });
          });
          left -= lines;
          w += lines * line_bytes;
          x += Rows * run_bytes(lines * line_k);
        }
        header += strip_rows * sizeof(scale);
        zeros += strip_rows;
        offsets += strip_rows * size_of_offset<offset>;
      }
    }
    repeat<Strips>([&](auto s) QLITE_LAMBDA {
      repeat<Rows>([&](auto m) QLITE_LAMBDA {
        floats y;
        if constexpr (is_kept(s, m))
          y = acc[m];
        else
          y = floats::load(out(s, m));
        if constexpr (Scales != scale_kind::groups) y = fma(y, floats::splat(scale_at(args.x, m)), floats::splat(0.0f));
        y.store(out(s, m));
      });
    });
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
