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

#include <qlite/pack/layout.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// Quantized rows of X. Codes are padded per group (strip_shape::padded_group); `scales` holds one number per group, or
/// one per row; `sums` one per fold.
struct input_rows {
  const std::int8_t* codes = nullptr;
  const float* scales = nullptr;
  const std::int32_t* sums = nullptr;
  std::size_t code_stride = 0, scale_stride = 0, sum_stride = 0;

  QLITE_INLINE input_rows from(std::size_t row) const noexcept {
    return {codes + row * code_stride,
            scales + row * scale_stride,
            sums + row * sum_stride,
            code_stride,
            scale_stride,
            sum_stride};
  }
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Which scales meet in a product.
enum class scale_kind {
  groups,    // both sides have one per group: acc = fma(sum, sw * sx, acc)
  token,     // groups of weights, one activation scale per token: acc = fma(sum, sw, acc), times sx at the end
  row        // one scale per row of W and per token: as `token`, with one sum (or few) per output
};

struct integer_tile_args {
  const std::byte* weights;    // first strip
  std::size_t strip_stride;    // bytes to the next strip
  const strip_shape* shape;
  input_rows x;
  std::size_t rows, strips;    // as many as there are; a tile may have more and repeats the last
  float* out;                  // [tile rows][tile strips * 16]
};
using integer_tile_function = void (*)(const integer_tile_args&);

template <class I, class Format, scale_kind Scales, std::size_t Rows, std::size_t Strips>
struct integer_tile {
  static_assert(Rows % I::row_unit == 0, "a tile has whole units of rows");
  static constexpr code_kind kind = Format::kind;
  static constexpr std::size_t units = Rows / I::row_unit;
  static constexpr std::size_t line_units = Format::nibbles ? 2 : 1;
  static constexpr std::size_t burst_units = I::template burst<kind>;
  static constexpr bool starts_corrected = I::row_unit == 1;
  /// With a sum per output and row of W there is no need to keep float sums in registers beside it.
  static constexpr bool keeps_floats = Scales != scale_kind::row;
  /// Independent sums per output: a chain of dependent dot products is slower than the unit's throughput.
  static constexpr std::size_t chains = burst_units != 0 || units * Strips >= 8 ? 1 : units * Strips >= 4 ? 2 : 4;

  using floats = typename I::floats;
  using ints = typename I::ints;
  using weights = typename I::weights;
  using inputs = typename I::inputs;

  struct pointers {
    const std::byte* w[Strips];
    const std::int8_t* x[Rows];
  };
  struct sums {
    ints v[chains][units][Strips];
  };

  QLITE_INLINE static inputs load_unit(const pointers& p, std::size_t unit, std::size_t k) noexcept {
    if constexpr (I::row_unit == 1)
      return I::load_inputs(p.x[unit] + k);
    else
      return I::load_inputs(p.x[2 * unit] + k, p.x[2 * unit + 1] + k);
  }

  template <class Sum>
  QLITE_INLINE static void multiply(Sum (&sum)[units][Strips], const weights (&w)[Strips], const pointers& p,
                                    std::size_t k) noexcept {
    repeat<units>([&](auto m) QLITE_LAMBDA {
      const inputs x = load_unit(p, m, k);
      repeat<Strips>([&](auto s) QLITE_LAMBDA { I::template dot<kind>(sum[m][s], w[s], x); });
    });
  }

  /// Adds one line: one unit of byte codes, or two of nibbles into `even` and `odd`.
  template <class Sum>
  QLITE_INLINE static void line(Sum (&even)[units][Strips], Sum (&odd)[units][Strips], const pointers& p,
                                std::size_t at, std::size_t k) noexcept {
    weights low[Strips];
    if constexpr (Strips == 1 && Rows > 1) prefetch_line<8192>(p.w[0] + at);
    if constexpr (Format::nibbles) {
      weights high[Strips];
      repeat<Strips>([&](auto s) QLITE_LAMBDA { I::load_nibbles(p.w[s] + at, low[s], high[s]); });
      multiply(even, low, p, k);
      multiply(odd, high, p, k + I::k_unit);
    } else {
      repeat<Strips>([&](auto s) QLITE_LAMBDA { low[s] = I::load_bytes(p.w[s] + at); });
      multiply(even, low, p, k);
    }
  }

