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
// Groups of codes are summed apart, in registers d, and added to the sums with their scale in float32: weights are
// never rounded. With one group (span_kind::whole) the sums are the tensor core's own, and leave room for 256 tokens.
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
/// Tokens whose sums a warpgroup writes at once, through shared memory of its own.
inline constexpr std::uint32_t hopper_written = 32, hopper_buffer = hopper_written * (hopper_rows / 2 + 4) * sizeof(float);

/// Shared memory of a block: | ring | buffers of two warpgroups | barriers |, on a boundary of 1024 bytes.
template <int Bits, int TokenTiles>
struct hopper_memory {
  static constexpr std::uint32_t x_bytes = 8 * TokenTiles * 128, code_bytes = hopper_row_tiles * 128 * Bits;
  static constexpr std::uint32_t stage = x_bytes + code_bytes;
  static constexpr std::uint32_t room = 227 * 1024 - 1024 - 2 * hopper_buffer - 256;
  static constexpr std::uint32_t stages = room / stage < 8 ? room / stage : 8;
  static constexpr std::uint32_t buffers_at = stages * stage, barriers_at = buffers_at + 2 * hopper_buffer;
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
  bool every_tile;                                  // span_kind::tile: groups are of 64 k, not of a multiple of 128
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
    const std::uint32_t thread = threadIdx.x - 128, warp = thread / 32, half = warpgroup - 1;
    const quad_transposer transpose(lane);
    const typename Math::zeros no_zeros = Math::template make_zeros<Bits>(w.bias * 0x0101u);
    constexpr bool whole = Span == span_kind::whole;
    float acc[4 * TokenTiles];
    using fragments = std::uint32_t[2][2][4];

