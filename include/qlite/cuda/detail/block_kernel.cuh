// Products with many tokens where there is no wgmma: 16-bit X, weights without zero points and offsets.
//
// A block computes 256 rows of W for 128 tokens at a time, with 8 warps of 64 rows by 64 tokens each: the cut for which
// the fragments of X (read by four warps) and the codes (read, and decoded, by two) together take the least bandwidth
// of shared memory. A stage holds 64 k of X and of the codes; stages are filled by cp.async, in a ring.
//
//   stage    X   [128 tokens] 8 chunks of 16 bytes, chunk c of token m at c ^ 4 (m & 1)
//            W   [16 row tiles] tiles
//
// A warp multiplies without a pause. Products go in quarters of 16 mma.sync, one step of 16 k with one half of the
// warp's tokens, none of which waits for another of the same quarter. Meanwhile the fragments of X for the other half
// are loaded and the codes of the next step decoded. The barrier, behind which the stage at hand is free and the next
// one complete, comes after the last read of its stage, with two quarters still to go.
//
//   products of       meanwhile (lo, hi: tokens 0 to 31 and 32 to 63 of the warp)
//   step 0, lo        decode step 1; X of steps 0 and 1, hi; at the start of a group sums * ratio
//   step 1, lo
//   step 0, hi        X of steps 2 and 3, lo
//   step 1, hi        decode step 2
//   step 2, lo        decode step 3; X of steps 2 and 3, hi
//   step 3, lo        barrier; codes of the next tile; fill the stage
//   step 2, hi        X of the next tile's steps 0 and 1, lo; fill
//   step 3, hi        decode the next tile's step 0
//
// The tensor core adds to sums in units of the scale of the group at hand. Where a group ends, they are multiplied in
// float32 by its scale over the next one's (as in hopper_kernel.cuh), between products of the next step.
//
// Blocks are persistent and take every so many pieces of work, so that the ring is full of the next one's stages while
// sums are written; what is left for a last round that would leave half of the device idle is cut in two along the
// tokens.
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

inline constexpr std::uint32_t block_row_tiles = 16, block_tokens = 128, block_threads = 256;
/// Blocks are ordered in strips of that many token blocks, so that what is multiplied at one time fits into the L2.
inline constexpr std::uint32_t block_strip = 8;
template <int Bits>
inline constexpr std::uint32_t block_stages = Bits == 4 ? 4 : 3;
template <int Bits>
inline constexpr std::uint32_t block_stage_bytes = block_tokens * 128 + block_row_tiles * 128 * Bits;
template <int Bits>
inline constexpr std::uint32_t block_ring_bytes = block_stages<Bits>* block_stage_bytes<Bits>;
/// What the warps write their sums through: 16 tokens of 64 rows each.
inline constexpr std::uint32_t block_sum_bytes = block_threads / 32 * 16 * (64 + 4) * sizeof(float);

/// How a launch is cut.
struct block_cut {
  std::uint32_t row_blocks, token_blocks;
  std::uint32_t wide;       // pieces of whole token blocks; what is left of row_blocks * token_blocks is cut in halves
  std::uint32_t pieces;     // with those halves
  std::uint32_t sums_at;    // in shared memory: behind the ring; 0 where there is no room, then a block has one piece
};

/// x, in a way that the compiler does not see through: of what follows from x it would rather keep all in registers
/// from one round of a loop to the next than compute it anew.
QLITE_DEVICE std::uint32_t anew(std::uint32_t x) {
  asm volatile("" : "+r"(x));
  return x;
}

/// The scales of a warp's rows, from group to group.
template <int RowTiles>
struct unit_cursor {
  std::uint32_t now[RowTiles];      // the unit of the sums: float16 of rows g and g + 8
  std::uint32_t ahead[RowTiles];    // the next one
  float ratio[RowTiles][2];         // the last unit over this one
  std::uint32_t zeros;              // bit 2 r + i: row g + 8 i of row tile r has a scale of 0; bit 31: one of any lane
  std::uint32_t row_tile, next;     // where to load, and which group

