// What happens to X before a product: a copy onto 16-byte boundaries where it does not lie on them, or its codes.
#pragma once

#include <qlite/core/bits.hpp>
#include <qlite/cuda/detail/element.cuh>
#include <qlite/cuda/detail/launch.cuh>
#include <qlite/cuda/detail/ptx.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// X [rows, cols] of 16-bit elements, rows `stride` apart, into rows of `to_cols` (a multiple of 8), padded with zeros.
template <class = void>    // shared by translation units
__global__ void __launch_bounds__(256) copy_rows(const unsigned short* x, std::size_t rows, std::size_t cols,
                                                 std::size_t stride, unsigned short* to, std::size_t to_cols) {
  let_next_begin();
  const std::size_t count = rows * to_cols, step = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const std::size_t r = i / to_cols, c = i % to_cols;
    to[i] = c < cols ? x[r * stride + c] : static_cast<unsigned short>(0);
  }
}

/// Codes of a row of X and their scale: gemm/activations.hpp has the formulas, and the bits are those of the CPU.
struct code_scale {
  float scale, inverse;    // inverse 0: all codes are 0
};
QLITE_DEVICE code_scale scale_for(std::uint32_t amax_bits) {
  if (amax_bits >= float_infinity_bits) return {__uint_as_float(float_quiet_nan_bits), 0.0f};
  const float amax = __uint_as_float(amax_bits), inverse = __fdiv_rn(127.0f, amax);
  if (amax_bits == 0 || __float_as_uint(inverse) >= float_infinity_bits) return {0.0f, 0.0f};
  return {__fdiv_rn(amax, 127.0f), inverse};
}
QLITE_DEVICE std::uint32_t code_of(float x, float inverse) {
  float product = __fmul_rn(x, inverse);
  product = product > 127.0f ? 127.0f : product < -127.0f ? -127.0f : product;
  return static_cast<std::uint32_t>(__float2int_rn(product)) & 0xffu;
}

/// Eight elements as they are in memory.
template <class T>
struct run_of {
  static constexpr int parts = sizeof(T) / 2;
  uint4 raw[parts];

  /// Those from column k on; zeros beyond `cols`.
  QLITE_DEVICE void load(const T* row, std::size_t k, std::size_t cols, bool vectors) {
    if (vectors && k + 8 <= cols) {
#pragma unroll
      for (int p = 0; p < parts; ++p) raw[p] = reinterpret_cast<const uint4*>(row + k)[p];
    } else {
      T e[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) e[i] = k + i < cols ? row[k + i] : from_float<T>(0.0f);
      memcpy(raw, e, sizeof raw);
    }
  }
  QLITE_DEVICE void floats(float (&v)[8]) const {
    T e[8];
    memcpy(e, raw, sizeof raw);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = to_float(e[i]);
  }
  /// The largest magnitude, as bits of a float.
  QLITE_DEVICE std::uint32_t largest() const {
    float v[8];
    floats(v);
    std::uint32_t most = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) most = max(most, __float_as_uint(v[i]) & 0x7fffffffu);
    return most;
  }
};

template <class T>
QLITE_DEVICE std::uint32_t largest_in(const T* row, std::size_t begin, std::size_t end, std::size_t lane,
                                      std::size_t lanes, bool vectors) {
  std::uint32_t most = 0;
  for (std::size_t k = begin + 8 * lane; k < end; k += 8 * lanes) {
    run_of<T> run;
    run.load(row, k, end, vectors);
    most = max(most, run.largest());
  }
  return most;
}

/// Writes the codes of eight elements from column k on, in the order that operands.cuh describes.
template <class T>
QLITE_DEVICE void write_run(const run_of<T>& run, std::size_t k, code_scale s, std::byte* codes) {
  uint2 word = make_uint2(0, 0);
  if (s.inverse != 0.0f) {
    float v[8];
    run.floats(v);
    word.x = code_of(v[0], s.inverse) | code_of(v[2], s.inverse) << 8 | code_of(v[1], s.inverse) << 16 |
             code_of(v[3], s.inverse) << 24;
    word.y = code_of(v[4], s.inverse) | code_of(v[6], s.inverse) << 8 | code_of(v[5], s.inverse) << 16 |
             code_of(v[7], s.inverse) << 24;
  }
  *reinterpret_cast<uint2*>(codes + k / 64 * 64 + 16 * (k / 8 % 4) + 8 * (k / 32 % 2)) = word;
}

