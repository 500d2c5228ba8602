// Products with more tokens: X is staged in shared memory, where the warps of a block share it.
//
// A block has 8 warps, warps_n along the rows of W and warps_k along K (warps_n * warps_k = 8), and computes
// warps_n x RowTiles x 16 rows for TokenTiles x 8 tokens. A stage holds `depth` tiles of 64 k for each warp along K: of
// X, which all warps of the same k read, and of W, which each warp reads for itself, in fragment order. Stages are
// filled by cp.async, in a ring, so that all but one are always under way.
//
//   stage    X   [warps_k * depth] [tokens] 8 chunks of 16 bytes (int8: 4), chunk c of token m at c ^ 4 (m & 1)
//            W   [8 warps] [depth] [RowTiles] tiles
//
// The exclusive or lets the eight lanes that a shared-memory access serves at once, two tokens by four chunks, meet all
// banks. Sums of warps with different k are added in order at the end, as in direct_kernel.cuh.
//
// On Hopper the blocks of a cluster may share K too: block c of C takes stages c, c + C, ...; at the end each adds the
// sums of all, in order, for its part of the tokens, out of the others' shared memory. With few rows of W that reads X
// fewer times than more blocks of fewer rows would.
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

inline constexpr int staged_warps = 8;
/// Stages of the ring: as many as shared memory has room for.
template <int TokenTiles>
inline constexpr std::uint32_t staged_stages = TokenTiles >= 16 ? 3 : 4;

/// Bytes of shared memory of a block.
template <class Math, int Bits, int RowTiles, int TokenTiles, int Depth>
QLITE_INLINE std::size_t staged_bytes(std::uint32_t warps_n) noexcept {
  const std::size_t warps_k = staged_warps / warps_n, rows = warps_n * RowTiles * 16, tokens = TokenTiles * 8;
  const std::size_t stage = Depth * warps_k * (tokens * Math::row_bytes + warps_n * RowTiles * 128 * Bits);
  const std::size_t sums = warps_k * tokens * (rows + 4) * sizeof(float);
  return max_of(staged_stages<TokenTiles> * stage, sums);
}

template <class Math, int Bits, bool Sums, span_kind Span, bool Plain, int RowTiles, int TokenTiles, int Depth,
          class Out>