    std::uint32_t slot = 0, parity = 0;
    // Waits for the next stage; its slot.
    const auto next_stage = [&]() -> std::uint32_t {
      const std::uint32_t s = slot;
      wait_barrier(full + 8 * s, parity);
      if (++slot == stages) slot = 0, parity ^= 1;
      return s;
    };
    const auto release = [&](std::uint32_t s) {
      if (multicast) {
        if (lane < cut.cluster) arrive_remotely(cluster_address(empty + 8 * s, lane));
      } else if (lane == 0) {
        arrive_remotely(cluster_address(empty + 8 * s, cut.share_k ? rank : 0));
      }
    };
    const auto decode = [&](std::uint32_t s, const tile_numbers<Span>& numbers, fragments& a) {
      uint4 raw[planes];
#pragma unroll
      for (int p = 0; p < planes; ++p)
        raw[p] = *reinterpret_cast<const uint4*>(shared + s * memory::stage + memory::x_bytes + warp * tile_size +
                                                 512 * p + 16 * lane);
      transpose(raw);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        typename Math::zeros z = no_zeros;
        if (!Plain && w.zeros != nullptr)
          z = Math::template make_zeros<Bits>(numbers.zeros[Span == span_kind::run ? h : 0]);
        Math::decode(raw, h, z, a[h]);
      }
    };
    // Starts the products of half h of a tile.
    const auto start = [&](float(&d)[4 * TokenTiles], std::uint32_t s, const std::uint32_t(&a)[2][4], int h, bool add) {
      const std::uint64_t b = rows_of_128_bytes(base + s * memory::stage + 64 * h);
      multiply_async(d, a[0], b, add, typename Math::element{});
      multiply_async(d, a[1], b + 2, 1, typename Math::element{});
    };

    for (std::uint32_t piece = first_piece; piece < cut.pieces; piece += step) {
      const place at = place_of(piece);
      const std::uint32_t row_tile = at.row_tile + warp;
      const number_source<Span, Plain, 1> source(w, row_tile, lane);
      tile_numbers<Span> numbers[2][1], next[2][1];
      const auto load_numbers = [&](std::uint32_t pair) {
#pragma unroll
        for (int i = 0; i < 2; ++i) source.load(w, min(2 * pair + i, w.col_tiles - 1), lane, next[i]);
      };
      load_numbers(first_pair);
#pragma unroll
      for (int i = 0; i < 4 * TokenTiles; ++i) acc[i] = 0.0f;
      fragments a0, a1;
      std::uint32_t s0 = 0, s1 = 0;
      if (first_pair < last_pair) decode(s0 = next_stage(), next[0][0], a0);

      if constexpr (whole) {
#pragma unroll 1
        for (std::uint32_t pair = first_pair; pair < last_pair; ++pair) {
          begin_products();
          start(acc, s0, a0[0], 0, true);
          start(acc, s0, a0[1], 1, true);
          commit_products();
          wait_products<1>();
          if (pair != first_pair) release(s1);
          decode(s1 = next_stage(), next[0][0], a1);
          begin_products();
          start(acc, s1, a1[0], 0, true);
          start(acc, s1, a1[1], 1, true);
          commit_products();
          wait_products<1>();
          release(s0);
          if (pair + 1 < last_pair) decode(s0 = next_stage(), next[0][0], a0);
        }
        wait_products<0>();
        pin(acc);
        if (first_pair < last_pair) release(s1);
      } else {
        float d[4 * TokenTiles];
        const auto add_scaled = [&](const number_pair& n) {
          wait_products<0>();
          pin(d);
          const float2 scale = n.floats(!Plain && w.wide_scales);
#pragma unroll
          for (int i = 0; i < 4 * TokenTiles; ++i) acc[i] = __fmaf_rn(d[i], i % 4 < 2 ? scale.x : scale.y, acc[i]);
        };
#pragma unroll 1
        for (std::uint32_t pair = first_pair; pair < last_pair; ++pair) {
          const bool more = pair + 1 < last_pair;
          numbers[0][0] = next[0][0];
          numbers[1][0] = next[1][0];
          if (more) load_numbers(pair + 1);
          begin_products();
          start(d, s0, a0[0], 0, false);
          if constexpr (Span == span_kind::run) {
            commit_products();
            add_scaled(numbers[0][0].scale[0]);
            begin_products();
            start(d, s0, a0[1], 1, false);
          } else {
            start(d, s0, a0[1], 1, true);
          }
          commit_products();
          decode(s1 = next_stage(), numbers[1][0], a1);
          if (Span == span_kind::run || cut.every_tile) {
            add_scaled(numbers[0][0].scale[Span == span_kind::run ? 1 : 0]);
            release(s0);
          }
          begin_products();
          start(d, s1, a1[0], 0, Span == span_kind::tile && !cut.every_tile);
          if constexpr (Span == span_kind::run) {
            commit_products();
            add_scaled(numbers[1][0].scale[0]);
            begin_products();
            start(d, s1, a1[1], 1, false);
          } else {
            start(d, s1, a1[1], 1, true);
          }
          commit_products();
          if (Span == span_kind::tile && !cut.every_tile) {
            wait_products<1>();
            release(s0);
          }
          if (more) decode(s0 = next_stage(), next[0][0], a0);
          add_scaled(numbers[1][0].scale[Span == span_kind::run ? 1 : 0]);
          release(s1);
        }
      }

      if (!cut.share_k || cut.cluster == 1) {
        constexpr std::uint32_t rows = hopper_rows / 2;
        auto* const part = reinterpret_cast<float*>(shared + memory::buffers_at + half * hopper_buffer);
#pragma unroll
        for (int first = 0; first < TokenTiles; first += hopper_written / 8) {
          sync_threads(1 + half, 128);    // what was here is written
          spill<1, hopper_written / 8>([&](int, int n, int i) { return acc[4 * (first + n) + i]; }, part, rows + 4,
                                       warp % 4 * 16, lane);
          sync_threads(1 + half, 128);
          finish<Span, false>([&](std::uint32_t) { return static_cast<const float*>(part); }, 1, rows, 0,
                              hopper_written, at.row_tile * 16 + half * rows, at.token + 8 * first, w, x, out,
                              thread % 128, 128);
        }
      } else {
        auto* const parts = reinterpret_cast<float*>(shared);
        sync_threads(1, 256);    // nobody reads the ring any more
        spill<1, TokenTiles>([&](int, int n, int i) { return acc[4 * n + i]; }, parts, hopper_rows + 4, warp * 16,
                             lane);
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
      finish<Span, false>([&](std::uint32_t p) { return in_block(parts, p); }, cut.cluster, hopper_rows, count * rank,
                          count * (rank + 1), at.row_tile * 16, at.token, w, x, out, thread, 256);
      arrive_in_cluster();    // nobody leaves before all have read
      wait_for_cluster();
    }
  }
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
