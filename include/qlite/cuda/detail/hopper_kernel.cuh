// Products with more than a few tokens on Hopper: wgmma with the weights as its register operand. INT8 times INT8 needs
// no decoding: there both operands are taken from shared memory, where the packed tiles lie as wgmma wants them.
//
// A block computes 128 rows of W (eight row tiles) for TokenTiles x 8 tokens, 32 to 256, with three warpgroups. The
// first moves data: one thread of it has the copy engine fill a ring of stages, each 64 k of X (rows of 128 bytes,
// swizzled) and the codes of eight tiles. Each of the other two multiplies 64 rows; a warp decodes the tile of its own
// 16 rows into registers, one tile ahead of the products under way. Operands are swapped (Y^T = W X^T), so that codes
// never go back to memory once they are decoded; the idea is of CUTLASS's mixed-input kernels and Machete (NeuralMagic,
// 2024).
//
//   warpgroup 0   | fill | fill | fill | ...                       waits for stages to be empty
//   warpgroup 1   | decode | products of 64 rows, decode | scale, products, decode | ...
//   warpgroup 2   | the same for the next 64 rows; its products fill the gaps of the other's
//
// Weights are never rounded to 16 bits. The tensor core adds to sums that are in units of the scale of the group at
// hand; where a group ends, they are multiplied in float32 by its scale over the next one's. That costs what adding a
// group's own sums with their scale would, but no second set of registers, so that a warpgroup has 256 tokens: products
// of 64 x 256 cost least. Scales are float16, so that no ratio and no sum over a scale leaves float32 for any sane
// activations.
//
// Blocks of a cluster either share tokens, two blocks with different rows, each of which copies half of X to both; or
// they share K: at the end each adds the sums of all, in order, for its part of the tokens. In the first case blocks
// are persistent and take every so many pieces of work, so that the ring is full again before the sums are written;
// what is left for a last round that would leave half of the device idle is cut in two along the tokens.
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/hopper_weights.cuh>
#include <qlite/cuda/kernel_choice.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

inline constexpr std::uint32_t hopper_row_tiles = 8, hopper_rows = 16 * hopper_row_tiles;
/// Bytes for each warp through which sums are written.
inline constexpr std::uint32_t hopper_buffer = 1024;