__global__ void __launch_bounds__(32 * staged_warps, TokenTiles <= 4 ? 2 : 1)
    staged_kernel(weights w, inputs x, Out out, std::uint32_t row_blocks, std::uint32_t warps_n,
                  std::uint32_t cluster) {
#if __CUDA_ARCH__ >= 800
  extern __shared__ float4 shared_memory[];
  constexpr int planes = Bits / 4, words = 2 * Math::steps;
  constexpr std::uint32_t tokens = 8 * TokenTiles, chunks = Math::row_bytes / 16, tile_size = 512 * planes;
  constexpr std::uint32_t ring = staged_stages<TokenTiles>;
  constexpr std::uint32_t depth = Depth;    // tiles along K that a warp takes from a stage
  const std::uint32_t warps_k = staged_warps / warps_n;
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_n = warp % warps_n,
                      warp_k = warp / warps_n;
  const std::uint32_t rank = blockIdx.x % cluster, block = blockIdx.x / cluster;
  const std::uint32_t block_tiles = warps_n * RowTiles, first_tile = block % row_blocks * block_tiles;
  const std::uint32_t row_tile = first_tile + warp_n * RowTiles, token0 = block / row_blocks * tokens;
  const std::uint32_t stage_tiles = warps_k * depth, x_bytes = stage_tiles * tokens * Math::row_bytes;
  const std::uint32_t stage_bytes = x_bytes + stage_tiles * block_tiles * tile_size;
  // Stages of this block: numbers rank, rank + cluster, ... of all.
  const std::uint32_t all_stages = (w.col_tiles + stage_tiles - 1) / stage_tiles;
  const std::uint32_t stages = (all_stages + cluster - 1 - rank) / cluster;
  const auto tile_of = [&](std::uint32_t stage) { return (stage * cluster + rank) * stage_tiles; };
  auto* const memory = reinterpret_cast<std::byte*>(shared_memory);

  // Thread i copies chunk i % chunks of some rows of X. Rows of W beyond the last stand for the last: their results are
  // not stored. What lies beyond X is zero: it would take the time of many threads that read one row.
  constexpr std::uint32_t pass = 32 * staged_warps / chunks;    // rows that all threads copy at once
  constexpr std::uint32_t k_step = pass > tokens ? pass / tokens : 1, repeats = pass > tokens ? 1 : tokens / pass;
  const std::uint32_t chunk = threadIdx.x % chunks, copied_row = threadIdx.x / chunks;
  const std::uint32_t copied_token = copied_row % tokens, copied_k = copied_row / tokens;
  const std::uint32_t x_place =
      copied_row * Math::row_bytes + 16 * (Math::is_integer ? chunk : chunk ^ ((copied_row & 1) << 2));
  const std::byte* const x_from = x.data + 16 * chunk;
  const std::byte* codes[RowTiles];
#pragma unroll
  for (int r = 0; r < RowTiles; ++r)
    codes[r] = w.codes + std::size_t{min(row_tile + r, w.row_tiles - 1)} * w.col_tiles * tile_size + 16 * lane;

  const auto fill = [&](std::uint32_t stage, std::uint32_t slot) {
    if (stage < stages) {
      std::byte* const to = memory + slot * stage_bytes;
      const std::uint32_t tile0 = tile_of(stage);
#pragma unroll 4
      for (std::uint32_t kk = copied_k; kk < stage_tiles; kk += k_step) {
        const std::uint32_t tile = tile0 + kk;
        const bool present = tile * 64 + (Math::is_integer ? 0 : 8 * chunk) < x.cols;
        const std::byte* const from = x_from + (present ? tile * Math::row_bytes : 0);
        std::byte* const at = to + x_place + (kk - copied_k) * tokens * Math::row_bytes;
#pragma unroll
        for (std::uint32_t i = 0; i < repeats; ++i) {
          const std::uint32_t row = token0 + copied_token + i * pass;
          copy_async(at + i * pass * Math::row_bytes, from + min(row, x.rows - 1) * x.row_bytes,
                     present && row < x.rows);
        }
      }
      std::byte* const at = to + x_bytes + warp * depth * RowTiles * tile_size + 16 * lane;
#pragma unroll
      for (std::uint32_t j = 0; j < depth; ++j) {
        const std::uint32_t tile = min(tile0 + warp_k * depth + j, w.col_tiles - 1);
#pragma unroll
        for (int r = 0; r < RowTiles; ++r)
#pragma unroll
          for (int p = 0; p < planes; ++p)
            copy_async(at + (j * RowTiles + r) * tile_size + 512 * p,
                       codes[r] + std::size_t{tile} * tile_size + 512 * p, true);
      }
    }
    commit_copies();
  };

  warp_product<Math, Bits, Sums, Span, Plain, RowTiles, TokenTiles> product(w);
  if (x.late) wait_for_work_ahead();
  let_next_begin();
#pragma unroll 1
  for (std::uint32_t s = 0; s + 1 < ring; ++s) fill(s, s);

  const number_source<Span, Plain, RowTiles> source(w, row_tile, lane);
  tile_numbers<Span> numbers[RowTiles], next[RowTiles];
  if (stages != 0) source.load(w, min(tile_of(0) + warp_k * depth, w.col_tiles - 1), lane, next);
  std::uint32_t slot = 0, filled = ring - 1;    // places in the ring: of the stage to multiply, of the one to fill
#pragma unroll 1
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    wait_copies<ring - 2>();
    __syncthreads();
    fill(stage + ring - 1, filled);
    const std::byte* const from = memory + slot * stage_bytes;
    filled = slot;
    slot = slot + 1 == ring ? 0 : slot + 1;
#pragma unroll 1
    for (std::uint32_t j = 0; j < depth; ++j) {
      const std::uint32_t tile = tile_of(stage) + warp_k * depth + j;
#pragma unroll
      for (int r = 0; r < RowTiles; ++r) numbers[r] = next[r];
      const std::uint32_t following = j + 1 < depth ? tile + 1 : tile_of(stage + 1) + warp_k * depth;
      source.load(w, min(following, w.col_tiles - 1), lane, next);
      if (tile >= w.col_tiles) break;
      uint4 raw[RowTiles][planes];
#pragma unroll
      for (int r = 0; r < RowTiles; ++r)
#pragma unroll
        for (int p = 0; p < planes; ++p)
          raw[r][p] = *reinterpret_cast<const uint4*>(from + x_bytes + ((warp * depth + j) * RowTiles + r) * tile_size +
                                                      512 * p + 16 * lane);
      const std::byte* const row = from + ((warp_k * depth + j) * tokens + lane / 4) * Math::row_bytes;
      const std::uint32_t t = lane % 4, swizzle = lane / 4 & 1;
      product.add_tile(w, x, raw, numbers, row_tile, tile, token0, lane,
                       [&](int n, int h, std::uint32_t(&to)[words / 2]) {
                         if constexpr (Math::is_integer) {
                           const auto* const at = row + 8 * n * Math::row_bytes + 16 * t + 8 * h;
                           const uint2 v = *reinterpret_cast<const uint2*>(at);
                           to[0] = v.x;
                           to[1] = v.y;
                         } else {
                           const auto* const at = row + 8 * n * Math::row_bytes + 16 * (t + 4 * (h ^ swizzle));
                           const uint4 v = *reinterpret_cast<const uint4*>(at);
                           to[0] = v.x;
                           to[1] = v.y;
                           to[2] = v.z;
                           to[3] = v.w;
                         }
                       });
    }
  }
  if (Math::is_integer && Span == span_kind::whole) product.end_whole(w, row_tile, lane);
  wait_copies<0>();
  __syncthreads();

  const std::uint32_t rows = 16 * block_tiles, part_size = tokens * (rows + 4);
  auto* const parts = reinterpret_cast<float*>(shared_memory);
  spill<RowTiles, TokenTiles>([&](int r, int n, int i) { return product.acc[r][n][i]; }, parts + warp_k * part_size,
                              rows + 4, warp_n * RowTiles * 16, lane);
#if __CUDA_ARCH__ >= 900
  if (cluster > 1) {
    arrive_in_cluster();
    wait_for_cluster();
    finish<Span, Math::is_integer>(
        [&](std::uint32_t p) { return in_block(parts + p % warps_k * part_size, p / warps_k); }, cluster * warps_k,
        rows, tokens / cluster * rank, tokens / cluster * (rank + 1), first_tile * 16, token0, w, x, out, threadIdx.x,
        blockDim.x);
    arrive_in_cluster();    // nobody leaves before all have read
    wait_for_cluster();
    return;
  }
#endif
  __syncthreads();
  finish<Span, Math::is_integer>([&](std::uint32_t p) { return static_cast<const float*>(parts + p * part_size); },
                                 warps_k, rows, 0, tokens, first_tile * 16, token0, w, x, out, threadIdx.x, blockDim.x);
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
