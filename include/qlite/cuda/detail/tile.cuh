// The product of a warp: some row tiles of W by some token tiles of X, tile after tile along K.
//
// Scales never touch the codes: a group's products are summed as integers times activations, exactly as far as the
// instruction is exact, and the sum is scaled in float32. Where a group is a multiple of 64 k that happens once a tile,
// else once for each run of 32 k and group that meet (lanes whose k are of another group then hold zeros).
#pragma once

#include <qlite/cuda/detail/decode.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// How scales meet sums.
enum class span_kind : std::uint8_t {
  whole,    ///< one group: sums are scaled at the end, of integers (up to 65,536 k) as integers
  tile,     ///< once a tile: groups of a multiple of 64, or one group with offsets
  half,     ///< once half a tile: groups of a multiple of 32, known at compile time
  run       ///< runs of 32 k, which several groups may share
};
/// How often in a tile.
template <span_kind Span>
inline constexpr unsigned spans_of_tile = Span == span_kind::half || Span == span_kind::run ? 2 : 1;

/// The numbers of a tile of 16 rows, for each span of it: the scales of the group of its first k, and the zero points
/// of the group of the lane's own k.
template <span_kind Span>
struct tile_numbers {
  static constexpr unsigned spans = spans_of_tile<Span>;
  number_pair scale[spans];
  std::uint32_t zeros[spans];
};

/// Where a lane finds the numbers of its rows. Plain: float16 scales and no zero points, the most frequent kind.
template <span_kind Span, bool Plain, int RowTiles>
struct number_source {
  const std::byte* scales[RowTiles];
  const std::byte* zeros[RowTiles];
  std::uint32_t scale_step, zero_step;    // bytes from one group to the next

  QLITE_DEVICE number_source(const weights& w, std::uint32_t row_tile, std::uint32_t lane) {
    scale_step = !Plain && w.wide_scales ? 64 : 32;
    zero_step = 16;
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
      const std::size_t pair = w.pair(min(row_tile + r, w.row_tiles - 1), 0, lane / 4);
      scales[r] = w.scales + pair * (scale_step / 8);
      zeros[r] = reinterpret_cast<const std::byte*>(w.zeros) + 2 * pair;
    }
  }

  QLITE_DEVICE void load(const weights& w, std::uint32_t col_tile, std::uint32_t lane,
                         tile_numbers<Span> (&to)[RowTiles]) const {
    if (w.groups == 0 || (Plain && Span == span_kind::whole)) return;
#pragma unroll
    for (unsigned h = 0; h < tile_numbers<Span>::spans; ++h) {
      std::uint32_t group = w.group_of(col_tile * 64 + 32 * h);
      if (Span == span_kind::half) group = min(group, w.groups - 1);    // beyond K there may be none
      std::uint32_t own = group;
      if (Span == span_kind::run) {
        group = min(group, w.groups - 1);
        own = min(w.group_of(col_tile * 64 + 32 * h + 8 * (lane % 4)), w.groups - 1);
      }
#pragma unroll
      for (int r = 0; r < RowTiles; ++r) {
        to[r].scale[h] = load_pair(scales[r] + std::size_t{group} * scale_step, 0, !Plain && w.wide_scales);
        if (Plain) continue;
        to[r].zeros[h] = w.bias * 0x0101u;    // what stands for zero points where there are none
        if (w.zeros != nullptr)
          to[r].zeros[h] = __ldg(reinterpret_cast<const unsigned short*>(zeros[r] + std::size_t{own} * zero_step));
      }
    }
  }
};

/// Sums of RowTiles x 16 rows by TokenTiles x 8 tokens in the registers of a warp. Sums: the sum of the activations is
/// needed too, for offsets or, of integers, for zero points.
template <class Math, int Bits, bool Sums, span_kind Span, bool Plain, int RowTiles, int TokenTiles>
struct warp_product {
  static constexpr int steps = Math::steps, half_steps = steps / 2;
  static constexpr int planes = Bits / 4;
  static constexpr int half_words = 2 * half_steps;
  /// Token tiles multiplied by turns: a product that waits for another is that many instructions, times RowTiles,
  /// behind it. The tensor core's latency is that of about five.
  static constexpr int ahead = TokenTiles % 4 == 0 && TokenTiles >= 8 ? 4
                               : TokenTiles % 2 == 0 && RowTiles <= 2 ? 2
                                                                      : 1;
  using sum = typename Math::sum;

