// What a decoder needs besides products, as plain kernels: norms, rotary embeddings, attention, the gate of float16
// layers, the likeliest token. Rows are tokens; they may belong to different texts.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/decoder.hpp"

namespace llm {
namespace gpu {

/// Sizes of attention. Keys and values of a layer: [texts][kv_heads][capacity][head_dim] of float16.
struct attention_shape {
  std::uint32_t heads, kv_heads, head_dim, capacity;
  bool adjacent;    // rope_pairs::adjacent

  __host__ __device__ std::uint32_t query_width() const { return heads * head_dim; }
  __host__ __device__ std::uint32_t row_width() const { return (heads + 2 * kv_heads) * head_dim; }
  __device__ std::size_t cache_at(place p, std::uint32_t kv_head) const {
    return ((std::size_t{p.text} * kv_heads + kv_head) * capacity + p.position) * head_dim;
  }
};

inline __device__ float sum_of_warp(float x) {
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
  return x;
}

/// x / sqrt(mean(x^2) + epsilon) * weight; x and out [rows, width], a block of 1024 threads for a row.
static __global__ void __launch_bounds__(1024)
    normalize_rows(const float* x, const float* weight, float epsilon, std::uint32_t width, __half* out) {
  __shared__ float parts[32];
  const float* const row = x + std::size_t{blockIdx.x} * width;
  float squares = 0;
  for (std::uint32_t i = threadIdx.x; i < width; i += blockDim.x) squares += row[i] * row[i];
  squares = sum_of_warp(squares);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = squares;
  __syncthreads();
  float sum = 0;
  for (const float part : parts) sum += part;
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(width) + epsilon);
  for (std::uint32_t i = threadIdx.x; i < width; i += blockDim.x)
    out[std::size_t{blockIdx.x} * width + i] = __float2half(row[i] * scale * weight[i]);
}

/// Turns the queries and keys of a row to its position, and stores its key and value. qkv [rows, row_width], turns
/// [capacity, head_dim / 2]: cosine and sine. Grid: (heads of queries, then keys, then values; rows).
static __global__ void __launch_bounds__(128) turn_and_store(__half* qkv, const place* places, const float2* turns,
                                                             attention_shape s, __half* keys, __half* values) {
  const place p = places[blockIdx.y];
  const std::uint32_t head = blockIdx.x, half = s.head_dim / 2;
  __half* const from = qkv + std::size_t{blockIdx.y} * s.row_width() + head * s.head_dim;
  if (head >= s.heads + s.kv_heads) {
    __half* const to = values + s.cache_at(p, head - s.heads - s.kv_heads);
    for (std::uint32_t i = threadIdx.x; i < s.head_dim; i += blockDim.x) to[i] = from[i];
    return;
  }
  __half* const to = head < s.heads ? from : keys + s.cache_at(p, head - s.heads);
  for (std::uint32_t pair = threadIdx.x; pair < half; pair += blockDim.x) {
    const std::uint32_t first = s.adjacent ? 2 * pair : pair, second = s.adjacent ? 2 * pair + 1 : pair + half;
    const float2 turn = turns[std::size_t{p.position} * half + pair];
    const float a = __half2float(from[first]), b = __half2float(from[second]);
    to[first] = __float2half(a * turn.x - b * turn.y);
    to[second] = __float2half(a * turn.y + b * turn.x);
  }
}

constexpr unsigned attention_warps = 8;

/// softmax(q K^T / sqrt(head_dim)) V of one head of a row, which sees its own position and those before it. A lane
/// holds D elements of a head (32 D >= head_dim); a warp takes every eighth run of eight positions and keeps its own
/// maximum and sum (Milakov and Gimelshein, 2018), which are joined at the end. Grid: (heads, rows).
template <int D>
static __global__ void __launch_bounds__(32 * attention_warps)
    attend(const __half* qkv, const place* places, attention_shape s, const __half* keys, const __half* values,
           __half* out) {
  constexpr unsigned run = 8;
  constexpr float lowest = -3.0e38f;
  __shared__ float parts[attention_warps][32 * D], maxima[attention_warps], sums[attention_warps];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x;
  const place p = places[blockIdx.y];
  const bool whole = s.head_dim == 32 * D;
  const auto load = [&](const __half* from, float(&to)[D]) {
    if (whole) {
      struct alignas(2 * D) run_of_halves {
        __half v[D];
      };
      const run_of_halves r = *reinterpret_cast<const run_of_halves*>(from + lane * D);
#pragma unroll
      for (int i = 0; i < D; ++i) to[i] = __half2float(r.v[i]);
    } else {
#pragma unroll
      for (int i = 0; i < D; ++i) to[i] = lane * D + i < s.head_dim ? __half2float(from[lane * D + i]) : 0.0f;
    }
  };
  float q[D], acc[D] = {}, maximum = lowest, sum = 0;
  load(qkv + std::size_t{blockIdx.y} * s.row_width() + head * s.head_dim, q);
  const float scale = 1.0f / sqrtf(static_cast<float>(s.head_dim));
  const std::size_t cached = s.cache_at({p.text, 0}, head / (s.heads / s.kv_heads));
  for (unsigned first = warp * run; first <= p.position; first += attention_warps * run) {
    float score[run], value[run][D];
#pragma unroll
    for (unsigned i = 0; i < run; ++i) {    // positions that are not there stand for the last, with no weight
      const std::size_t at = cached + std::size_t{min(first + i, p.position)} * s.head_dim;
      float key[D];
      load(keys + at, key);
      load(values + at, value[i]);
      score[i] = 0;
#pragma unroll
      for (int d = 0; d < D; ++d) score[i] += q[d] * key[d];
    }
    float higher = maximum;
#pragma unroll
    for (unsigned i = 0; i < run; ++i) {
      score[i] = first + i <= p.position ? sum_of_warp(score[i]) * scale : lowest;
      higher = fmaxf(higher, score[i]);
    }
    const float before = __expf(maximum - higher);
    sum *= before;
#pragma unroll
    for (int d = 0; d < D; ++d) acc[d] *= before;
#pragma unroll
    for (unsigned i = 0; i < run; ++i) {
      const float weight = __expf(score[i] - higher);
      sum += weight;
#pragma unroll
      for (int d = 0; d < D; ++d) acc[d] += weight * value[i][d];
    }
    maximum = higher;
  }
#pragma unroll
  for (int d = 0; d < D; ++d) parts[warp][lane * D + d] = acc[d];
  if (lane == 0) {
    maxima[warp] = maximum;
    sums[warp] = sum;
  }
  __syncthreads();
  float highest = lowest, total = 0;
  for (const float m : maxima) highest = fmaxf(highest, m);
  for (unsigned w = 0; w < attention_warps; ++w) total += sums[w] * __expf(maxima[w] - highest);
  for (std::uint32_t d = threadIdx.x; d < s.head_dim; d += blockDim.x) {
    float mixed = 0;
    for (unsigned w = 0; w < attention_warps; ++w) mixed += parts[w][d] * __expf(maxima[w] - highest);
    out[std::size_t{blockIdx.y} * s.query_width() + head * s.head_dim + d] = __float2half(mixed / total);
  }
}

/// gate = silu(gate) * up (Shazeer, 2020), for layers that cannot do it as they store.
static __global__ void __launch_bounds__(256) silu_multiply(__half* gate, const __half* up, std::size_t count) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const float g = __half2float(gate[i]);
    gate[i] = __float2half(g / (1.0f + __expf(-g)) * __half2float(up[i]));
  }
}

/// The index of the first of the largest logits, [rows, count]; a block of 1024 threads for a row.
static __global__ void __launch_bounds__(1024)
    find_likeliest(const float* logits, std::uint32_t count, std::int32_t* tokens) {
  __shared__ unsigned long long best[32];
  const float* const row = logits + std::size_t{blockIdx.x} * count;
  // Larger numbers for larger logits, and among equals for smaller indices.
  const auto rank = [](float x, std::uint32_t i) {
    const std::uint32_t bits = __float_as_uint(x), ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<unsigned long long>(ordered) << 32 | ~i;
  };
  unsigned long long mine = 0;
  for (std::uint32_t i = threadIdx.x; i < count; i += blockDim.x) mine = max(mine, rank(row[i], i));
  for (int i = 16; i > 0; i /= 2) mine = max(mine, __shfl_xor_sync(0xffffffffu, mine, i));
  if (threadIdx.x % 32 == 0) best[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (const unsigned long long other : best) mine = max(mine, other);
  tokens[blockIdx.x] = static_cast<std::int32_t>(~static_cast<std::uint32_t>(mine));
}

}    // namespace gpu
}    // namespace llm
