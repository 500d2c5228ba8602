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
  const std::byte* weights;    // one strip
  const strip_shape* shape;
  const std::byte* x;    // one panel, of as many rows as the tile
  float* out;            // [rows][16]
};
using integer_tile_function = void (*)(const integer_tile_args&);

template <class I, class Format, scale_kind Scales, std::size_t Rows>
struct integer_tile {
  static_assert(Rows % I::row_unit == 0, "a tile has whole units of rows");
  static constexpr code_kind kind = dot_kind<Format::kind>;
  /// The zero point that all codes share, as the dot product sees them.
  static constexpr int zero = Format::kind == code_kind::nl4_u8 ? 128 : Format::zero;
  static constexpr std::size_t units = Rows / I::row_unit;
  static constexpr std::size_t line_units = Format::nibbles ? 2 : 1;
  static constexpr std::size_t burst_units = I::template burst<kind>;
  static constexpr bool starts_corrected = I::row_unit == 1;
  /// With a sum per output and row of W there is no need to keep float sums in registers beside it.
  static constexpr bool keeps_floats = Scales != scale_kind::row;
  /// Independent sums per output: a chain of dependent dot products is slower than the unit's throughput.
  static constexpr std::size_t chains = burst_units != 0 || units >= 8 ? 1 : units >= 4 ? 2 : 4;

  using floats = typename I::floats;
  using ints = typename I::ints;
  using weights = typename I::weights;
  using inputs = typename I::inputs;
  using scale = typename Format::scale;
  using offset = typename Format::offset;

  struct sums {
    ints v[chains][units];
  };