  float acc[RowTiles][TokenTiles][4];    // of kind `whole`: bits of integers
  std::int32_t totals[TokenTiles][2];    // of kind `whole`, with Sums: sums of activations
  typename Math::zeros no_zeros;         // what stands for zero points where there are none

  QLITE_DEVICE explicit warp_product(const weights& w) : no_zeros(Math::template make_zeros<Bits>(w.bias * 0x0101u)) {
#pragma unroll
    for (int n = 0; n < TokenTiles; ++n) {
      totals[n][0] = totals[n][1] = 0;
#pragma unroll
      for (int r = 0; r < RowTiles; ++r)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[r][n][i] = 0.0f;
    }
  }

  /// Adds one tile of 64 k. `load(n, h, b)` gives the words of token tile n for half h of the tile, two for each step.
  template <class Load>
  QLITE_DEVICE void add_tile(const weights& w, const inputs& x, const uint4 (&raw)[RowTiles][planes],
                             const tile_numbers<Span> (&numbers)[RowTiles], std::uint32_t row_tile,
                             std::uint32_t col_tile, std::uint32_t token, std::uint32_t lane, Load&& load) {
    add_rows<0>(w, x, raw, numbers, row_tile, col_tile, token, lane, load);
  }

  /// Takes the zero points out of integer sums; once, after the last tile.
  QLITE_DEVICE void end_whole(const weights& w, std::uint32_t row_tile, std::uint32_t lane) {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
      typename integer_math::zeros z{{0, 0}};
      if (Sums && row_tile + r < w.row_tiles && w.groups != 0)
        z = integer_math::make_zeros<Bits>(load_zeros(w, w.pair(row_tile + r, 0, lane / 4)));
#pragma unroll
      for (int n = 0; n < TokenTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          std::int32_t s = integer_math::unscaled<Bits>(__float_as_int(acc[r][n][i]));
          if (Sums) s -= z.c[i / 2] * totals[n][i % 2];
          acc[r][n][i] = __int_as_float(s);
        }
    }
  }

 private:
  /// Row tiles that are decoded before they are multiplied. One after the other takes fewer registers, and with few
  /// tokens, where other warps fill the gaps, no more time.
  static constexpr int together = Sums || TokenTiles > 2 ? RowTiles : 1;
  using fragments = std::uint32_t[together][2][half_steps][4];

  /// add_tile, for row tiles R and on.
  template <int R, class Load>
  QLITE_DEVICE void add_rows(const weights& w, const inputs& x, const uint4 (&raw)[RowTiles][planes],
                             const tile_numbers<Span> (&numbers)[RowTiles], std::uint32_t row_tile,
                             std::uint32_t col_tile, std::uint32_t token, std::uint32_t lane, Load&& load) {
    fragments a;
#pragma unroll
    for (int r = 0; r < together; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        typename Math::zeros z = no_zeros;
        if (!Plain) z = Math::template make_zeros<Bits>(numbers[R + r].zeros[spans_of_tile<Span> == 2 ? h : 0]);
        Math::decode(raw[R + r], h, z, a[r][h]);
      }
    const std::uint32_t k = col_tile * static_cast<std::uint32_t>(tile_cols);
    if constexpr (Span == span_kind::run) {
      add_run<0, R>(w, x, a, numbers, k, row_tile, token, lane, load);
      add_run<1, R>(w, x, a, numbers, k + 32, row_tile, token, lane, load);
    } else if constexpr (Span == span_kind::half) {
      add_half<0, R>(w, x, a, numbers, k, row_tile, token, lane, load);
      add_half<1, R>(w, x, a, numbers, k + 32, row_tile, token, lane, load);
    } else if constexpr (Span == span_kind::whole) {
      add_whole<R>(a, load);
    } else {
      float2 scale[together];
#pragma unroll
      for (int r = 0; r < together; ++r) scale[r] = numbers[R + r].scale[0].floats(!Plain && w.wide_scales);
      add_span<0, 2, R>(w, x, a, scale, w.group_of(k), row_tile, token, lane, true, load);
    }
    if constexpr (R + together < RowTiles)
      add_rows<R + together>(w, x, raw, numbers, row_tile, col_tile, token, lane, load);
  }

  template <int R, class Load>
  QLITE_DEVICE void add_whole(const fragments& a, Load&& load) {
#pragma unroll
    for (int n0 = 0; n0 < TokenTiles; n0 += ahead) {
      sum d[ahead][together][4];
      std::int32_t total[ahead][4];
#pragma unroll
      for (int n = 0; n < ahead; ++n) {
        total[n][0] = totals[n0 + n][0];
        total[n][1] = totals[n0 + n][1];
        total[n][2] = total[n][3] = 0;
#pragma unroll
        for (int r = 0; r < together; ++r)
#pragma unroll
          for (int i = 0; i < 4; ++i) d[n][r][i] = from_register(acc[R + r][n0 + n][i], sum{});
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        std::uint32_t b[ahead][half_words];
#pragma unroll
        for (int n = 0; n < ahead; ++n) load(n0 + n, h, b[n]);
#pragma unroll
        for (int e = 0; e < half_steps; ++e)
#pragma unroll
          for (int n = 0; n < ahead; ++n) {
#pragma unroll
            for (int r = 0; r < together; ++r) add_step(d[n][r], a[r][h][e], b[n][2 * e], b[n][2 * e + 1], false);
            if constexpr (Sums && Math::is_integer) {
              const std::uint32_t one[4] = {Math::ones, Math::ones, Math::ones, Math::ones};
              add_step(total[n], one, b[n][0], b[n][1], false);
            }
          }
      }
#pragma unroll
      for (int n = 0; n < ahead; ++n) {
        totals[n0 + n][0] = total[n][0];
        totals[n0 + n][1] = total[n][1];
#pragma unroll
        for (int r = 0; r < together; ++r)
#pragma unroll
          for (int i = 0; i < 4; ++i) acc[R + r][n0 + n][i] = to_register(d[n][r][i]);
      }
    }
  }

  /// 32 k from k on, of one group. Beyond K they are zeros.
  template <int H, int R, class Load>
  QLITE_DEVICE void add_half(const weights& w, const inputs& x, const fragments& a,
                             const tile_numbers<Span> (&numbers)[RowTiles], std::uint32_t k, std::uint32_t row_tile,
                             std::uint32_t token, std::uint32_t lane, Load&& load) {
    float2 scale[together];
#pragma unroll
    for (int r = 0; r < together; ++r) scale[r] = numbers[R + r].scale[H].floats(!Plain && w.wide_scales);
    add_span<H, H + 1, R>(w, x, a, scale, min(w.group_of(k), w.groups - 1), row_tile, token, lane, true, load);
  }

  /// 32 k from k on: one pass for each group that they meet.
  template <int H, int R, class Load>
  QLITE_DEVICE void add_run(const weights& w, const inputs& x, const fragments& a,
                            const tile_numbers<Span> (&numbers)[RowTiles], std::uint32_t k, std::uint32_t row_tile,
                            std::uint32_t token, std::uint32_t lane, Load&& load) {
    if (k >= w.cols) return;
    const std::uint32_t first = w.group_of(k);
    if (w.group % 32 == 0) {    // one group has them all
      float2 scale[together];
#pragma unroll
      for (int r = 0; r < together; ++r) scale[r] = numbers[R + r].scale[H].floats(!Plain && w.wide_scales);
      add_span<H, H + 1, R>(w, x, a, scale, first, row_tile, token, lane, true, load);
      return;
    }
    const std::uint32_t last = w.group_of(min(k + 31, w.cols - 1));
    const std::uint32_t own = w.group_of(k + 8 * (lane % 4));
    for (std::uint32_t group = first; group <= last; ++group) {
      float2 scale[together];
#pragma unroll
      for (int r = 0; r < together; ++r) {
        const number_pair n =
            group == first || row_tile + R + r >= w.row_tiles
                ? numbers[R + r].scale[H]
                : load_pair(w.scales, w.pair(row_tile + R + r, group, lane / 4), !Plain && w.wide_scales);
        scale[r] = n.floats(!Plain && w.wide_scales);
      }
      add_span<H, H + 1, R>(w, x, a, scale, group, row_tile, token, lane, own == group, load);
    }
  }

  /// The steps of halves H0 ... H1 - 1, which are of one group; `mine`: so are this lane's activations.
  template <int H0, int H1, int R, class Load>
  QLITE_DEVICE void add_span(const weights& w, const inputs& x, const fragments& a, const float2 (&scale)[together],
                             std::uint32_t group, std::uint32_t row_tile, std::uint32_t token, std::uint32_t lane,
                             bool mine, Load&& load) {
    const bool group_scales = Math::is_integer && x.scale_groups > 1;
#pragma unroll
    for (int n0 = 0; n0 < TokenTiles; n0 += ahead) {
      sum d[ahead][together][4], total[ahead][4];
#pragma unroll
      for (int h = H0; h < H1; ++h) {
        std::uint32_t b[ahead][half_words];
#pragma unroll
        for (int n = 0; n < ahead; ++n) {
          load(n0 + n, h, b[n]);
          if (H1 - H0 == 1 && !mine) {
#pragma unroll
            for (int i = 0; i < half_words; ++i) b[n][i] = 0;
          }
        }
#pragma unroll
        for (int e = 0; e < half_steps; ++e)
#pragma unroll
          for (int n = 0; n < ahead; ++n) {
            const bool first = h == H0 && e == 0;
#pragma unroll
            for (int r = 0; r < together; ++r) add_step(d[n][r], a[r][h][e], b[n][2 * e], b[n][2 * e + 1], first);
            if (Sums) {
              const std::uint32_t one[4] = {Math::ones, Math::ones, Math::ones, Math::ones};
              add_step(total[n], one, b[n][2 * e], b[n][2 * e + 1], first);
            }
          }
      }
#pragma unroll
      for (int n = 0; n < ahead; ++n) {
        float factor[2] = {1.0f, 1.0f};    // scales of the two tokens of this lane
        if (group_scales) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const std::uint32_t m = token + 8 * (n0 + n) + 2 * (lane % 4) + i;
            if (m < x.rows) factor[i] = __ldg(x.scales + std::size_t{m} * x.scale_groups + group);
          }
        }
#pragma unroll
        for (int r = 0; r < together; ++r)
          add_scaled(w, d[n][r], total[n], scale[r], factor, row_tile + R + r, group, lane, acc[R + r][n0 + n]);
      }
    }
  }

  QLITE_DEVICE static float from_register(float x, float) { return x; }
  QLITE_DEVICE static std::int32_t from_register(float x, std::int32_t) { return __float_as_int(x); }
  QLITE_DEVICE static float to_register(float x) { return x; }
  QLITE_DEVICE static float to_register(std::int32_t x) { return __int_as_float(x); }

  /// d += a b, or d = a b where it is the first.
  QLITE_DEVICE static void add_step(sum (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                                    bool first) {
    const sum zero[4] = {};
    if (first)
      mma(d, a, b0, b1, zero, typename Math::element{});
    else
      mma(d, a, b0, b1, d, typename Math::element{});
  }

  /// acc += scale (d - zero total) + offset total: the products d of a span, its sums of activations `total`.
  QLITE_DEVICE static void add_scaled(const weights& w, const sum (&d)[4], const sum (&total)[4], float2 scale,
                                      const float (&factor)[2], std::uint32_t row_tile, std::uint32_t group,
                                      std::uint32_t lane, float (&to)[4]) {
    sum dot[4];
    const bool inside = row_tile < w.row_tiles;
    if constexpr (Math::is_integer) {
      typename Math::zeros z{{0, 0}};
      if (Sums && w.offsets == nullptr && inside)
        z = Math::template make_zeros<Bits>(load_zeros(w, w.pair(row_tile, group, lane / 4)));
      if (Sums && w.offsets != nullptr && Bits == 4) z.c[0] = z.c[1] = -8;    // those codes count from 0
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        dot[i] = Math::template unscaled<Bits>(d[i]);
        if (Sums) dot[i] -= z.c[i / 2] * total[i % 2];
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) dot[i] = d[i];
    }
    float2 offset = make_float2(0.0f, 0.0f);
    if (Sums && w.offsets != nullptr && inside)
      offset = load_pair(w.offsets, w.pair(row_tile, group, lane / 4), w.wide_offsets).floats(w.wide_offsets);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float s = i < 2 ? scale.x : scale.y;
      if (Math::is_integer) s = __fmul_rn(s, factor[i % 2]);
      to[i] = __fmaf_rn(static_cast<float>(dot[i]), s, to[i]);
      if (Sums) {
        float o = i < 2 ? offset.x : offset.y;
        if (Math::is_integer) o = __fmul_rn(o, factor[i % 2]);
        to[i] = __fmaf_rn(o, static_cast<float>(total[i % 2]), to[i]);
      }
    }
  }
};