  /// Loads the scales of the first group, for rows from a row tile on; the unit at hand stays what it is until `begin`.
  QLITE_DEVICE void start(const weights& w, std::uint32_t first_tile) {
    row_tile = first_tile;
    next = 0;
    load(w);
  }
  QLITE_DEVICE void begin(const weights& w) {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) now[r] = 0x3c003c00u;    // 1
    look_ahead();
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) now[r] = ahead[r];
    load(w);
  }
  /// Before codes of the next group are decoded. A scale of 0 leaves the unit as it is: the codes become 0 instead.
  QLITE_DEVICE void look_ahead() {
    __half2 smallest = __habs2(halves(ahead[0]));
#pragma unroll
    for (int r = 1; r < RowTiles; ++r) smallest = __hmin2(smallest, __habs2(halves(ahead[r])));
    const float2 least = __half22float2(smallest);
    zeros = 0;
    if (!__any_sync(0xffffffffu, least.x == 0.0f || least.y == 0.0f)) return;
    zeros = 1u << 31;
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
      const bool none[2] = {(ahead[r] & 0x7fffu) == 0, (ahead[r] & 0x7fff0000u) == 0};
      zeros |= ((none[0] ? 1u : 0u) | (none[1] ? 2u : 0u)) << (2 * r);
      const std::uint32_t kept = (none[0] ? 0xffffu : 0u) | (none[1] ? 0xffff0000u : 0u);
      ahead[r] = (now[r] & kept) | (ahead[r] & ~kept);
    }
  }
  /// Before products of the next group; `load` follows.
  QLITE_DEVICE void enter() {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
      const float2 last = __half22float2(halves(now[r])), unit = __half22float2(halves(ahead[r]));
      ratio[r][0] = __fmul_rn(last.x, reciprocal(unit.x));
      ratio[r][1] = __fmul_rn(last.y, reciprocal(unit.y));
      now[r] = ahead[r];
    }
  }
  QLITE_DEVICE void load(const weights& w) {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
      const std::size_t pair = w.pair(min(anew(row_tile) + r, w.row_tiles - 1), next, threadIdx.x % 32 / 4);
      ahead[r] = load_pair(w.scales, pair, false).bits.x;
    }
    next = min(next + 1, w.groups - 1);
  }
  QLITE_DEVICE float unit(int r, int i) const {
    const float2 u = __half22float2(halves(now[r]));
    return i == 0 ? u.x : u.y;
  }

 private:
  QLITE_DEVICE static __half2 halves(const std::uint32_t& pair) { return *reinterpret_cast<const __half2*>(&pair); }
};