  static constexpr std::size_t line_bytes = strip_rows * I::k_unit;
  static constexpr std::size_t line_k = I::k_unit * line_units;

  /// Adds `lines` lines.
  QLITE_INLINE static void run(sums& sum, const pointers& p, std::size_t at, std::size_t k,
                               std::size_t lines) noexcept {
    if constexpr (burst_units == 0) {
      constexpr std::size_t step = chains > line_units ? chains / line_units : 1;
      std::size_t i = 0;
      for (; i + step <= lines; i += step) {
        repeat<step>([&](auto j) QLITE_LAMBDA {
          line(sum.v[j * line_units % chains], sum.v[(j * line_units + line_units - 1) % chains], p,
               at + (i + j) * line_bytes, k + (i + j) * line_k);
        });
      }
      if constexpr (step > 1) {
        for (; i < lines; ++i) line(sum.v[0], sum.v[line_units - 1], p, at + i * line_bytes, k + i * line_k);
      }
    } else {
      constexpr std::size_t most = burst_units / line_units == 0 ? 1 : burst_units / line_units;
      using partial = typename I::partial;
      for (std::size_t i = 0; i < lines;) {
        const std::size_t end = min_of(lines, i + most);
        partial part[units][Strips];
        repeat<units>([&](auto m) QLITE_LAMBDA {
          repeat<Strips>([&](auto s) QLITE_LAMBDA { part[m][s] = I::start_partial(); });
        });
        for (; i < end; ++i) line(part, part, p, at + i * line_bytes, k + i * line_k);
        repeat<units>([&](auto m) QLITE_LAMBDA {
          repeat<Strips>([&](auto s) QLITE_LAMBDA { I::flush(sum.v[0][m][s], part[m][s]); });
        });
      }
    }
  }

  QLITE_INLINE static void start(sums& sum, const std::byte* const (&zeros)[Strips],
                                 const std::int32_t* const (&a)[Rows], std::size_t fold) noexcept {
    repeat<chains>([&](auto c) QLITE_LAMBDA {
      repeat<units>([&](auto m) QLITE_LAMBDA {
        repeat<Strips>([&](auto s) QLITE_LAMBDA {
          if constexpr (starts_corrected && Format::zeros)
            sum.v[c][m][s] = c == 0 ? I::template start<kind>(zeros[s], a[m][fold]) : I::start(0, 0);
          else if constexpr (starts_corrected && !Format::zero_is_0)
            sum.v[c][m][s] = c == 0 ? I::start(Format::zero, a[m][fold]) : I::start(0, 0);
          else
            sum.v[c][m][s] = I::start(0, 0);
        });
      });
    });
    static_cast<void>(zeros), static_cast<void>(a), static_cast<void>(fold);
  }

  QLITE_INLINE static floats sum_of(sums& sum, std::size_t m, std::size_t s, const std::byte* zeros,
                                    std::int32_t a) noexcept {
    ints total = sum.v[0][m / I::row_unit][s];
    repeat<chains - 1>([&](auto c) QLITE_LAMBDA { total = I::add_ints(total, sum.v[c + 1][m / I::row_unit][s]); });
    if constexpr (starts_corrected) {
      static_cast<void>(zeros), static_cast<void>(a);
      return I::to_floats(total);
    } else if constexpr (Format::zeros) {
      return I::template to_floats<kind>(total, m % I::row_unit, zeros, a);
    } else {
      static_cast<void>(zeros);
      return I::to_floats(total, m % I::row_unit, Format::zero, a);
    }
  }