  /// Each line that is read, headers too, asks for one further on: one that nobody asked for stalls everything. With
  /// one row a line of bytes is done with so soon that the processor sees enough lines ahead.
  QLITE_INLINE static void prefetch(const std::byte* w) noexcept {
    if constexpr (Format::nibbles || Rows > 1) prefetch_stream(w);
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
  QLITE_INLINE static inputs load_unit(const std::byte* codes, std::size_t m) noexcept {
    return I::load_inputs(reinterpret_cast<const std::int8_t*>(codes) + m * I::row_unit * I::k_unit);
  }

  /// Adds a unit.
  template <class Sum>
  QLITE_INLINE static void multiply(Sum (&sum)[units], const weights& w, const std::byte* x) noexcept {
    repeat<units>([&](auto m) QLITE_LAMBDA { I::template dot<kind>(sum[m], w, load_unit(x, m)); });
  }

  static constexpr std::size_t line_bytes = strip_rows * I::k_unit;
  static constexpr std::size_t line_k = I::k_unit * line_units;
  static constexpr std::size_t unit_bytes = Rows * I::k_unit, line_x = Rows * line_k;

  /// Adds one line: one unit of byte codes, or two of nibbles into `even` and `odd`.
  template <class Sum>
  QLITE_INLINE static void line(Sum (&even)[units], Sum (&odd)[units], const std::byte* w,
                                const std::byte* x) noexcept {
    prefetch(w);
    if constexpr (Format::nibbles) {
      weights low, high;
      I::load_nibbles(w, low, high);
      if constexpr (is_book<Format::kind>) {
        low = I::template look_up<Format::kind>(low);
        high = I::template look_up<Format::kind>(high);
      }
      multiply(even, low, x);
      multiply(odd, high, x + unit_bytes);
    } else {
      static_cast<void>(odd);
      multiply(even, I::load_bytes(w), x);
    }
  }
  /// Adds `lines` lines.
  QLITE_INLINE static void run(sums& sum, const std::byte* w, const std::byte* x, std::size_t lines) noexcept {
    if constexpr (burst_units == 0) {
      constexpr std::size_t step = chains > line_units ? chains / line_units : 1;
      for (; lines >= step; lines -= step, w += step * line_bytes, x += step * line_x) {
        repeat<step>([&](auto j) QLITE_LAMBDA {
          line(sum.v[j * line_units % chains], sum.v[(j * line_units + line_units - 1) % chains], w + j * line_bytes,
               x + j * line_x);
        });
      }
      if constexpr (step > 1) {
        for (; lines != 0; --lines, w += line_bytes, x += line_x) line(sum.v[0], sum.v[line_units - 1], w, x);
      }
    } else if constexpr (burst_units < line_units) {    // a partial is full before the line is through
      using partial = typename I::partial;
      for (; lines != 0; --lines, w += line_bytes, x += line_x) {
        partial even[units], odd[units];
        repeat<units>([&](auto m) QLITE_LAMBDA { even[m] = odd[m] = I::start_partial(); });
        line(even, odd, w, x);
        repeat<units>([&](auto m) QLITE_LAMBDA {
          I::flush(sum.v[0][m], even[m]);
          I::flush(sum.v[0][m], odd[m]);
        });
      }
    } else {
      constexpr std::size_t most = burst_units / line_units;
      using partial = typename I::partial;
      while (lines != 0) {
        const std::size_t some = min_of(lines, most);
        partial part[units];
        repeat<units>([&](auto m) QLITE_LAMBDA { part[m] = I::start_partial(); });
        for (std::size_t i = 0; i < some; ++i, w += line_bytes, x += line_x) line(part, part, w, x);
        repeat<units>([&](auto m) QLITE_LAMBDA { I::flush(sum.v[0][m], part[m]); });
        lines -= some;
      }
    }
  }

  /// Sums at the beginning of a run.
  QLITE_INLINE static void start(sums& sum, const std::byte* zeros, const std::byte* x) noexcept {
    repeat<units>([&](auto m) QLITE_LAMBDA {
      if constexpr (starts_corrected && Format::zeros)
        sum.v[0][m] = I::template start<kind>(zeros, sum_at(x, m));
      else if constexpr (starts_corrected && zero != 0)
        sum.v[0][m] = I::start(zero, sum_at(x, m));
      else
        sum.v[0][m] = I::start(0, 0);
      repeat<chains - 1>([&](auto c) QLITE_LAMBDA { sum.v[c + 1][m] = I::start(0, 0); });
    });
    static_cast<void>(zeros), static_cast<void>(x);
  }

  QLITE_INLINE static floats sum_of(const sums& sum, std::size_t m, const std::byte* zeros,
                                    const std::byte* x) noexcept {
    ints total = sum.v[0][m / I::row_unit];
    repeat<chains - 1>([&](auto c) QLITE_LAMBDA { total = I::add_ints(total, sum.v[c + 1][m / I::row_unit]); });
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

  static void apply(const integer_tile_args& args) {
    const strip_shape& shape = *args.shape;
    const std::byte* x = args.x;
    floats acc[keeps_floats ? Rows : 1];
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      if constexpr (keeps_floats)
        acc[m] = floats::splat(0.0f);
      else
        floats::splat(0.0f).store(args.out + m * strip_rows);
    });

    constexpr std::size_t fold_lines = fold_length / line_k;
    const std::byte* w = args.weights;
    for (std::size_t g = 0; g < shape.groups;) {
      const std::byte* header = w;
      const std::byte* zeros = header + shape.zeros_at;
      const std::byte* offsets = header + shape.offsets_at;
      for (std::size_t i = 0; i < shape.header_bytes; i += cache_line) prefetch(w + i);
      w += shape.header_bytes;
      for (const std::size_t end = min_of(shape.groups, g + shape.block); g < end; ++g) {
        for (std::size_t left = shape.lines(g); left != 0;) {
          const std::size_t lines = min_of(left, fold_lines);
          sums sum;
          start(sum, zeros, x);
          run(sum, w, x + Rows * run_bytes(0), lines);
          const floats sw = floats::load(reinterpret_cast<const scale*>(header));
          repeat<Rows>([&](auto m) QLITE_LAMBDA {
            float* const out = args.out + m * strip_rows;
            floats y = keeps_floats ? acc[keeps_floats ? m : 0] : floats::load(out);
            y = fma(sum_of(sum, m, zeros, x), scaled(sw, x, m), y);
            if constexpr (Format::has_offset)
              y = fma(scaled(floats::load(reinterpret_cast<const offset*>(offsets)), x, m),
                      floats::splat(static_cast<float>(sum_at(x, m))), y);
            if constexpr (keeps_floats)
              acc[m] = y;
            else
              y.store(out);
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
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      float* const out = args.out + m * strip_rows;
      floats y = keeps_floats ? acc[keeps_floats ? m : 0] : floats::load(out);
      if constexpr (Scales != scale_kind::groups) y = fma(y, floats::splat(scale_at(args.x, m)), floats::splat(0.0f));
      y.store(out);
    });
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