/// Span: `whole` or `tile`.
template <class Math, int Bits, span_kind Span, class Out>
__global__ void __launch_bounds__(block_threads, 1) block_kernel(weights w, inputs x, Out out, block_cut cut) {
#if __CUDA_ARCH__ >= 800
  extern __shared__ float4 shared_memory[];
  constexpr int row_tiles = 4, most_tiles = 8, planes = Bits / 4;    // of a warp: tiles of rows, of tokens
  constexpr std::uint32_t tile_size = 512 * planes, ring = block_stages<Bits>, stage_bytes = block_stage_bytes<Bits>;
  constexpr std::uint32_t x_bytes = block_tokens * 128;
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_n = warp % 4, warp_m = warp / 4;
  struct place {
    std::uint32_t row_tile, token;
  };
  const auto place_of = [&](std::uint32_t piece) -> place {
    const std::uint32_t half = piece < cut.wide ? 0 : piece - cut.wide, all = cut.row_blocks * cut.token_blocks;
    const std::uint32_t at = min(piece < cut.wide ? piece : cut.wide + half / 2, all - 1);
    const std::uint32_t whole = block_strip * cut.row_blocks, strip = at / whole, i = at - strip * whole;
    const std::uint32_t width = min(block_strip, cut.token_blocks - strip * block_strip);
    return {i / width * block_row_tiles,
            (strip * block_strip + i % width) * block_tokens + half % 2 * (block_tokens / 2)};
  };
  const std::uint32_t stages = w.col_tiles;
  auto* const memory = reinterpret_cast<std::byte*>(shared_memory);

  // Thread i copies chunk i % 8 of some rows of X. Rows of W and of X beyond the last stand for the last: their results
  // are not stored. What lies beyond K is zero in X.
  const std::uint32_t chunk = threadIdx.x % 8, copied_row = threadIdx.x / 8;
  const std::uint32_t x_place = copied_row * 128 + 16 * (chunk ^ ((copied_row & 1) << 2));
  constexpr int x_copies = block_tokens / 32, code_copies = block_row_tiles / 8;
  // The stage to fill: of this piece, or of the next one already.
  std::uint32_t filled_piece = blockIdx.x, filled_stage = 0;
  place filled = place_of(filled_piece);
  const auto fill_x = [&](std::uint32_t slot, int i) {
    const bool wide = filled_piece < cut.wide || i < x_copies / 2;
    const bool present = wide && filled_piece < cut.pieces && filled_stage * 64 + 8 * chunk < x.cols;
    const std::byte* const from = x.data + (present ? filled_stage * 128 + 16 * chunk : 0);
    copy_async(memory + slot * stage_bytes + x_place + i * 32 * 128,
               from + min(anew(filled.token + copied_row) + 32 * i, x.rows - 1) * x.row_bytes, present);
  };
  const auto fill_codes = [&](std::uint32_t slot, int i) {
    std::byte* const to = memory + slot * stage_bytes + x_bytes + (warp + 8 * i) * tile_size + 16 * lane;
    const std::size_t row = min(anew(filled.row_tile + warp) + 8 * i, w.row_tiles - 1);
    const std::byte* const from = w.codes + (row * w.col_tiles + filled_stage) * tile_size + 16 * lane;
#pragma unroll
    for (int p = 0; p < planes; ++p) copy_async(to + 512 * p, from + 512 * p, filled_piece < cut.pieces);
  };
  const auto end_fill = [&]() {
    if (++filled_stage != stages) return;
    filled_stage = 0;
    filled_piece += gridDim.x;
    filled = place_of(filled_piece);
  };
#pragma unroll 1
  for (std::uint32_t s = 0; s < ring; ++s) {
#pragma unroll
    for (int i = 0; i < x_copies; ++i) fill_x(s, i);
#pragma unroll
    for (int i = 0; i < code_copies; ++i) fill_codes(s, i);
    commit_copies();
    end_fill();
  }

  float acc[row_tiles][most_tiles][4];
  std::uint32_t a[2][row_tiles][4];    // fragments of W: of the step at hand and of the next one
  std::uint32_t b[most_tiles][4];      // of X: of half a tile
  uint4 raw[row_tiles][planes];
  const typename Math::zeros zeros = Math::template make_zeros<Bits>(Bits == 4 ? 0x0808u : 0u);
  const std::uint32_t codes_at = x_bytes + warp_n * row_tiles * tile_size + 16 * lane;
  const auto load_codes = [&](const std::byte* stage, int r) {
#pragma unroll
    for (int p = 0; p < planes; ++p)
      raw[r][p] = *reinterpret_cast<const uint4*>(stage + codes_at + r * tile_size + 512 * p);
  };
  const auto decode = [&](int step, int r) {
    std::uint32_t half[2][4];
    Math::decode(raw[r], step / 2, zeros, half);
#pragma unroll
    for (int i = 0; i < 4; ++i) a[step % 2][r][i] = half[step % 2][i];
  };

  unit_cursor<row_tiles> units{};
  // Codes of rows whose scale is 0.
  const auto mask_codes = [&]() {
    if (Span != span_kind::tile || units.zeros == 0) return;
    const auto kept = [](std::uint32_t word, std::uint32_t rows, int p) {
      if (Bits == 8) return (rows >> p & 1u) != 0 ? 0u : word;
      word = (rows & 1u) != 0 ? and_or(word, 0xf0f0f0f0u, 0x08080808u) : word;
      return (rows & 2u) != 0 ? and_or(word, 0x0f0f0f0fu, 0x80808080u) : word;
    };
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
      const std::uint32_t rows = units.zeros >> (2 * r);
#pragma unroll
      for (int p = 0; p < planes; ++p) {
        raw[r][p].x = kept(raw[r][p].x, rows, p);
        raw[r][p].y = kept(raw[r][p].y, rows, p);
        raw[r][p].z = kept(raw[r][p].z, rows, p);
        raw[r][p].w = kept(raw[r][p].w, rows, p);
      }
    }
  };

  const auto scale = [&](int n) {
#pragma unroll
    for (int r = 0; r < row_tiles; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[r][n][i] = __fmul_rn(acc[r][n][i], units.ratio[r][i / 2]);
  };

  const std::uint32_t group_tiles = w.groups == 1 ? 0x7fffffffu : w.group / 64;
  std::uint32_t slot = 0, piece = blockIdx.x;
  place here = place_of(piece);
  // A piece with `tiles` token tiles to a warp.
  const auto work = [&](auto tiles) {
    constexpr int token_tiles = decltype(tiles)::value, at_once = token_tiles / 2;
    const std::uint32_t x_at = (8 * warp_m * token_tiles + lane / 4) * 128 + 16 * (lane % 4 + (lane / 4 & 1) * 4);
    const auto load_x = [&](const std::byte* stage, int h, int n) {
      const uint4 v = *reinterpret_cast<const uint4*>(stage + (x_at ^ (64 * h)) + 8 * n * 128);
      b[n][0] = v.x;
      b[n][1] = v.y;
      b[n][2] = v.z;
      b[n][3] = v.w;
    };
    // Which of `count` things are for round i of at_once.
    const auto part_of = [](int i, int count, auto&& f) {
#pragma unroll
      for (int j = i * count / at_once; j < (i + 1) * count / at_once; ++j) f(j);
    };
    // Products of one step with one half of the token tiles, and what goes between them.
    const auto multiply = [&](int step, int token_half, auto&& between) {
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int n = token_half * at_once + i, e = step % 2;
#pragma unroll
        for (int r = 0; r < row_tiles; ++r)
          mma(acc[r][n], a[e][r], b[n][2 * e], b[n][2 * e + 1], acc[r][n], typename Math::element{});
        between(i);
      }
    };
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) load_codes(memory + slot * stage_bytes, r);
#pragma unroll
    for (int n = 0; n < at_once; ++n) load_x(memory + slot * stage_bytes, 0, n);
    if (Span == span_kind::tile) units.begin(w);
    mask_codes();
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) decode(0, r);
#pragma unroll
    for (int r = 0; r < row_tiles; ++r)