/// Shared memory of a block: | ring | buffers of eight warps | barriers |, on a boundary of 1024 bytes.
template <class Math, int Bits, int TokenTiles>
struct hopper_memory {
  static constexpr std::uint32_t x_bytes = 8 * TokenTiles * Math::row_bytes;
  static constexpr std::uint32_t code_bytes = hopper_row_tiles * 128 * Bits;
  static constexpr std::uint32_t stage = x_bytes + code_bytes;
  static constexpr std::uint32_t room = 227 * 1024 - 1024 - hopper_row_tiles * hopper_buffer - 512;
  // With few tokens it is bytes under way that count.
  static constexpr std::uint32_t most = TokenTiles <= 8 ? 20 : Math::is_integer ? 12 : 8;
  static constexpr std::uint32_t stages = room / stage < most ? room / stage : most;
  static constexpr std::uint32_t buffers_at = stages * stage,
                                 barriers_at = buffers_at + hopper_row_tiles * hopper_buffer;
  static constexpr std::uint32_t bytes = 1024 + barriers_at + 16 * stages;
  // Where blocks share K, the ring becomes the block's sums.
  static_assert(stages * stage >= 8 * (TokenTiles + 7) * (hopper_rows + 4) * sizeof(float), "sums fit into the ring");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Writes the sums of a warpgroup, 64 rows of W from `row` on by TokenTiles x 8 tokens, through shared memory of its
/// own, where its threads exchange them for runs of a row of Y: of 128 bytes where elements have two. `sum(i, f)` is
/// number i of the accumulator, f what `factors(n)` gives for its token tile n.
template <int TokenTiles, class Sum, class Factors, class Out>
QLITE_DEVICE void write_sums(Sum&& sum, Factors&& factors, std::byte* buffer, std::uint32_t row, std::uint32_t token,
                             const weights& w, const inputs& x, const Out& out, std::uint32_t warpgroup,
                             std::uint32_t thread) {
  const std::uint32_t lane = thread % 32, warp = thread / 32;
  if constexpr (sizeof(typename Out::element) == 2) {
    // Results are rounded where they are, and stored as matrices of 8 x 8, transposed: 128 bytes for each token, chunk
    // c of its 16-byte chunks at c ^ (token % 8), so that no two of eight tokens' chunks lie in the same bank. Two
    // buffers by turns: one barrier a batch. What is beyond Y stands for its last row or column and is not stored.
    constexpr int batch = 2;
    static_assert(2 * 128 * 8 * batch <= 4 * hopper_buffer, "two batches fit");
    const std::uint32_t g = lane / 4, t = lane % 4, m = lane / 16 * 8 + lane % 8;
    const std::uint32_t from = shared_address(buffer);
    const std::uint32_t to = from + 128 * m + 16 * ((2 * warp + lane / 8 % 2) ^ (m % 8));
    const std::uint32_t read = 4 * warp + lane / 8, read_at = from + 128 * read + 16 * (lane % 8 ^ read % 8);
    const std::uint32_t columns[2] = {min(row + 16 * warp + g, out.columns - 1),
                                      min(row + 16 * warp + g + 8, out.columns - 1)};
#pragma unroll
    for (int first = 0; first < TokenTiles; first += batch) {
      const std::uint32_t half = first / batch % 2 * (128 * 8 * batch);
      std::uint32_t packed[4];
#pragma unroll
      for (int i = 0; i < batch; ++i) {    // rows g and g + 8 of a token tile, then of the next
        const int n = first + i;
        const float2 factor = factors(n);
        const std::uint32_t rows[2] = {min(token + 8 * n + 2 * t, out.rows - 1),
                                       min(token + 8 * n + 2 * t + 1, out.rows - 1)};
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          typename Out::element pair[2];
#pragma unroll
          for (int j = 0; j < 2; ++j) pair[j] = out.value(sum(4 * n + 2 * r + j, factor), rows[j], columns[r]);
          std::memcpy(&packed[2 * i + r], pair, 4);
        }
      }
      store_transposed(to + half, packed);
      sync_threads(2 + warpgroup, 128);
      uint4 run;
      load_shared(run, read_at + half);
      out.store_run(run, token + 8 * first + read, row + 8 * (lane % 8));
    }
  } else {
    auto* const part = reinterpret_cast<float*>(buffer + warp * hopper_buffer);
    static_assert(8 * 20 * sizeof(float) <= hopper_buffer, "a token tile fits");
#pragma unroll
    for (int n = 0; n < TokenTiles; ++n) {
      const float2 factor = factors(n);
      __syncwarp();
      spill<1, 1>([&](int, int, int i) { return sum(4 * n + i, factor); }, part, 20, 0, lane);
      __syncwarp();
      finish<span_kind::tile, false>([&](std::uint32_t) { return static_cast<const float*>(part); }, 1, 16, 0, 8,
                                     row + 16 * warp, token + 8 * n, w, x, out, lane, 32);
    }
  }
}

#endif

/// How a launch is cut. Pieces of work are ordered in strips of `strip` token blocks, so that what is multiplied at one
/// time fits into the L2.
struct hopper_cut {
  std::uint32_t row_units;    // blocks of rows, or pairs of them where tokens are shared
  std::uint32_t token_blocks;
  std::uint32_t wide;       // pieces of whole token blocks; what is left of row_units * token_blocks is cut in halves
  std::uint32_t pieces;     // with those halves
  std::uint32_t cluster;    // blocks of a cluster
  bool share_k;             // they share K; else, tokens
};
/// Whether the last round may be of half token blocks.
template <int TokenTiles>
inline constexpr bool hopper_halves = TokenTiles == 32;
template <int TokenTiles>
inline constexpr bool hopper_shares_k = hopper_clusters(TokenTiles) > 1;
inline constexpr std::uint32_t hopper_strip = 8;

