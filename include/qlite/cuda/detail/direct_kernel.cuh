// Products with few tokens: limited by reading W once.
//
// A block computes RowTiles x 16 rows for TokenTiles x 8 tokens. Its warps share K: warp i takes tiles i, i + warps,
// ... Codes come from global memory straight into the registers where they are multiplied, `Depth` tiles ahead; no
// shared memory is filled and no barrier waited for until the end, where the warps' sums are added in order.
//
//   K      | tile 0 | tile 1 | ... | tile W-1 | tile W | ...
//   warp     0        1              W - 1      0
//
// The order of all sums depends on K and the number of warps alone: not on the number of tokens, nor on timing.
// The structure is that of tinygemm (PyTorch's int4mm.cu) with the fragment-major tiles of Marlin.
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

template <class Math, int Bits, bool Sums, span_kind Span, bool Plain, int RowTiles, int TokenTiles, int Depth,
          class Out>
__global__ void __launch_bounds__(512, RowTiles* TokenTiles == 1 && Span != span_kind::run ? 2 : 1)
    direct_kernel(weights w, inputs x, Out out, std::uint32_t row_blocks) {
#if __CUDA_ARCH__ >= 800
  extern __shared__ float4 shared_memory[];
  constexpr int planes = Bits / 4, words = 2 * Math::steps;
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const std::uint32_t row_tile = blockIdx.x % row_blocks * RowTiles, token0 = blockIdx.x / row_blocks * TokenTiles * 8;

  constexpr std::uint32_t tile_size = 512 * planes;
  warp_product<Math, Bits, Sums, Span, Plain, RowTiles, TokenTiles> product(w);
  if (warp < w.col_tiles) {
    // Rows of W and of X beyond the last stand for the last: their results are not stored.
    const number_source<Span, Plain, RowTiles> source(w, row_tile, lane);
    const std::byte* codes[RowTiles];    // of the next tile to load
#pragma unroll
    for (int r = 0; r < RowTiles; ++r)
      codes[r] =
          w.codes + (std::size_t{min(row_tile + r, w.row_tiles - 1)} * w.col_tiles + warp) * tile_size + 16 * lane;
    const std::byte* inputs_at[TokenTiles];    // of the next tile to multiply
#pragma unroll
    for (int n = 0; n < TokenTiles; ++n)
      inputs_at[n] = x.data + std::size_t{min(token0 + 8 * n + lane / 4, x.rows - 1)} * x.row_bytes +
                     warp * Math::row_bytes + 16 * (lane % 4);

    uint4 raw[Depth][RowTiles][planes];
    const auto load_codes = [&](uint4(&to)[RowTiles][planes], std::uint32_t tile) {
#pragma unroll
      for (int r = 0; r < RowTiles; ++r) {
        if (tile < w.col_tiles) {
#pragma unroll
          for (int p = 0; p < planes; ++p) to[r][p] = load_once(codes[r] + 512 * p);
        }
        codes[r] += warps * tile_size;
      }
    };
    const auto load_inputs = [&](std::uint32_t(&to)[TokenTiles][words], std::uint32_t tile) {
#pragma unroll
      for (int n = 0; n < TokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < words / 4; ++i) {    // 16 bytes: halves of a tile, or a whole one of bytes
          uint4 v = make_uint4(0, 0, 0, 0);
          if (Math::is_integer || tile * 64 + 32 * i + 8 * (lane % 4) < x.cols)
            v = __ldg(reinterpret_cast<const uint4*>(inputs_at[n] + 64 * i));
          to[n][4 * i] = v.x;
          to[n][4 * i + 1] = v.y;
          to[n][4 * i + 2] = v.z;
          to[n][4 * i + 3] = v.w;
        }
        inputs_at[n] += warps * Math::row_bytes;
      }
    };

    tile_numbers<Span> numbers[Depth][RowTiles];
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      load_codes(raw[d], warp + d * warps);
      if (warp + d * warps < w.col_tiles) source.load(w, warp + d * warps, lane, numbers[d]);
    }
    if (x.late) wait_for_work_ahead();    // X may come from there; W does not
    let_next_begin();
    for (std::uint32_t first = warp; first < w.col_tiles; first += Depth * warps) {
#pragma unroll
      for (int d = 0; d < Depth; ++d) {
        const std::uint32_t tile = first + d * warps, next = tile + Depth * warps;
        if (tile >= w.col_tiles) break;
        std::uint32_t b[TokenTiles][words];
        load_inputs(b, tile);
        product.add_tile(w, x, raw[d], numbers[d], row_tile, tile, token0, lane,
                         [&](int n, int h, std::uint32_t(&to)[words / 2]) {
#pragma unroll
                           for (int i = 0; i < words / 2; ++i) to[i] = b[n][words / 2 * h + i];
                         });
        load_codes(raw[d], next);
        if (next < w.col_tiles) source.load(w, next, lane, numbers[d]);
      }
    }
  }
  if (x.late) wait_for_work_ahead();    // warps without a tile too
  if (Math::is_integer && Span == span_kind::whole) product.end_whole(w, row_tile, lane);

  constexpr std::uint32_t rows = 16 * RowTiles, tokens = 8 * TokenTiles;
  auto* const parts = reinterpret_cast<float*>(shared_memory);
  spill<RowTiles, TokenTiles>([&](int r, int n, int i) { return product.acc[r][n][i]; },
                              parts + warp * tokens * (rows + 4), rows + 4, 0, lane);
  __syncthreads();
  finish<Span, Math::is_integer>(
      [&](std::uint32_t p) { return static_cast<const float*>(parts + p * tokens * (rows + 4)); }, warps, rows, 0,
      tokens, row_tile * 16, token0, w, x, out, threadIdx.x, blockDim.x);
#endif
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