#pragma unroll
      for (int n = 0; n < token_tiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[r][n][i] = 0.0f;

    std::uint32_t group_end = group_tiles;    // the tile where the next group begins
#pragma unroll 1
    for (std::uint32_t stage = 0; stage < stages; ++stage) {
      const std::byte* const at = memory + slot * stage_bytes;
      const std::uint32_t next_slot = slot + 1 == ring ? 0 : slot + 1;
      const std::byte* const next = memory + next_slot * stage_bytes;
      const auto during_0 = [&](int i) {
        part_of(i, row_tiles, [&](int r) { decode(1, r); });
        load_x(at, 0, at_once + i);
      };
      if (Span == span_kind::tile && stage == group_end) {
        units.enter();
#pragma unroll
        for (int i = 0; i < at_once; ++i) scale(i);
        multiply(0, 0, during_0);
        multiply(1, 0, [&](int i) { scale(at_once + i); });
        units.load(w);
        group_end += group_tiles;
      } else {
        multiply(0, 0, during_0);
        multiply(1, 0, [](int) {});
      }
      multiply(0, 1, [&](int i) { load_x(at, 1, i); });
      multiply(1, 1, [&](int i) { part_of(i, row_tiles, [&](int r) { decode(2, r); }); });

      multiply(2, 0, [&](int i) {
        part_of(i, row_tiles, [&](int r) { decode(3, r); });
        load_x(at, 1, at_once + i);
      });
      multiply(3, 0, [&](int i) {
        if (i == 0) {
          wait_copies<ring - 2>();
          __syncthreads();
        }
        if (Bits == 4) part_of(i, row_tiles, [&](int r) { load_codes(next, r); });
        part_of(i, x_copies, [&](int c) { fill_x(slot, c); });
      });
      multiply(2, 1, [&](int i) {
        load_x(next, 0, i);
        part_of(i, code_copies, [&](int c) { fill_codes(slot, c); });
        if (i == at_once - 1) commit_copies();
      });
      end_fill();
      if (Bits == 8) {    // no sooner: twice the registers
#pragma unroll
        for (int r = 0; r < row_tiles; ++r) load_codes(next, r);
      }
      if (Span == span_kind::tile) {
        if (stage + 1 == group_end) units.look_ahead();
        mask_codes();
      }
      multiply(3, 1, [&](int i) { part_of(i, row_tiles, [&](int r) { decode(0, r); }); });
      slot = next_slot;
    }

    piece += gridDim.x;
    const place next_place = place_of(piece);
    if (Span == span_kind::tile) units.start(w, next_place.row_tile + warp_n * row_tiles);
    if (cut.sums_at == 0) {
      wait_copies<0>();
      __syncthreads();
    }
    // Each warp writes its own sums, some tokens at a time, through shared memory of its own.
    constexpr std::uint32_t rows = 16 * row_tiles;
    auto* const part = reinterpret_cast<float*>(memory + cut.sums_at) + warp * (16 * (rows + 4));
#pragma unroll
    for (int n0 = 0; n0 < token_tiles; n0 += 2) {
      __syncwarp();
      spill<row_tiles, 2>(
          [&](int r, int n, int i) {
            const float sum = acc[r][n0 + n][i];
            return Span == span_kind::tile ? __fmul_rn(sum, units.unit(r, i / 2)) : sum;
          },
          part, rows + 4, 0, lane);
      __syncwarp();
      finish<Span, false>([&](std::uint32_t) { return static_cast<const float*>(part); }, 1, rows, 0, 16,
                          (here.row_tile + warp_n * row_tiles) * 16, here.token + 8 * (warp_m * token_tiles + n0), w, x,
                          out, lane, 32);
    }
    here = next_place;
  };
  if (Span == span_kind::tile) units.start(w, here.row_tile + warp_n * row_tiles);
  wait_copies<ring - 1>();
  __syncthreads();
#pragma unroll 1
  for (;;) {
    if (piece < cut.wide)
      work(std::integral_constant<int, most_tiles>{});
    else
      work(std::integral_constant<int, most_tiles / 2>{});
    if (piece >= cut.pieces) break;
  }
  wait_copies<0>();
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