  /// A scale of the weights times the activations' scale of the group, where that has one.
  QLITE_INLINE static floats scaled(floats sw, const float* sx, std::size_t g) noexcept {
    if constexpr (Scales == scale_kind::groups)
      return mul(sw, floats::splat(sx[g]));
    else
      return (static_cast<void>(sx), static_cast<void>(g), sw);
  }

  static void apply(const integer_tile_args& args) {
    const strip_shape& shape = *args.shape;
    const std::byte* base[Strips];
    repeat<Strips>([&](auto s) QLITE_LAMBDA {
      base[s] = args.weights + min_of<std::size_t>(s, args.strips - 1) * args.strip_stride;
    });
    const std::int32_t* a[Rows];
    const float* sx[Rows];
    pointers p;
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      const input_rows row = args.x.from(min_of<std::size_t>(m, args.rows - 1));
      p.x[m] = row.codes;
      sx[m] = row.scales;
      a[m] = row.sums;
    });
    floats acc[keeps_floats ? Rows : 1][Strips];
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      repeat<Strips>([&](auto s) QLITE_LAMBDA {
        if constexpr (keeps_floats)
          acc[m][s] = floats::splat(0.0f);
        else
          floats::splat(0.0f).store(args.out + (m * Strips + s) * strip_rows);
      });
    });

    constexpr std::size_t fold_lines = fold_length / line_k;
    const std::size_t padded_group = shape.padded_group();
    std::size_t at = 0, fold = 0;
    for (std::size_t g = 0; g < shape.groups;) {
      const std::size_t header_at = at, end = min_of(shape.groups, g + shape.block);
      at += shape.header_bytes;
      for (std::size_t in_block = 0; g < end; ++g, ++in_block) {
        const std::byte* scales[Strips];
        const std::byte* zeros[Strips];
        const std::byte* offsets[Strips];
        repeat<Strips>([&](auto s) QLITE_LAMBDA {
          const std::byte* const header = base[s] + header_at;
          p.w[s] = base[s];
          scales[s] = header + in_block * strip_rows * sizeof(typename Format::scale);
          zeros[s] = header + shape.zeros_at + in_block * strip_rows;
          offsets[s] = header + shape.offsets_at + in_block * strip_rows * size_of_offset<typename Format::offset>;
        });
        std::size_t k = g * padded_group;
        for (std::size_t left = shape.lines(g); left != 0; ++fold) {
          const std::size_t lines = min_of(left, fold_lines);
          sums sum;
          start(sum, zeros, a, fold);
          run(sum, p, at, k, lines);
          repeat<Strips>([&](auto s) QLITE_LAMBDA {
            const floats sw = floats::load(reinterpret_cast<const typename Format::scale*>(scales[s]));
            repeat<Rows>([&](auto m) QLITE_LAMBDA {
              float* const out = args.out + (m * Strips + s) * strip_rows;
              floats y = keeps_floats ? acc[keeps_floats ? m : 0][s] : floats::load(out);
              y = fma(sum_of(sum, m, s, zeros[s], a[m][fold]), scaled(sw, sx[m], g), y);
              if constexpr (Format::has_offset) {
                const floats o = floats::load(reinterpret_cast<const typename Format::offset*>(offsets[s]));
                y = fma(scaled(o, sx[m], g), floats::splat(static_cast<float>(a[m][fold])), y);
              }
              if constexpr (keeps_floats)
                acc[m][s] = y;
              else
                y.store(out);
            });
          });
          left -= lines;
          at += lines * line_bytes;
          k += lines * line_k;
        }
        static_cast<void>(offsets);
      }
    }
    repeat<Rows>([&](auto m) QLITE_LAMBDA {
      repeat<Strips>([&](auto s) QLITE_LAMBDA {
        float* const out = args.out + (m * Strips + s) * strip_rows;
        floats y = keeps_floats ? acc[keeps_floats ? m : 0][s] : floats::load(out);
        if constexpr (Scales != scale_kind::groups) y = fma(y, floats::splat(sx[m][0]), floats::splat(0.0f));
        y.store(out);
      });
    });
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