template <class Math, int Bits, span_kind Span, bool Plain, int TokenTiles, class Out>
__global__ void __launch_bounds__(QLITE_CUDA_HOPPER_BOUND, 1)
    hopper_kernel(weights w, inputs x, Out out, const __grid_constant__ CUtensorMap x_map,
                  const __grid_constant__ CUtensorMap x_half_map, const __grid_constant__ CUtensorMap code_map,
                  hopper_cut cut) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using memory = hopper_memory<Math, Bits, TokenTiles>;
  constexpr std::uint32_t tokens = 8 * TokenTiles, tile_size = 128 * Bits, stages = memory::stages;
  extern __shared__ std::byte hopper_shared[];
  const std::uint32_t base = (shared_address(hopper_shared) + 1023) & ~1023u;
  std::byte* const shared = hopper_shared + (base - shared_address(hopper_shared));
  const std::uint32_t full = base + memory::barriers_at, empty = full + 8 * stages;

  const std::uint32_t warpgroup = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  const std::uint32_t lane = threadIdx.x % 32, rank = blockIdx.x % cut.cluster;
  const bool share_k = hopper_shares_k<TokenTiles> && cut.share_k, multicast = !share_k && cut.cluster > 1;
  const std::uint32_t cluster_barriers = multicast ? 1 : share_k ? 2 : 0;    // at the end
  if (threadIdx.x == 0) {
    fetch_map(x_map);
    fetch_map(code_map);
    for (std::uint32_t s = 0; s < stages; ++s) {
      init_barrier(full + 8 * s, 1);
      init_barrier(empty + 8 * s, hopper_row_tiles * (multicast ? cut.cluster : 1));
    }
    publish_barriers();
  }
  __syncthreads();
  if (multicast) {    // the others' barriers are used from now on
    arrive_in_cluster();
    wait_for_cluster();
  }

  // Pairs of tiles of 64 k, each a stage: all, or this block's share of them.
  const std::uint32_t all_pairs = (w.col_tiles + 1) / 2;
  const std::uint32_t first_pair = share_k ? all_pairs * rank / cut.cluster : 0;
  const std::uint32_t last_pair = share_k ? all_pairs * (rank + 1) / cut.cluster : all_pairs;
  constexpr bool halves = hopper_halves<TokenTiles>;
  struct place {
    std::uint32_t row_tile, token;
  };
  const auto place_of = [&](std::uint32_t piece) -> place {
    std::uint32_t later = 0;    // tokens of the block before the piece's
    if (halves && piece >= cut.wide) {
      later = (piece - cut.wide) % 2 * (tokens / 2);
      piece = cut.wide + (piece - cut.wide) / 2;
    }
    const std::uint32_t strip = piece / (hopper_strip * cut.row_units),
                        in_strip = piece % (hopper_strip * cut.row_units);
    const std::uint32_t wide = min(hopper_strip, cut.token_blocks - strip * hopper_strip);
    const std::uint32_t unit = in_strip / wide;
    return {(multicast ? unit * cut.cluster + rank : unit) * hopper_row_tiles,
            (strip * hopper_strip + in_strip % wide) * tokens + later};
  };
  const std::uint32_t first_piece = blockIdx.x / cut.cluster, step = gridDim.x / cut.cluster;

  if (warpgroup == 0) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      // The first codes are on their way before the work ahead has ended, which X may come from. Where there is nothing
      // to wait for, X would only wait for them.
      const std::uint32_t tiles = 2 * (last_pair - first_pair), early = x.late ? min(stages, tiles) : 0;
      const auto fill_codes = [&](std::uint32_t slot, std::uint32_t tile, std::uint32_t row_tile,
                                  std::uint32_t x_bytes) {
        arrive_expecting(full + 8 * slot, x_bytes + memory::code_bytes);
        copy_block(base + slot * memory::stage + memory::x_bytes, code_map, tile * (tile_size / 64), row_tile,
                   full + 8 * slot);
      };
      const auto x_bytes_of = [&](std::uint32_t piece) {
        return halves && piece >= cut.wide ? memory::x_bytes / 2 : memory::x_bytes;
      };
      for (std::uint32_t s = 0; s < early; ++s)
        fill_codes(s, 2 * first_pair + s, place_of(first_piece).row_tile, x_bytes_of(first_piece));
      if (x.late) wait_for_work_ahead();
      let_next_begin();
      std::uint32_t slot = 0, parity = 1, filled = 0;
      for (std::uint32_t piece = first_piece; piece < cut.pieces; piece += step) {
        const place at = place_of(piece);
        const std::uint32_t x_bytes = x_bytes_of(piece), share = x_bytes / Math::row_bytes / 2;
        const CUtensorMap& x_of_piece = x_bytes == memory::x_bytes ? x_map : x_half_map;
        for (std::uint32_t tile = 2 * first_pair; tile < 2 * last_pair; ++tile) {
          const std::uint32_t to = base + slot * memory::stage, barrier = full + 8 * slot;
          if (filled < early) {
            ++filled;
          } else {
            wait_barrier(empty + 8 * slot, parity);
            fill_codes(slot, tile, at.row_tile, x_bytes);
          }
          if (multicast)
            copy_box_to_blocks(to + rank * (x_bytes / 2), x_of_piece, tile * 64, at.token + rank * share, barrier, 3);
          else
            copy_box(to, x_of_piece, tile * 64, at.token, barrier);
          if (++slot == stages) slot = 0, parity ^= 1;
        }
      }
    }
    __syncwarp();
    for (std::uint32_t i = 0; i < cluster_barriers; ++i) {    // as the others do below
      arrive_in_cluster();
      wait_for_cluster();
    }
  } else {
    take_registers<232>();
    const std::uint32_t thread = threadIdx.x - 128, warp = thread / 32;
    typename Math::sum sums[4 * TokenTiles];
    std::uint32_t slot = 0, parity = 0;
    // Waits for the next stage; its slot.
    const auto next_stage = [&]() -> std::uint32_t {
      const std::uint32_t s = slot;
      wait_barrier(full + 8 * s, parity);
      if (++slot == stages) slot = 0, parity ^= 1;
      return s;
    };
    const bool releases = lane < (multicast ? cut.cluster : 1);
    const std::uint32_t release_at = keep(cluster_address(empty, multicast ? lane % cut.cluster : rank));
    const auto release = [&](std::uint32_t s) {
      if (releases) arrive_remotely(release_at + 8 * s);
    };
    // The second warpgroup begins when the first is some tiles ahead, and stays behind: so one multiplies while the
    // other writes its sums or multiplies them by a ratio.
    const std::uint32_t begin = 2 * first_pair, end = 2 * last_pair;
    constexpr std::uint32_t lead = stages >= 8 ? 4 : 2;
    const bool behind = TokenTiles >= 16 && !share_k && stages >= 5 && end - begin >= 8;
    const auto row_pair = [&](std::uint32_t piece) {
      return w.pair(min(place_of(piece).row_tile + warp, w.row_tiles - 1), 0, lane / 4);
    };
    [[maybe_unused]] const code_reader<Math, Bits> reader(base + memory::x_bytes + warp * tile_size, lane);

    if (x.late) wait_for_work_ahead();    // it may still read Y's memory, or write what comes with X
    // A piece of the first `tiles` of the block's token tiles.
    const auto work = [&](std::uint32_t piece, auto tiles) {
      constexpr int Tiles = decltype(tiles)::value;
      auto& acc = reinterpret_cast<typename Math::sum(&)[4 * Tiles]>(sums);
      const place at = place_of(piece);
      const bool apart = behind && piece == first_piece;
      group_cursor<Math, Bits, Span, Plain> groups(w, row_pair(piece), begin);
#pragma unroll
      for (int i = 0; i < 4 * Tiles; ++i) acc[i] = 0;
      // What the sums will be multiplied by is on its way meanwhile: token l of 32 is with lane l.
      [[maybe_unused]] float token_scales[Tiles / 4];
      if (Math::is_integer && !share_k) {
#pragma unroll
        for (int i = 0; i < Tiles / 4; ++i)
          token_scales[i] = x.scale_groups == 1 ? __ldg(x.scales + min(at.token + 32 * i + lane, x.rows - 1)) : 1.0f;
      }
      number_pair row_scales;
      if (Span == span_kind::whole && !share_k)
        row_scales = load_pair(w.scales, row_pair(piece), !Plain && w.wide_scales);
      if (apart && warpgroup == 2) sync_threads(2, 256);
      if constexpr (Math::is_integer) {
        // Both operands from shared memory, as they lie there.
        constexpr std::uint32_t together = TokenTiles <= 16 ? 2 : 1;    // tiles whose products are waited for at once
        std::uint32_t at_hand[together], before[together];
#pragma unroll 2
        for (std::uint32_t tile = begin; tile < end; tile += together) {
#pragma unroll
          for (std::uint32_t i = 0; i < together; ++i) {
            at_hand[i] = next_stage();
            const std::uint32_t x_at = base + at_hand[i] * memory::stage;
            const std::uint64_t a = rows_in_memory<64>(x_at + memory::x_bytes + (warpgroup - 1) * 4 * tile_size),
                                b = rows_in_memory<64>(x_at);
            begin_products();
            multiply_async(acc, a, b);
            multiply_async(acc, a + 2, b + 2);
          }
          commit_products();
          wait_products<1>();
#pragma unroll
          for (std::uint32_t i = 0; i < together; ++i) {
            if (tile != begin) release(before[i]);
            before[i] = at_hand[i];
          }
          if (apart && warpgroup == 1 && tile == begin + lead) arrive_threads(2, 256);
        }
        wait_products<0>();
        pin(acc);
#pragma unroll
        for (std::uint32_t i = 0; i < together; ++i)
          if (begin < end) release(before[i]);
      } else {
        using fragments = std::uint32_t[2][2][4];
        using words = typename code_reader<Math, Bits>::words;
        fragments a0, a1;
        std::uint32_t s0 = 0, s1 = 0;
        // Starts the products of half h of a tile.
        const auto start = [&](std::uint32_t s, const fragments& a, int h) {
          const std::uint64_t b = rows_in_memory<128>(base + s * memory::stage + 64 * h);
          multiply_async(acc, a[h][0], b, typename Math::element{});
          multiply_async(acc, a[h][1], b + 2, typename Math::element{});
        };
        // Multiplies a tile from a, stage s; meanwhile decodes the next into b. Stage t, of the tile before, becomes
        // the next one's.
        const auto advance = [&](std::uint32_t tile, fragments& a, std::uint32_t s, fragments& b, std::uint32_t& t) {
          const std::uint32_t done = t;
          words packed;
          if (tile + 1 < end) {
            t = next_stage();
            reader.load(t * memory::stage, packed);
          }
          bool begins = groups.enter(tile, 0, acc, a);
          begin_products();
          start(s, a, 0);
          if constexpr (spans_of_tile<Span> == 2) {    // half of the next is decoded beside each half
            commit_products();
            if (begins) groups.prepare();
            wait_products<1>();
            if (tile != begin) release(done);
            reader.decode(packed, groups.points_of(tile + 1, 0), 0, b[0]);
            begins = groups.enter(tile, 1, acc, a);
            begin_products();
          }
          start(s, a, 1);
          commit_products();
          if (begins) groups.prepare();
          if constexpr (spans_of_tile<Span> == 1) {
            wait_products<1>();
            if (tile != begin) release(done);
            reader.decode(packed, groups.points_of(tile + 1, 0), 0, b[0]);
          }
          reader.decode(packed, groups.points_of(tile + 1, spans_of_tile<Span> == 2 ? 1 : 0), 1, b[1]);
        };
        if (begin < end) {
          words packed;
          reader.load((s0 = next_stage()) * memory::stage, packed);
          reader.decode(packed, groups.points_of(begin, 0), 0, a0[0]);
          reader.decode(packed, groups.points_of(begin, spans_of_tile<Span> == 2 ? 1 : 0), 1, a0[1]);
        }
#pragma unroll 1
        for (std::uint32_t tile = begin; tile < end; tile += 2) {
          advance(tile, a0, s0, a1, s1);
          advance(tile + 1, a1, s1, a0, s0);
          // The first has taken lead + 3 stages by now.
          if (apart && warpgroup == 1 && tile == begin + lead) arrive_threads(2, 256);
        }
        wait_products<0>();
        pin(acc);
        if (begin < end) release(s1);
      }

      if (!share_k) {
        const float2 unit = Span == span_kind::whole ? row_scales.floats(!Plain && w.wide_scales) : groups.now.unit;
        // The scales of the next piece are on their way while this one is written.
        if (Span != span_kind::whole && piece + step < cut.pieces) fetch_ahead(w.scales + 4 * row_pair(piece + step));
        const auto factors = [&](int n) {
          float2 f = make_float2(1.0f, 1.0f);
          if constexpr (Math::is_integer) {
            f.x = __shfl_sync(0xffffffffu, token_scales[n / 4], 8 * (n % 4) + lane % 4 * 2);
            f.y = __shfl_sync(0xffffffffu, token_scales[n / 4], 8 * (n % 4) + lane % 4 * 2 + 1);
          }
          return f;
        };
        const auto result = [&](int i, float2 factor) {    // as `finish` has it: fma with 0 is a product that nothing
          float y = __fmaf_rn(static_cast<float>(acc[i]), i % 4 < 2 ? unit.x : unit.y, 0.0f);    // is fused with
          if (Math::is_integer) y = __fmaf_rn(y, i % 2 == 0 ? factor.x : factor.y, 0.0f);
          return y;
        };
        write_sums<Tiles>(result, factors, shared + memory::buffers_at + (warpgroup - 1) * 4 * hopper_buffer,
                          (at.row_tile + (warpgroup - 1) * 4) * 16, at.token, w, x, out, warpgroup, thread % 128);
      } else if constexpr (hopper_shares_k<TokenTiles>) {
        // Block r of C adds and writes token tiles n with n C / TokenTiles = r; the others put their sums of these into
        // its shared memory, where the ring was: [C][tokens][rows + 4].
        arrive_in_cluster();    // nobody reads a ring any more
        wait_for_cluster();
        const auto sum = [&](int i) {
          if constexpr (Math::is_integer)
            return __int_as_float(acc[i]);
          else
            return Span == span_kind::whole ? acc[i]
                                            : __fmul_rn(acc[i], i % 4 < 2 ? groups.now.unit.x : groups.now.unit.y);
        };
        const std::uint32_t share = (TokenTiles + cut.cluster - 1) / cut.cluster * 8,
                            part_size = share * (hopper_rows + 4);
        std::uint32_t owner = ~0u, first = 0, own_first = 0, own_count = 0, to = 0;
#pragma unroll
        for (std::uint32_t n = 0; n < TokenTiles; ++n) {
          const std::uint32_t now = n * cut.cluster / TokenTiles;
          if (now != owner) {
            owner = now;
            first = n;
            to = cluster_address(
                base + 4 * (rank * part_size + warp * 16 + lane / 4 + lane % 4 * 2 * (hopper_rows + 4)), owner);
            if (owner == rank) own_first = n;
          }
          if (owner == rank) ++own_count;
#pragma unroll
          for (std::uint32_t i = 0; i < 4; ++i)
            store_remotely(to + 4 * ((8 * (n - first) + i % 2) * (hopper_rows + 4) + 8 * (i / 2)), sum(4 * n + i));
        }
        arrive_in_cluster();    // sums have arrived
        wait_for_cluster();
        const auto* const parts = reinterpret_cast<const float*>(shared);
        finish<Span, Math::is_integer>([&](std::uint32_t p) { return parts + p * part_size; }, cut.cluster, hopper_rows,
                                       0, 8 * own_count, at.row_tile * 16, at.token + 8 * own_first, w, x, out, thread,
                                       256);
      }
    };
    for (std::uint32_t piece = first_piece; piece < cut.pieces; piece += step) {
      if (!halves || piece < cut.wide)
        work(piece, std::integral_constant<int, TokenTiles>{});
      else
        work(piece, std::integral_constant < int, halves ? TokenTiles / 2 : TokenTiles > {});
    }
    if (multicast) {    // nobody leaves while the other still sends or arrives
      arrive_in_cluster();
      wait_for_cluster();
    }
  }
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