/// Writes the sums of a warp into shared memory: [token][row], rows `stride` apart. stride % 32 is 4 or 20, so that a
/// warp's stores meet all banks. `sum(r, n, i)` is number i of the accumulator of row tile r and token tile n.
template <int RowTiles, int TokenTiles, class Sum>
QLITE_DEVICE void spill(Sum&& sum, float* part, std::uint32_t stride, std::uint32_t row, std::uint32_t lane) {
  const std::uint32_t g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < TokenTiles; ++n)
#pragma unroll
    for (int r = 0; r < RowTiles; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        part[(8 * n + 2 * t + i % 2) * stride + row + 16 * r + g + 8 * (i / 2)] = sum(r, n, i);
}

/// Adds the partial results of a block in order, applies what comes last (scales of tokens, the scale of an integer
/// sum, the epilogue) and writes tokens [token_begin, token_end) of the block. `part(i)` is where partial result i
/// lies, [tokens][rows + 4]. The work of thread `thread` of `threads`.
template <span_kind Span, bool Integer, class Out, class Part>
QLITE_DEVICE void finish(Part&& part, std::uint32_t parts, std::uint32_t rows, std::uint32_t token_begin,
                         std::uint32_t token_end, std::uint32_t row0, std::uint32_t token0, const weights& w,
                         const inputs& x, const Out& out, std::uint32_t thread, std::uint32_t threads) {
  const std::uint32_t stride = rows + 4, quads = rows / 4;
  for (std::uint32_t i = thread; i < quads * (token_end - token_begin); i += threads) {
    const std::uint32_t token = token_begin + i / quads, row = i % quads * 4;
    if (token0 + token >= out.rows || row0 + row >= out.columns) continue;
    float y[4] = {};
    if (Integer && Span == span_kind::whole) {
      ::int4 s = make_int4(0, 0, 0, 0);
#pragma unroll 4
      for (std::uint32_t p = 0; p < parts; ++p) {
        const ::int4 v = *reinterpret_cast<const ::int4*>(part(p) + token * stride + row);
        s.x += v.x, s.y += v.y, s.z += v.z, s.w += v.w;
      }
      y[0] = static_cast<float>(s.x), y[1] = static_cast<float>(s.y);
      y[2] = static_cast<float>(s.z), y[3] = static_cast<float>(s.w);
    } else {
#pragma unroll 4
      for (std::uint32_t p = 0; p < parts; ++p) {
        const float4 v = *reinterpret_cast<const float4*>(part(p) + token * stride + row);
        y[0] += v.x, y[1] += v.y, y[2] += v.z, y[3] += v.w;
      }
    }
    if (Span == span_kind::whole) {
      for (std::uint32_t j = 0; w.groups != 0 && j < 4; ++j) {
        const std::size_t n = tile_number(row0 + row + j, 0, 1);
        const float scale = w.wide_scales ? __ldg(reinterpret_cast<const float*>(w.scales) + n)
                                          : __half2float(__ldg(reinterpret_cast<const __half*>(w.scales) + n));
        y[j] = __fmaf_rn(y[j], scale, 0.0f);
      }
    }
    if (Integer) {
      // Sums are finite; a row of X that was not has a NaN for its scale.
      const float s = x.scale_groups == 1 ? x.scales[token0 + token] : 1.0f;
#pragma unroll
      for (int j = 0; j < 4; ++j) y[j] = __fmaf_rn(y[j], s, 0.0f);
    }
    out.store(y, token0 + token, row0 + row);
  }
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
