// Products with more tokens: X is staged in shared memory, where the warps of a block share it.
//
// A block has 8 warps, warps_n along the rows of W and warps_k along K (warps_n * warps_k = 8), and computes
// warps_n x RowTiles x 16 rows for TokenTiles x 8 tokens. A stage holds warps_k tiles of 64 k: of X, which all warps of
// the same k read, and of W, which each warp reads for itself, in fragment order. Stages are filled by cp.async, four
// in a ring, so that three are always under way.
//
//   stage    X   [warps_k] [tokens] 8 chunks of 16 bytes (int8: 4), chunk c of token m at c ^ 4 (m & 1)
//            W   [warps_k] [warps_n * RowTiles] tiles
//
// The exclusive or lets the eight lanes that a shared-memory access serves at once, two tokens by four chunks, meet all
// banks. Sums of warps with different k are added in order at the end, as in direct_kernel.cuh.
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

inline constexpr int staged_stages = 4, staged_warps = 8;

/// Bytes of shared memory of a block.
template <class Math, int Bits, int RowTiles, int TokenTiles>
QLITE_INLINE std::size_t staged_bytes(std::uint32_t warps_n) noexcept {
  const std::size_t warps_k = staged_warps / warps_n, rows = warps_n * RowTiles * 16, tokens = TokenTiles * 8;
  const std::size_t stage = warps_k * (tokens * Math::row_bytes + warps_n * RowTiles * 128 * Bits);
  const std::size_t sums = warps_k * tokens * (rows + 4) * sizeof(float);
  return max_of(staged_stages * stage, sums);
}

template <class Math, int Bits, bool Sums, bool Run, int RowTiles, int TokenTiles, class Out>
__global__ void __launch_bounds__(32 * staged_warps, TokenTiles <= 4 ? 2 : 1)
    staged_kernel(weights w, inputs x, Out out, span_kind kind, std::uint32_t row_blocks, std::uint32_t warps_n) {
#if __CUDA_ARCH__ >= 800
  extern __shared__ float4 shared_memory[];
  constexpr int planes = Bits / 4, words = 2 * Math::steps;
  constexpr std::uint32_t tokens = 8 * TokenTiles, chunks = Math::row_bytes / 16, tile_size = 512 * planes;
  const std::uint32_t warps_k = staged_warps / warps_n;
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_n = warp % warps_n,
                      warp_k = warp / warps_n;
  const std::uint32_t block_tiles = warps_n * RowTiles, first_tile = blockIdx.x % row_blocks * block_tiles;
  const std::uint32_t row_tile = first_tile + warp_n * RowTiles, token0 = blockIdx.x / row_blocks * tokens;
  const std::uint32_t x_bytes = warps_k * tokens * Math::row_bytes;
  const std::uint32_t stage_bytes = x_bytes + warps_k * block_tiles * tile_size;
  const std::uint32_t stages = (w.col_tiles + warps_k - 1) / warps_k;
  auto* const memory = reinterpret_cast<std::byte*>(shared_memory);

  // Thread i copies chunk i % chunks of some rows of X. Rows of W and of X beyond the last stand for the last: their
  // results are not stored. What lies beyond K is zero in X.
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

  const auto fill = [&](std::uint32_t stage) {
    if (stage < stages) {
      std::byte* const to = memory + stage % staged_stages * stage_bytes;
      for (std::uint32_t kk = copied_k; kk < warps_k; kk += k_step) {
        const std::uint32_t tile = stage * warps_k + kk;
        const bool present = tile * 64 + (Math::is_integer ? 0 : 8 * chunk) < x.cols;
        const std::byte* const from = x_from + (present ? tile * Math::row_bytes : 0);
        std::byte* const at = to + x_place + (kk - copied_k) * tokens * Math::row_bytes;
#pragma unroll
        for (std::uint32_t i = 0; i < repeats; ++i)
          copy_async(at + i * pass * Math::row_bytes,
                     from + min(token0 + copied_token + i * pass, x.rows - 1) * x.row_bytes, present);
      }
      const std::uint32_t tile = min(stage * warps_k + warp_k, w.col_tiles - 1);
      std::byte* const at = to + x_bytes + warp * RowTiles * tile_size + 16 * lane;
#pragma unroll
      for (int r = 0; r < RowTiles; ++r)
#pragma unroll
        for (int p = 0; p < planes; ++p)
          copy_async(at + r * tile_size + 512 * p, codes[r] + std::size_t{tile} * tile_size + 512 * p, true);
    }
    commit_copies();
  };

  warp_product<Math, Bits, Sums, Run, RowTiles, TokenTiles> product;
  product.clear();
#pragma unroll 1
  for (std::uint32_t s = 0; s + 1 < staged_stages; ++s) fill(s);

  const number_source<Run, RowTiles> source(w, row_tile, lane);
  tile_numbers<Run> numbers[RowTiles], next[RowTiles];
  if (stages != 0) source.load(w, min(warp_k, w.col_tiles - 1), lane, next);
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    wait_copies<staged_stages - 2>();
    __syncthreads();
    fill(stage + staged_stages - 1);
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) numbers[r] = next[r];
    source.load(w, min((stage + 1) * warps_k + warp_k, w.col_tiles - 1), lane, next);
    const std::uint32_t tile = stage * warps_k + warp_k;
    if (tile >= w.col_tiles) continue;
    const std::byte* const from = memory + stage % staged_stages * stage_bytes;
    uint4 raw[RowTiles][planes];
#pragma unroll
    for (int r = 0; r < RowTiles; ++r)
#pragma unroll
      for (int p = 0; p < planes; ++p)
        raw[r][p] =
            *reinterpret_cast<const uint4*>(from + x_bytes + (warp * RowTiles + r) * tile_size + 512 * p + 16 * lane);
    const std::byte* const row = from + (warp_k * tokens + lane / 4) * Math::row_bytes;
    const std::uint32_t t = lane % 4, swizzle = lane / 4 & 1;
    product.add_tile(w, x, kind, raw, numbers, row_tile, tile, token0, lane, [&](int n, std::uint32_t(&to)[words]) {
#pragma unroll
      for (int i = 0; i < words / 4; ++i) {
        const std::uint32_t place = Math::is_integer ? t : t + 4 * (i ^ swizzle);
        const uint4 v = *reinterpret_cast<const uint4*>(row + 8 * n * Math::row_bytes + 16 * place);
        to[4 * i] = v.x;
        to[4 * i + 1] = v.y;
        to[4 * i + 2] = v.z;
        to[4 * i + 3] = v.w;
      }
    });
  }
  if (Math::is_integer && kind == span_kind::whole) product.end_whole(w, row_tile, lane);
  wait_copies<0>();
  __syncthreads();

  const std::uint32_t rows = 16 * block_tiles;
  auto* const parts = reinterpret_cast<float*>(shared_memory);
  spill<RowTiles, TokenTiles>(product, parts + warp_k * tokens * (rows + 4), rows + 4, warp_n * RowTiles * 16, lane);
  __syncthreads();
  finish<Math::is_integer>(parts, warps_k, rows, tokens, first_tile * 16, token0, w, x, kind, out);
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
