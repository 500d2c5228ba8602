// Round to nearest on the device: the formulas of quantize/rtn.hpp, quantize/parameters.hpp and quantize/encode.hpp
// with the default rules, in IEEE operations whatever the flags, so that codes, scales, zero points and offsets are the
// bits of the host.
#pragma once

#include <qlite/cuda/detail/element.cuh>
#include <qlite/cuda/detail/layout.cuh>
#include <qlite/cuda/packed_view.cuh>
#include <qlite/quantize/group.hpp>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// The numbers of a group, as stored and as floats.
struct group_numbers {
  float scale, offset;
  int zero, fault;
};

template <class Real>
QLITE_DEVICE float as_stored(float x) {
  return to_float(from_float<Real>(x));
}

/// A scale in its stored type; the smallest positive number, with its sign, instead of 0.
template <class Scale>
QLITE_DEVICE float stored_scale(float scale, int& fault) {
  constexpr bool half = std::is_same_v<Scale, __half>;
  float s = as_stored<Scale>(scale);
  const std::uint32_t size = __float_as_uint(s) & 0x7fffffffu;
  if (size >= float_infinity_bits) fault |= static_cast<int>(fault_kind::scale_overflow);
  const float smallest = half ? 0x1p-24f : __uint_as_float(0x00800000u);
  if (__uint_as_float(size) < smallest) s = scale < 0.0f ? -smallest : smallest;
  return s;
}

template <class Scheme>
QLITE_DEVICE group_numbers fit(float low, float high, bool negative_first, bool finite) {
  using traits = scheme_traits<Scheme>;
  using scale_type = device_type<typename traits::scale>;
  group_numbers p{0.0f, 0.0f, 0, 0};
  if (!finite) p.fault = static_cast<int>(fault_kind::not_finite);
  if constexpr (traits::is_symmetric) {
    const float extreme = -low > high || negative_first ? low : high;
    p.scale = stored_scale<scale_type>(__fdiv_rn(extreme, -(static_cast<float>(traits::code_max) + 1.0f)), p.fault);
  } else {
    if (traits::has_zero_point) {
      low = low > 0.0f ? 0.0f : low;
      high = high < 0.0f ? 0.0f : high;
    }
    constexpr float steps = static_cast<float>((1 << traits::bits) - 1);
    const float range = __fsub_rn(high, low);
    const bool wide = (__float_as_uint(range) & 0x7fffffffu) >= float_infinity_bits;
    p.scale = stored_scale<scale_type>(
        wide ? __fsub_rn(__fdiv_rn(high, steps), __fdiv_rn(low, steps)) : __fdiv_rn(range, steps), p.fault);
    if constexpr (traits::has_zero_point) {
      constexpr auto most = static_cast<float>(traits::code_max - traits::code_min);
      float at = __fdiv_rn(low, p.scale);
      at = at > 0.0f ? 0.0f : at;
      at = at < -most ? -most : at;
      p.zero = traits::code_min - __float2int_rn(at);
    } else {
      const float below = __fmul_rn(static_cast<float>(-traits::code_min), p.scale);
      const float exact = __fadd_rn(low, traits::code_min != 0 ? below : 0.0f);
      p.offset = as_stored<device_type<typename traits::offset_type>>(exact);
      const bool overflow = (__float_as_uint(p.offset) & 0x7fffffffu) >= float_infinity_bits ||
                            (__float_as_uint(below) & 0x7fffffffu) >= float_infinity_bits;
      if (overflow) p.fault |= static_cast<int>(fault_kind::offset_overflow);
    }
  }
  return p;
}

/// The stored field of a weight.
template <class Scheme>
QLITE_DEVICE unsigned encode(float w, const group_numbers& p) {
  using traits = scheme_traits<Scheme>;
  float x = __fdiv_rn(traits::has_offset ? __fsub_rn(w, p.offset) : w, p.scale);
  const auto low = static_cast<float>(traits::code_min - p.zero), high = static_cast<float>(traits::code_max - p.zero);
  x = x < low ? low : x;
  x = x > high ? high : x;
  return static_cast<unsigned>(__float2int_rn(x) + p.zero + traits::stored_bias) & (traits::bits == 4 ? 15u : 255u);
}

/// The range of a group, over all threads of a block. `first` is the place of the first weight of largest magnitude.
struct range {
  float low, high;
  bool finite;
};

QLITE_DEVICE range merge(range a, range b) {
  return {b.low < a.low ? b.low : a.low, b.high > a.high ? b.high : a.high, a.finite && b.finite};
}

