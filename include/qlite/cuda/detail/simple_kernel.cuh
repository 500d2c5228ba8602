// The product in plain code, one warp for an output: for GPUs without the instructions of the other kernels (sm_75),
// and as their readable twin. Lane i of a warp takes the runs of 8 k numbered i, i + 32, ...
#pragma once

#include <qlite/cuda/detail/epilogue.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

QLITE_DEVICE float add_lanes(float v) {
  for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(0xffffffffu, v, i);
  return v;
}
QLITE_DEVICE std::int32_t add_lanes(std::int32_t v) {
  for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(0xffffffffu, v, i);
  return v;
}

/// One number of a row, from its pair.
QLITE_DEVICE float number_at(const std::byte* numbers, std::size_t n, bool wide) {
  return wide ? reinterpret_cast<const float*>(numbers)[n] : __half2float(reinterpret_cast<const __half*>(numbers)[n]);
}

template <class Math, int Bits, bool Whole, class Out>
__global__ void __launch_bounds__(256) simple_kernel(weights w, inputs x, Out out) {
  const std::uint32_t lane = threadIdx.x % 32;
  const std::size_t count = std::size_t{out.rows} * out.columns, warps = std::size_t{gridDim.x} * blockDim.x / 32;
  const bool whole = Whole && Math::is_integer && w.cols <= 65536;    // an integer sum spans at most so many k
  for (std::size_t i = (std::size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32; i < count; i += warps) {
    const auto m = static_cast<std::uint32_t>(i / out.columns), n = static_cast<std::uint32_t>(i % out.columns);
    const std::byte* const xs = x.data + m * x.row_bytes;
    float acc = 0.0f;
    std::int32_t whole_sum = 0;
    for (std::uint32_t k = 8 * lane; k < w.cols; k += 256) {
      const std::size_t at = tile_number(n, w.group_of(k), w.groups);
      const std::byte* const tile = w.codes + (std::size_t{n / 16} * w.col_tiles + k / 64) * (128 * Bits);
      const std::uint32_t field = w.zeros == nullptr ? w.bias : w.zeros[at];
      const int zero = Bits == 4 ? static_cast<int>(field) : static_cast<std::int8_t>(field);
      float dot = 0.0f, total = 0.0f;
      std::int32_t integer_dot = 0, integer_total = 0;
      for (std::uint32_t j = 0; j < 8 && k + j < w.cols; ++j) {
        const code_place p = place_in_tile<Bits>(n % 16, (k + j) % 64);
        const auto byte = static_cast<std::uint32_t>(tile[p.byte]);
        const int code =
            (Bits == 4 ? static_cast<int>((byte >> (4 * p.nibble)) & 15u) : static_cast<std::int8_t>(byte));
        if constexpr (Math::is_integer) {
          const std::uint32_t kk = (k + j) % 64, low = kk % 4, swapped = low == 1 ? 2 : low == 2 ? 1 : low;
          const auto a = static_cast<std::int8_t>(
              xs[(k + j) / 64 * 64 + 16 * (kk / 8 % 4) + 8 * (kk / 32) + 4 * (kk / 4 % 2) + swapped]);
          integer_dot += (code - zero) * a;
          integer_total += a;
        } else {
          const float a = to_float(reinterpret_cast<const typename Math::element*>(xs)[k + j]);
          dot = __fmaf_rn(a, Math::number(code, zero), dot);
          total += a;
        }
      }
      if (whole) {
        whole_sum += integer_dot;
        continue;
      }
      float scale = number_at(w.scales, at, w.wide_scales);
      float offset = w.offsets == nullptr ? 0.0f : number_at(w.offsets, at, w.wide_offsets);
      if (Math::is_integer) {
        if (x.scale_groups > 1) {
          const float s = x.scales[std::size_t{m} * x.scale_groups + w.group_of(k)];
          scale = __fmul_rn(scale, s);
          offset = __fmul_rn(offset, s);
        }
        dot = static_cast<float>(integer_dot);
        total = static_cast<float>(integer_total);
      }
      acc = __fmaf_rn(dot, scale, acc);
      if (w.offsets != nullptr) acc = __fmaf_rn(offset, total, acc);
    }
    if (whole) {
      whole_sum = add_lanes(whole_sum);
      if (w.groups != 0)
        acc = __fmaf_rn(static_cast<float>(whole_sum), number_at(w.scales, tile_number(n, 0, 1), w.wide_scales), 0.0f);
    } else {
      acc = add_lanes(acc);
    }
    if (lane != 0) continue;
    if (Math::is_integer) acc = __fmaf_rn(acc, x.scale_groups == 1 ? x.scales[m] : 1.0f, 0.0f);
    out.data[m * out.stride + n] = out.value(acc, m, n);
  }
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
