// The integer tile (integer_tile.hpp) for instruction sets with few registers: weights are decoded once for more rows
// than can be multiplied at a time.
//
// Sums of 16 bits fill the registers: beside those of four rows there is room neither for sums of 32 bits, nor for
// decoding. So a run is read in stages: some lines are decoded into scratch in the L1 cache; then one part of the rows
// after the other is multiplied with that. Sums of 32 bits, and the float sums, are in memory: they are touched once
// a burst and once a group.
#pragma once

#include <qlite/gemm/integer_tile.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Rows that are multiplied at a time; tiles of more are staged.
template <class I, class = void>
inline constexpr std::size_t rows_at_a_time = no_limit;
template <class I>
inline constexpr std::size_t rows_at_a_time<I, std::void_t<decltype(I::staged_rows)>> = I::staged_rows;

template <class I, class Format, scale_kind Scales, std::size_t Rows>
struct staged_tile : integer_tile<I, Format, Scales, Rows, 1> {
  using tile = integer_tile<I, Format, Scales, Rows, 1>;
  using tile::kind, tile::zero, tile::line_units, tile::burst_units, tile::line_bytes, tile::line_k, tile::unit_bytes;
  using typename tile::floats, typename tile::ints, typename tile::offset, typename tile::scale, typename tile::strips;
  using partial = typename I::partial;
  using staged = typename I::template staged<kind>;

  static constexpr std::size_t parts = ceil_div(Rows, I::staged_rows), part_rows = Rows / parts;
  static_assert(I::row_unit == 1 && parts * part_rows == Rows, "a tile has whole parts");
  static constexpr std::size_t stage_lines = 32 / line_units;
  /// Lines that are addressed from the same pointers. Offsets of one byte make short instructions; with longer ones
  /// the processor decodes less than it multiplies.
  static constexpr std::size_t hop = 2;
  static_assert(burst_units == 1 || burst_units % (hop * line_units) == 0, "bursts are whole hops");

  struct alignas(cache_line) scratch {
    staged line[stage_lines][line_units];
    ints sums[2 * Rows];
  };

  template <class F>
  QLITE_INLINE static void each_row(F&& f) noexcept {
    repeat<part_rows>(static_cast<F&&>(f));
  }

  /// Where a part of the rows is in a run: lines of the strip, their place in the scratch, units of X.
  struct position {
    const std::byte* w;
    std::byte* stage;
    const std::byte* x;
  };
  static constexpr std::size_t staged_line = sizeof(staged) * line_units, middle = hop * staged_line / 2;

  QLITE_INLINE static void take(partial& sum, partial p) noexcept { I::add(sum, p); }
  QLITE_INLINE static void take(ints& sum, partial p) noexcept { I::flush(sum, p); }

  /// Adds lines to the sums of a part, or begins these. The first part of the rows decodes, for all.
  template <bool First, std::size_t Lines, bool Begin, class Sum>
  QLITE_INLINE static void multiply(position& at, Sum (&sum)[part_rows], const strips& all) noexcept {
    repeat<Lines>([&](auto l) QLITE_LAMBDA {
      auto* const line = reinterpret_cast<staged*>(at.stage + l * staged_line - middle);
      typename tile::line_codes codes;
      if constexpr (First) codes.load(at.w + l * line_bytes, all);
      repeat<line_units>([&](auto u) QLITE_LAMBDA {
        constexpr std::size_t unit = l * line_units + u;
        const auto* const x = reinterpret_cast<const std::int8_t*>(at.x + unit * unit_bytes);
        const auto with = [&](staged w) QLITE_LAMBDA {
          each_row([&](auto m) QLITE_LAMBDA {
            const partial p = I::template products<kind>(w, I::load_inputs(x + m * I::k_unit));
            if constexpr (Begin && unit == 0)
              I::store(p, &sum[m]);
            else
              take(sum[m], p);
          });
        };
        if constexpr (First) {
          const staged w = I::template stage<kind>(codes.unit[u][0]);
          I::store(w, line + u);
          with(w);
        } else {
          with(line[u]);
        }
      });
    });
    if constexpr (First) at.w += Lines * line_bytes;
    at.stage += Lines * staged_line;
    at.x += Lines * line_units * unit_bytes;
    __asm__("" : "+r"(at.w), "+r"(at.stage), "+r"(at.x));
    static_cast<void>(all);
  }