/// A block for two groups, one after the other: their int4 zero points share a byte.
template <class Scheme, class T>
__global__ void __launch_bounds__(1024)
    quantize_weights(const T* w, std::size_t rows, std::size_t cols, std::size_t stride, std::size_t group,
                     std::size_t groups, canonical_arrays<Scheme> out, std::size_t code_row_bytes,
                     std::size_t zero_row_bytes, std::int32_t* faults) {
  using traits = scheme_traits<Scheme>;
  using scale_type = device_type<typename traits::scale>;
  __shared__ range parts[32];
  __shared__ unsigned long long places[32];
  const std::size_t pairs = (groups + 1) / 2, group_rows = traits::one_scale ? rows : 1;
  const std::size_t count = (traits::one_scale ? 1 : rows) * pairs;
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (std::size_t item = blockIdx.x; item < count; item += gridDim.x) {
    const std::size_t r0 = item / pairs;
    unsigned zero_byte = 0;
    for (std::size_t g = item % pairs * 2; g < item % pairs * 2 + 2 && g < groups; ++g) {
      const std::size_t begin = g * group, length = (begin + group < cols ? begin + group : cols) - begin;
      const T* const from = w + r0 * stride + begin;
      const std::size_t weights = group_rows * length;
      const float start = to_float(from[0]);
      range all{start, start, true};
      for (std::size_t i = threadIdx.x; i < weights; i += blockDim.x) {
        const float x = to_float(from[i / length * stride + i % length]);
        all = merge(all, {x, x, (__float_as_uint(x) & 0x7fffffffu) < float_infinity_bits});
      }
      for (int s = 16; s > 0; s /= 2)
        all = merge(all, {__shfl_xor_sync(0xffffffffu, all.low, s), __shfl_xor_sync(0xffffffffu, all.high, s),
                          __shfl_xor_sync(0xffffffffu, all.finite ? 1 : 0, s) != 0});
      if (lane == 0) parts[warp] = all;
      __syncthreads();
      for (unsigned i = 0; i < warps; ++i) all = merge(all, parts[i]);
      __syncthreads();
      bool negative_first = false;
      if (traits::is_symmetric && all.high == -all.low && all.high > 0.0f) {    // uniform over the block
        unsigned long long first = ~0ull;                                       // twice the place, plus the sign
        for (std::size_t i = threadIdx.x; i < weights && first == ~0ull; i += blockDim.x) {
          const float x = to_float(from[i / length * stride + i % length]);
          if (fabsf(x) == all.high) first = 2 * static_cast<unsigned long long>(i) + (x < 0.0f ? 1 : 0);
        }
        for (int s = 16; s > 0; s /= 2) first = min(first, __shfl_xor_sync(0xffffffffu, first, s));
        if (lane == 0) places[warp] = first;
        __syncthreads();
        for (unsigned i = 0; i < warps; ++i) first = min(first, places[i]);
        __syncthreads();
        negative_first = first % 2 != 0;
      }
      const group_numbers p = fit<Scheme>(all.low, all.high, negative_first, all.finite);
      if (threadIdx.x == 0) {
        const std::size_t at = r0 * groups + g;
        reinterpret_cast<scale_type*>(out.scales)[at] = from_float<scale_type>(p.scale);
        if constexpr (traits::has_offset) {
          using offset_type = device_type<typename traits::offset_type>;
          reinterpret_cast<offset_type*>(out.offsets)[at] = from_float<offset_type>(p.offset);
        }
        if (p.fault != 0) atomicOr(faults, p.fault);
        if (traits::has_zero_point && traits::bits == 8)
          out.zeros[r0 * zero_row_bytes + g] = static_cast<std::uint8_t>(p.zero);
      }
      if (traits::bits == 4) zero_byte |= static_cast<unsigned>(p.zero & 15) << (4 * (g % 2));
      // Groups begin on a byte; the last of a row may end within one.
      const std::size_t row_bytes = traits::bits == 4 ? (length + 1) / 2 : length;
      for (std::size_t i = threadIdx.x; i < group_rows * row_bytes; i += blockDim.x) {
        const std::size_t r = i / row_bytes, b = i % row_bytes;
        unsigned value;
        if (traits::bits == 8) {
          value = encode<Scheme>(to_float(from[r * stride + b]), p);
        } else {
          value = encode<Scheme>(to_float(from[r * stride + 2 * b]), p);
          if (2 * b + 1 < length) value |= encode<Scheme>(to_float(from[r * stride + 2 * b + 1]), p) << 4;
        }
        out.codes[(r0 + r) * code_row_bytes + begin * traits::bits / 8 + b] = static_cast<std::uint8_t>(value);
      }
    }
    if (traits::has_zero_point && traits::bits == 4 && threadIdx.x == 0)
      out.zeros[r0 * zero_row_bytes + item % pairs] = static_cast<std::uint8_t>(zero_byte);
  }
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
