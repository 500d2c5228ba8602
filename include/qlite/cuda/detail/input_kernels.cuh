// What happens to X before a product: a copy onto 16-byte boundaries where it does not lie on them, or its codes.
#pragma once

#include <qlite/cuda/detail/element.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// X [rows, cols] of 16-bit elements, rows `stride` apart, into rows of `to_cols` (a multiple of 8), padded with zeros.
template <class = void>    // shared by translation units
__global__ void __launch_bounds__(256) copy_rows(const unsigned short* x, std::size_t rows, std::size_t cols,
                                                 std::size_t stride, unsigned short* to, std::size_t to_cols) {
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

/// Eight elements of a row from column k on; zeros beyond `cols`.
template <class T>
QLITE_DEVICE void load_run(const T* row, std::size_t k, std::size_t cols, bool vectors, float (&v)[8]) {
  if (vectors && k + 8 <= cols) {
    struct alignas(16) part {
      T e[16 / sizeof(T)];
    };
    constexpr int in_part = static_cast<int>(16 / sizeof(T));
#pragma unroll
    for (int p = 0; p < 8 / in_part; ++p) {
      const part q = reinterpret_cast<const part*>(row + k)[p];
#pragma unroll
      for (int i = 0; i < in_part; ++i) v[p * in_part + i] = to_float(q.e[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = k + i < cols ? to_float(row[k + i]) : 0.0f;
  }
}

template <class T>
QLITE_DEVICE std::uint32_t largest_in(const T* row, std::size_t begin, std::size_t end, std::size_t lane,
                                      std::size_t lanes, bool vectors) {
  std::uint32_t most = 0;
  for (std::size_t k = begin + 8 * lane; k < end; k += 8 * lanes) {
    float v[8];
    load_run(row, k, end, vectors, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) most = max(most, __float_as_uint(v[i]) & 0x7fffffffu);
  }
  return most;
}

/// Writes the codes of columns begin ... end, and zeros up to `padded`, in the order that operands.cuh describes.
template <class T>
QLITE_DEVICE void write_codes(const T* row, std::size_t begin, std::size_t end, std::size_t padded, code_scale s,
                              std::size_t lane, std::size_t lanes, bool vectors, std::byte* codes) {
  for (std::size_t k = begin + 8 * lane; k < padded; k += 8 * lanes) {
    uint2 word = make_uint2(0, 0);
    if (s.inverse != 0.0f && k < end) {
      float v[8];
      load_run(row, k, end, vectors, v);
      word.x = code_of(v[0], s.inverse) | code_of(v[2], s.inverse) << 8 | code_of(v[1], s.inverse) << 16 |
               code_of(v[3], s.inverse) << 24;
      word.y = code_of(v[4], s.inverse) | code_of(v[6], s.inverse) << 8 | code_of(v[5], s.inverse) << 16 |
               code_of(v[7], s.inverse) << 24;
    }
    *reinterpret_cast<uint2*>(codes + k / 64 * 64 + 16 * (k / 8 % 4) + 8 * (k / 32 % 2)) = word;
  }
}

/// One scale per row: a block for each. `fixed` is a scale known beforehand where its inverse is not 0.
template <class T>
__global__ void __launch_bounds__(256)
    quantize_tokens(const T* x, std::size_t rows, std::size_t cols, std::size_t stride, bool vectors, code_scale fixed,
                    std::byte* codes, std::size_t code_stride, float* scales) {
  __shared__ std::uint32_t largest[8];
  for (std::size_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T* const row = x + r * stride;
    std::uint32_t most = largest_in(row, 0, cols, threadIdx.x, 256, vectors);
    for (int i = 16; i > 0; i /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, i));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
    __syncthreads();
    for (int i = 0; i < 8; ++i) most = max(most, largest[i]);
    __syncthreads();
    const code_scale s = fixed.inverse == 0.0f || most >= float_infinity_bits ? scale_for(most) : fixed;
    write_codes(row, 0, cols, code_stride, s, threadIdx.x, 256, vectors, codes + r * code_stride);
    if (threadIdx.x == 0) scales[r] = s.scale;
  }
}

/// One scale per row and group: a warp for each.
template <class T>
__global__ void __launch_bounds__(256)
    quantize_groups(const T* x, std::size_t rows, std::size_t cols, std::size_t stride, bool vectors, std::size_t group,
                    std::size_t groups, std::byte* codes, std::size_t code_stride, float* scales) {
  const std::size_t lane = threadIdx.x % 32, warps = std::size_t{gridDim.x} * 8, count = rows * groups;
  for (std::size_t i = std::size_t{blockIdx.x} * 8 + threadIdx.x / 32; i < count; i += warps) {
    const std::size_t r = i / groups, g = i % groups, begin = g * group;
    const std::size_t end = begin + group < cols ? begin + group : cols;
    const T* const row = x + r * stride;
    std::uint32_t most = largest_in(row, begin, end, lane, 32, vectors);
    for (int s = 16; s > 0; s /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, s));
    const code_scale s = scale_for(most);
    write_codes(row, begin, end, g + 1 == groups ? code_stride : end, s, lane, 32, vectors, codes + r * code_stride);
    if (lane == 0) scales[i] = s.scale;
  }
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