/// Writes the codes of columns begin ... end, and zeros up to `padded`.
template <class T>
QLITE_DEVICE void write_codes(const T* row, std::size_t begin, std::size_t end, std::size_t padded, code_scale s,
                              std::size_t lane, std::size_t lanes, bool vectors, std::byte* codes) {
  for (std::size_t k = begin + 8 * lane; k < padded; k += 8 * lanes) {
    run_of<T> run;
    run.load(row, k, end, vectors);
    write_run(run, k, s, codes);
  }
}

/// Blocks of quantize_tokens that a multiprocessor is to hold at a time. sm_75 has no room for three of 512 threads.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define QLITE_CUDA_TOKEN_BLOCKS 2
#else
#define QLITE_CUDA_TOKEN_BLOCKS 3
#endif
template <class T, int Runs>
inline constexpr int token_blocks = Runs == 2        ? 1
                                    : sizeof(T) == 2 ? QLITE_CUDA_TOKEN_BLOCKS
                                                     : 2;

/// One scale per row: a block for each. A thread holds its first `Runs` runs of a row between looking for the largest
/// and writing the codes: they are read once, and all at a time. `fixed` is a scale known beforehand where its inverse
/// is not 0.
template <class T, int Runs>
__global__ void __launch_bounds__(Runs == 2 ? 1024 : 512, token_blocks<T, Runs>)
    quantize_tokens(const T* x, std::size_t rows, std::size_t cols, std::size_t stride, bool vectors, code_scale fixed,
                    std::byte* codes, std::size_t code_stride, float* scales) {
  let_next_begin();
  __shared__ std::uint32_t largest[32];
  const std::size_t step = 8 * std::size_t{blockDim.x}, first = 8 * std::size_t{threadIdx.x}, held = Runs * step;
  for (std::size_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T* const row = x + r * stride;
    std::byte* const to = codes + r * code_stride;
    run_of<T> run[Runs];
#pragma unroll
    for (int i = 0; i < Runs; ++i) run[i].load(row, first + i * step, cols, vectors);
    std::uint32_t most = held < cols ? largest_in(row, held, cols, threadIdx.x, blockDim.x, vectors) : 0u;
#pragma unroll
    for (int i = 0; i < Runs; ++i) most = max(most, run[i].largest());
    for (int i = 16; i > 0; i /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, i));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
    __syncthreads();
    for (unsigned i = 0; i < blockDim.x / 32; ++i) most = max(most, largest[i]);
    __syncthreads();
    const code_scale s = fixed.inverse == 0.0f || most >= float_infinity_bits ? scale_for(most) : fixed;
#pragma unroll
    for (int i = 0; i < Runs; ++i)
      if (first + i * step < code_stride) write_run(run[i], first + i * step, s, to);
    if (held < code_stride) write_codes(row, held, cols, code_stride, s, threadIdx.x, blockDim.x, vectors, to);
    if (threadIdx.x == 0) scales[r] = s.scale;
  }
}

template <class T>
inline cudaError_t launch_quantize_tokens(const T* x, std::size_t rows, std::size_t cols, std::size_t stride,
                                          bool vectors, code_scale fixed, std::byte* codes, std::size_t code_stride,
                                          float* scales, cudaStream_t stream) noexcept {
  // Few rows are spread over as many threads as can hold them; many rows go to smaller blocks, of which more share a
  // multiprocessor (as measured on an H100).
  const bool many = rows > 256, longer = many && cols > 4096;
  const std::size_t blocks = rows < 65536 ? rows : 65536;
  const std::size_t all = round_up(ceil_div(cols, longer ? 32 : 16), 32), least = 128;
  const std::size_t most = longer ? 512 : many ? 256 : 1024;
  const auto threads = static_cast<unsigned>(all < least ? least : all > most ? most : all);
  return launch(longer ? quantize_tokens<T, 4> : quantize_tokens<T, 2>, blocks, threads, 0, stream, x, rows, cols,
                stride, vectors, fixed, codes, code_stride, scales);
}

