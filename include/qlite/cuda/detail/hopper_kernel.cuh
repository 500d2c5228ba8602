// Products with many tokens on Hopper: wgmma with the weights as its register operand.
//
// A block computes 128 rows of W (eight row tiles) for TokenTiles x 8 tokens, with three warpgroups. The first moves
// data: one thread of it has the copy engine fill a ring of stages, each 64 k of X (rows of 128 bytes, swizzled) and the
// codes of eight tiles. Each of the other two multiplies 64 rows; a warp decodes the tile of its own 16 rows into
// registers, one tile ahead of the products under way. Operands are swapped (Y^T = W X^T), so that codes never go back
// to memory once they are decoded; the idea is of CUTLASS's mixed-input kernels and Machete (NeuralMagic, 2024).
//
//   warpgroup 0   | fill | fill | fill | ...                       waits for stages to be empty
//   warpgroup 1   | decode | products of 64 rows, decode | scale, products, decode | ...
//   warpgroup 2   | the same for the next 64 rows; its products fill the gaps of the other's
//
// Weights are never rounded to 16 bits. The tensor core adds to sums that are in units of the scale of the group at hand;
// where a group ends, they are multiplied in float32 by its scale over the next one's. That costs what adding a group's
// own sums with their scale would, but no second set of registers, so that a warpgroup has 256 tokens: products of 64 x
// 256 cost least. Scales are float16, so that no ratio and no sum over a scale leaves float32 for any sane activations.
//
// Blocks of a cluster either share tokens, two blocks with different rows, each of which copies half of X to both; or
// they share K: at the end each adds the sums of all, in order, for its part of the tokens. In the first case blocks are
// persistent and take every so many pieces of work, so that the ring is full again before the sums are written.
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/hopper_ptx.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

inline constexpr std::uint32_t hopper_row_tiles = 8, hopper_rows = 16 * hopper_row_tiles;
/// Tokens whose sums a warp writes at once, through shared memory of its own.
inline constexpr std::uint32_t hopper_written = 32, hopper_buffer = hopper_written * (16 + 4) * sizeof(float);

/// Shared memory of a block: | ring | buffers of eight warps | barriers |, on a boundary of 1024 bytes.
template <int Bits, int TokenTiles>
struct hopper_memory {
  static constexpr std::uint32_t x_bytes = 8 * TokenTiles * 128, code_bytes = hopper_row_tiles * 128 * Bits;
  static constexpr std::uint32_t stage = x_bytes + code_bytes;
  static constexpr std::uint32_t room = 227 * 1024 - 1024 - hopper_row_tiles * hopper_buffer - 256;
  static constexpr std::uint32_t stages = room / stage < 8 ? room / stage : 8;
  static constexpr std::uint32_t buffers_at = stages * stage, barriers_at = buffers_at + hopper_row_tiles * hopper_buffer;
  static constexpr std::uint32_t bytes = 1024 + barriers_at + 16 * stages;
  // Where blocks share K, the ring becomes the block's sums.
  static_assert(stages * stage >= 8 * TokenTiles * (hopper_rows + 4) * sizeof(float), "sums fit into the ring");
};

/// How a launch is cut. Pieces of work are ordered in strips of `strip` token blocks, so that what is multiplied at one
/// time fits into the L2.
struct hopper_cut {
  std::uint32_t row_units, token_blocks, pieces;    // row units: blocks of rows, or pairs of them where tokens are shared
  std::uint32_t cluster;                            // blocks of a cluster
  bool share_k;                                     // what they share: K, or tokens
};
inline constexpr std::uint32_t hopper_strip = 8;