  /// Sums of a part over `lines` lines, and over those before unless `fresh`: `before` has the sums up to there, and is
  /// where all bursts but the last leave theirs.
  template <bool First>
  QLITE_INLINE static void add(ints (&sum)[part_rows], position at, const strips& all, std::size_t lines, bool fresh,
                               ints* before) noexcept {
    at.stage += middle;
    if constexpr (burst_units == 1) {
      each_row([&](auto m) QLITE_LAMBDA { sum[m] = I::start(0, 0); });
      if (!fresh) each_row([&](auto m) QLITE_LAMBDA { sum[m] = I::add_ints(before[m], sum[m]); });
      for (; lines >= hop; lines -= hop) multiply<First, hop, false>(at, sum, all);
      for (; lines != 0; --lines) multiply<First, 1, false>(at, sum, all);
    } else {
      constexpr std::size_t burst = burst_units / line_units;
      for (;;) {
        if (QLITE_LIKELY(lines >= burst)) {
          partial part[part_rows];
          each_row([&](auto m) QLITE_LAMBDA { part[m] = I::start_partial(); });
          multiply<First, hop, true>(at, part, all);
          repeat<burst / hop - 1>([&](auto) QLITE_LAMBDA { multiply<First, hop, false>(at, part, all); });
          lines -= burst;
          each_row([&](auto m) QLITE_LAMBDA { sum[m] = I::widened(part[m]); });
        } else {
          each_row([&](auto m) QLITE_LAMBDA { sum[m] = I::start(0, 0); });
          for (; lines != 0; --lines) multiply<First, 1, false>(at, sum, all);
        }
        if (!fresh) each_row([&](auto m) QLITE_LAMBDA { sum[m] = I::add_ints(before[m], sum[m]); });
        if (lines == 0) break;
        each_row([&](auto m) QLITE_LAMBDA { I::store(sum[m], before + m); });
        fresh = false;
      }
    }
  }

  QLITE_INLINE static floats to_floats(ints sum, std::size_t m, const std::byte* zeros, const std::byte* x) noexcept {
    static_cast<void>(m), static_cast<void>(zeros), static_cast<void>(x);
    if constexpr (Format::zeros)
      return I::template to_floats<kind>(sum, 0, zeros, tile::sum_at(x, m));
    else if constexpr (zero != 0)
      return I::to_floats(sum, 0, zero, tile::sum_at(x, m));
    else
      return I::to_floats(sum);
  }

  static void apply(const integer_tile_args& args) {
    const strip_shape& shape = *args.shape;
    const strips all(args.weights, shape.strip_bytes, args.prefetch);
    const std::byte* x = args.x;
    float* const out = args.out;
    const std::size_t rows = args.next_panel == 0 ? Rows : 2 * Rows;
    for (std::size_t m = 0; m < rows; ++m) floats::splat(0.0f).store(out + m * strip_rows);
    scratch memory;

    constexpr std::size_t fold_lines = fold_length / line_k;
    const std::byte* w = args.weights;
    for (std::size_t g = 0; g < shape.groups;) {
      const std::byte* header = w;
      const std::byte* zeros = header + shape.zeros_at;
      const std::byte* offsets = header + shape.offsets_at;
      for (std::size_t i = 0; i < shape.header_bytes; i += cache_line) tile::prefetch(all, w + i);
      w += shape.header_bytes;
      for (const std::size_t end = min_of(shape.groups, g + shape.block); g < end; ++g) {
        const floats sw = floats::load(reinterpret_cast<const scale*>(header));
        for (std::size_t left = shape.lines(g); left != 0;) {
          const std::size_t lines = min_of(left, fold_lines);
          const std::byte* codes = x + Rows * run_bytes(0);
          for (std::size_t done = 0, some; done < lines; done += some) {
            some = min_of(lines - done, stage_lines);
            // Rows from m on, of the panel that begins with row 0 or Rows of this tile.
            const auto part_of_rows = [&](auto first, std::size_t begin, std::size_t m) QLITE_LAMBDA {
              const std::size_t panel = begin == 0 ? 0 : args.next_panel;
              ints sum[part_rows];
              add<first == 1>(sum, {w, reinterpret_cast<std::byte*>(memory.line), codes + panel + m * I::k_unit}, all,
                              some, done == 0, memory.sums + begin + m);
              if (done + some != lines)
                each_row([&](auto r) QLITE_LAMBDA { I::store(sum[r], memory.sums + begin + m + r); });
              else
                each_row([&](auto r) QLITE_LAMBDA {
                  float* const y = out + (begin + m + r) * strip_rows;
                  tile::added(floats::load(static_cast<const float*>(y)), to_floats(sum[r], m + r, zeros, x + panel),
                              m + r, sw, offsets, x + panel)
                      .store(y);
                });
            };
            part_of_rows(constant<1>{}, 0, 0);
            for (std::size_t m = part_rows; m < rows; m += part_rows)
              part_of_rows(constant<0>{}, m < Rows ? 0 : Rows, m < Rows ? m : m - Rows);
            w += some * line_bytes;
            codes += some * tile::line_x;
          }
          left -= lines;
          x += Rows * run_bytes(lines * line_k);
        }
        header += strip_rows * sizeof(scale);
        zeros += strip_rows;
        offsets += strip_rows * size_of_offset<offset>;
      }
    }
    if constexpr (Scales != scale_kind::groups)
      for (std::size_t m = 0; m < rows; ++m) {
        float* const y = out + m * strip_rows;
        const float sx = m < Rows ? tile::scale_at(args.x, m) : tile::scale_at(args.x + args.next_panel, m - Rows);
        fma(floats::load(static_cast<const float*>(y)), floats::splat(sx), floats::splat(0.0f)).store(y);
      }
  }
};

template <class I, class Format, scale_kind Scales, std::size_t Rows>
QLITE_INLINE constexpr integer_tile_function integer_tile_of() noexcept {
  if constexpr (Rows > rows_at_a_time<I>)
    return &staged_tile<I, Format, Scales, Rows>::apply;
  else
    return &integer_tile<I, Format, Scales, Rows, 1>::apply;
}

}    // namespace impl
QLITE_END_FUNCTIONS