/// Runs of 8 that a thread of quantize_groups holds: the more, the fewer threads compute the same scale.
inline constexpr unsigned group_runs = 2;

/// Threads of a warp that share a group: as many as can hold it, a power of two.
inline unsigned group_lanes(std::size_t group) noexcept {
  unsigned lanes = 1;
  while (lanes < 32 && 8 * std::size_t{group_runs} * lanes < group) lanes *= 2;
  return lanes;
}

/// One scale per row and group: `lanes` threads for each, which hold their first runs in the meantime. Index: an
/// unsigned type that holds rows * groups (a division of 64 bits would take as long as the rest).
template <class T, class Index>
__global__ void __launch_bounds__(256)
    quantize_groups(const T* x, Index rows, std::size_t cols, std::size_t stride, bool vectors, std::size_t group,
                    Index groups, unsigned lanes, std::byte* codes, std::size_t code_stride, float* scales) {
  let_next_begin();
  const Index count = rows * groups, at_once = static_cast<Index>(gridDim.x) * (256 / lanes);
  const unsigned lane = threadIdx.x % lanes, in_warp = threadIdx.x % 32 / lanes;
  // All threads of a warp go round together; those beyond the last group repeat it and write nothing.
  const Index mine = static_cast<Index>(blockIdx.x) * (256 / lanes) + threadIdx.x / lanes - in_warp;
  for (Index base = mine; base < count; base += at_once) {
    const Index i = base + in_warp < count ? base + in_warp : count - 1;
    const Index r = i / groups, g = i - r * groups;
    const std::size_t begin = g * group, end = begin + group < cols ? begin + group : cols;
    const std::size_t first = begin + 8 * lane, step = 8 * lanes, held = begin + group_runs * step;
    const T* const row = x + r * stride;
    run_of<T> run[group_runs];
#pragma unroll
    for (unsigned n = 0; n < group_runs; ++n) run[n].load(row, first + n * step, end, vectors);
    std::uint32_t most = held < end ? largest_in(row, held, end, lane, lanes, vectors) : 0u;
#pragma unroll
    for (unsigned n = 0; n < group_runs; ++n) most = max(most, run[n].largest());
    for (unsigned s = lanes / 2; s > 0; s /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, s));
    if (base + in_warp >= count) continue;
    const code_scale s = scale_for(most);
    const std::size_t padded = g + 1 == groups ? code_stride : end;
    std::byte* const to = codes + r * code_stride;
#pragma unroll
    for (unsigned n = 0; n < group_runs; ++n)
      if (first + n * step < padded) write_run(run[n], first + n * step, s, to);
    if (held < padded) write_codes(row, held, end, padded, s, lane, lanes, vectors, to);
    if (lane == 0) scales[i] = s.scale;
  }
}

template <class T>
inline cudaError_t launch_quantize_groups(const T* x, std::size_t rows, std::size_t cols, std::size_t stride,
                                          bool vectors, std::size_t group, std::size_t groups, std::byte* codes,
                                          std::size_t code_stride, float* scales, cudaStream_t stream) noexcept {
  const unsigned lanes = group_lanes(group), blocks = blocks_for(lanes * rows * groups);
  if (rows <= 0x40000000u / groups)
    return launch(quantize_groups<T, std::uint32_t>, blocks, 256, 0, stream, x, static_cast<std::uint32_t>(rows), cols,
                  stride, vectors, group, static_cast<std::uint32_t>(groups), lanes, codes, code_stride, scales);
  return launch(quantize_groups<T, std::size_t>, blocks, 256, 0, stream, x, rows, cols, stride, vectors, group, groups,
                lanes, codes, code_stride, scales);
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