template <class Math, int Bits, span_kind Span, bool Plain, int TokenTiles, class Out>
__global__ void __launch_bounds__(QLITE_CUDA_HOPPER_BOUND, 1)
    hopper_kernel(weights w, inputs x, Out out, const __grid_constant__ CUtensorMap x_map,
                  const __grid_constant__ CUtensorMap code_map, hopper_cut cut) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using memory = hopper_memory<Bits, TokenTiles>;
  constexpr int planes = Bits / 4;
  constexpr std::uint32_t tokens = 8 * TokenTiles, tile_size = 512 * planes, stages = memory::stages;
  extern __shared__ std::byte hopper_shared[];
  const std::uint32_t base = (shared_address(hopper_shared) + 1023) & ~1023u;
  std::byte* const shared = hopper_shared + (base - shared_address(hopper_shared));
  const std::uint32_t full = base + memory::barriers_at, empty = full + 8 * stages;

  const std::uint32_t warpgroup = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  const std::uint32_t lane = threadIdx.x % 32, rank = blockIdx.x % cut.cluster;
  const bool multicast = !cut.share_k && cut.cluster > 1;
  if (threadIdx.x == 0) {
    for (std::uint32_t s = 0; s < stages; ++s) {
      init_barrier(full + 8 * s, 1);
      init_barrier(empty + 8 * s, hopper_row_tiles * (multicast ? cut.cluster : 1));
    }
    publish_barriers();
  }
  __syncthreads();
  if (cut.cluster > 1) {
    arrive_in_cluster();
    wait_for_cluster();
  }

  // Pairs of tiles of 64 k: all, or this block's share of them.
  const std::uint32_t all_pairs = (w.col_tiles + 1) / 2;
  const std::uint32_t first_pair = cut.share_k ? all_pairs * rank / cut.cluster : 0;
  const std::uint32_t last_pair = cut.share_k ? all_pairs * (rank + 1) / cut.cluster : all_pairs;
  struct place {
    std::uint32_t row_tile, token;
  };
  const auto place_of = [&](std::uint32_t piece) -> place {
    const std::uint32_t strip = piece / (hopper_strip * cut.row_units), in_strip = piece % (hopper_strip * cut.row_units);
    const std::uint32_t wide = min(hopper_strip, cut.token_blocks - strip * hopper_strip);
    const std::uint32_t unit = in_strip / wide;
    return {(multicast ? unit * cut.cluster + rank : unit) * hopper_row_tiles,
            (strip * hopper_strip + in_strip % wide) * tokens};
  };
  const std::uint32_t first_piece = blockIdx.x / cut.cluster, step = gridDim.x / cut.cluster;

  if (warpgroup == 0) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      std::uint32_t slot = 0, parity = 1;
      for (std::uint32_t piece = first_piece; piece < cut.pieces; piece += step) {
        const place at = place_of(piece);
        for (std::uint32_t tile = 2 * first_pair; tile < 2 * last_pair; ++tile) {
          const std::uint32_t to = base + slot * memory::stage, barrier = full + 8 * slot;
          wait_barrier(empty + 8 * slot, parity);
          arrive_expecting(barrier, memory::stage);
          copy_box(to + memory::x_bytes, code_map, tile * (tile_size / 8), at.row_tile, barrier);
          if (multicast)
            copy_box_to_blocks(to + rank * (memory::x_bytes / 2), x_map, tile * 64, at.token + rank * (tokens / 2),
                               barrier, 3);
          else
            copy_box(to, x_map, tile * 64, at.token, barrier);
          if (++slot == stages) slot = 0, parity ^= 1;
        }
      }
    }
    __syncwarp();
    if (cut.cluster > 1) {    // as the others do below
      arrive_in_cluster();
      wait_for_cluster();
    }
    if (cut.share_k && cut.cluster > 1) {
      arrive_in_cluster();
      wait_for_cluster();
    }
  } else {
    take_registers<232>();
    const std::uint32_t thread = threadIdx.x - 128, warp = thread / 32;
    const quad_transposer transpose(lane);
    const typename Math::zeros no_zeros = Math::template make_zeros<Bits>(w.bias * 0x0101u);
    float acc[4 * TokenTiles];
    using fragments = std::uint32_t[2][2][4];
    using numbers = tile_numbers<Span>[1];

    std::uint32_t slot = 0, parity = 0;
    // Waits for the next stage; its slot.
    const auto next_stage = [&]() -> std::uint32_t {
      const std::uint32_t s = slot;
      wait_barrier(full + 8 * s, parity);
      if (++slot == stages) slot = 0, parity ^= 1;
      return s;
    };
    const auto release = [&](std::uint32_t s) {
      if (lane < (multicast ? cut.cluster : 1))
        arrive_remotely(cluster_address(empty + 8 * s, multicast ? lane : rank));
    };
    const auto load = [&](std::uint32_t s, uint4(&raw)[planes]) {
#pragma unroll
      for (int p = 0; p < planes; ++p)
        raw[p] = *reinterpret_cast<const uint4*>(shared + s * memory::stage + memory::x_bytes + warp * tile_size +
                                                 512 * p + 16 * lane);
      transpose(raw);
    };
    const auto decode = [&](const uint4(&raw)[planes], const numbers& n, int h, fragments& a) {
      typename Math::zeros z = no_zeros;
      if (!Plain && w.zeros != nullptr) z = Math::template make_zeros<Bits>(n[0].zeros[Span == span_kind::run ? h : 0]);
      Math::decode(raw, h, z, a[h]);
    };
    // Starts the products of half h of a tile.
    const auto start = [&](std::uint32_t s, const fragments& a, int h) {
      const std::uint64_t b = rows_of_128_bytes(base + s * memory::stage + 64 * h);
      multiply_async(acc, a[h][0], b, typename Math::element{});
      multiply_async(acc, a[h][1], b + 2, typename Math::element{});
    };

    // Sums are in units of the scales of the group at hand.
    float2 unit = make_float2(1.0f, 1.0f);
    std::uint32_t group = 0;
    // Before the products of half h of a tile. Codes whose scale is 0 become 0, and leave the unit as it is.
    const auto enter = [&](std::uint32_t tile, int h, const numbers& n, fragments& a, bool first) {
      if constexpr (Span != span_kind::whole) {
        const std::uint32_t now = min(w.group_of(tile * 64 + 32 * h), w.groups - 1);
        const float2 scale = n[0].scale[Span == span_kind::run ? h : 0].floats(false);
        if (__any_sync(0xffffffffu, scale.x == 0.0f || scale.y == 0.0f)) {
#pragma unroll
          for (int e = 0; e < 2; ++e)
#pragma unroll
            for (int hh = 0; hh < 2; ++hh)
#pragma unroll
              for (int i = 0; i < 4; ++i)
                if ((Span == span_kind::tile || hh == h) && (i % 2 == 0 ? scale.x : scale.y) == 0.0f) a[hh][e][i] = 0;
        }
        if (!first && now == group) return;
        group = now;
        const float2 to = make_float2(scale.x == 0.0f ? unit.x : scale.x, scale.y == 0.0f ? unit.y : scale.y);
        if (!first) {
          const float2 ratio = make_float2(__fdividef(unit.x, to.x), __fdividef(unit.y, to.y));
          wait_products<0>();
          pin(acc);
#pragma unroll
          for (int i = 0; i < 4 * TokenTiles; ++i) acc[i] = __fmul_rn(acc[i], i % 4 < 2 ? ratio.x : ratio.y);
        }
        unit = to;
      }
    };

    for (std::uint32_t piece = first_piece; piece < cut.pieces; piece += step) {
      const place at = place_of(piece);
      const number_source<Span, Plain, 1> source(w, at.row_tile + warp, lane);
      numbers even, odd;
      const auto load_numbers = [&](std::uint32_t tile, numbers& to) {
        source.load(w, min(tile, w.col_tiles - 1), lane, to);
      };
      const std::uint32_t begin = 2 * first_pair, end = 2 * last_pair;
#pragma unroll
      for (int i = 0; i < 4 * TokenTiles; ++i) acc[i] = 0.0f;
      fragments a0, a1;
      std::uint32_t s0 = 0, s1 = 0;
      load_numbers(begin, even);
      load_numbers(begin + 1, odd);

      // Multiplies a tile from a, stage s; meanwhile decodes the next into b. Stage t, of the tile before, becomes the
      // next one's.
      const auto advance = [&](std::uint32_t tile, fragments& a, std::uint32_t s, numbers& n, fragments& b,
                               std::uint32_t& t, const numbers& following) {
        const bool more = tile + 1 < end;
        uint4 raw[planes];
        enter(tile, 0, n, a, tile == begin);
        begin_products();
        start(s, a, 0);
        if constexpr (Span == span_kind::run) {    // half of the next is decoded beside each half
          commit_products();
          wait_products<1>();
          if (tile != begin) release(t);
          if (more) {
            load(t = next_stage(), raw);
            decode(raw, following, 0, b);
          }
          enter(tile, 1, n, a, false);
          begin_products();
        }
        start(s, a, 1);
        commit_products();
        load_numbers(tile + 2, n);
        if constexpr (Span != span_kind::run) {
          wait_products<1>();
          if (tile != begin) release(t);
          if (more) {
            load(t = next_stage(), raw);
            decode(raw, following, 0, b);
          }
        }
        if (more) decode(raw, following, 1, b);
      };
      if (begin < end) {
        uint4 raw[planes];
        load(s0 = next_stage(), raw);
        decode(raw, even, 0, a0);
        decode(raw, even, 1, a0);
      }
#pragma unroll 1
      for (std::uint32_t tile = begin; tile < end; tile += 2) {
        advance(tile, a0, s0, even, a1, s1, odd);
        advance(tile + 1, a1, s1, odd, a0, s0, even);
      }
      wait_products<0>();
      pin(acc);
      if (begin < end) release(s1);

      if (Span == span_kind::whole) {
        const std::size_t pair = w.pair(min(at.row_tile + warp, w.row_tiles - 1), 0, lane / 4);
        unit = load_pair(w.scales, pair, !Plain && w.wide_scales).floats(!Plain && w.wide_scales);
      }
      const auto sum = [&](int i) { return __fmul_rn(acc[i], i % 4 < 2 ? unit.x : unit.y); };
      if (!cut.share_k || cut.cluster == 1) {
        auto* const part = reinterpret_cast<float*>(shared + memory::buffers_at + warp * hopper_buffer);
#pragma unroll
        for (int first = 0; first < TokenTiles; first += hopper_written / 8) {
          __syncwarp();    // what was here is written
          spill<1, hopper_written / 8>([&](int, int n, int i) { return sum(4 * (first + n) + i); }, part, 20, 0, lane);
          __syncwarp();
          finish<span_kind::tile, false>([&](std::uint32_t) { return static_cast<const float*>(part); }, 1, 16, 0,
                                         hopper_written, (at.row_tile + warp) * 16, at.token + 8 * first, w, x, out,
                                         lane, 32);
        }
      } else {
        sync_threads(1, 256);    // nobody reads the ring any more
        spill<1, TokenTiles>([&](int, int n, int i) { return sum(4 * n + i); }, reinterpret_cast<float*>(shared),
                             hopper_rows + 4, warp * 16, lane);
      }
    }
    if (cut.cluster > 1) {    // sums are written; or nobody leaves while others still send or arrive
      arrive_in_cluster();
      wait_for_cluster();
    }
    if (cut.share_k && cut.cluster > 1) {
      const place at = place_of(first_piece);
      const std::uint32_t count = tokens / cut.cluster;
      const auto* const parts = reinterpret_cast<const float*>(shared);
      finish<span_kind::tile, false>([&](std::uint32_t p) { return in_block(parts, p); }, cut.cluster, hopper_rows,
                                     count * rank, count * (rank + 1), at.row_tile * 16, at.token, w, x, out, thread,
                                     256);
      arrive_in_cluster();    // nobody leaves before all have read
      wait_for_cluster();
    }
  }
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
