// The micro-kernels of the engine's own float arithmetic: products of a few rows of A with a panel of B.
//
// A panel is `panel` columns of B, one k after another:
//
//     float      k = 0: c0 c1 ... c31   k = 1: c0 c1 ... c31   ...
//     bfloat16   k = 0, 1: c0 c0' c1 c1' ... c31 c31'   k = 2, 3: ...       (c: even k, c': odd k)
//
// (32 columns where vectors have 16 lanes.) The pairs of bfloat16 are what vdpbf16ps multiplies; without that
// instruction a shift and a mask make two float vectors of them.
#pragma once

#include <cstdint>
#include <cstring>
#include <qlite/core/half.hpp>
#include <xsimd/xsimd.hpp>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace llm {

using vec = xsimd::batch<float>;
inline constexpr std::size_t lanes = vec::size;
inline constexpr std::size_t panel = 2 * lanes;

/// Rows of A that a micro-kernel multiplies at once: 24 sums of the 32 registers of AVX-512 and NEON, 8 of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr std::size_t tile_rows = 12;
#else
inline constexpr std::size_t tile_rows = 4;
#endif

/// Whether bfloat16 matrices are multiplied by bfloat16 activations (sums in float) or by float ones.
#if defined(__AVX512BF16__)
inline constexpr bool has_bf16_dot = true;
#else
inline constexpr bool has_bf16_dot = false;
#endif

template <std::size_t R>
struct tile_sums {
  vec v[R][2];
  tile_sums() {
    for (auto& row : v) row[0] = row[1] = vec(0.0f);
  }
};

inline vec load(const float* p) { return vec::load_unaligned(p); }

/// sums += A * B over k; A's element (r, k) is a[r * a_row + k * a_k], B is a float panel with `b_k` floats from one k
/// to the next.
template <std::size_t R>
inline void multiply_add(tile_sums<R>& sums, const float* a, std::size_t a_row, std::size_t a_k, const float* b,
                         std::size_t b_k, std::size_t k_end) {
  for (std::size_t k = 0; k < k_end; ++k) {
    const vec b0 = load(b + k * b_k);
    const vec b1 = load(b + k * b_k + lanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      const vec x(a[r * a_row + k * a_k]);
      sums.v[r][0] = xsimd::fma(x, b0, sums.v[r][0]);
      sums.v[r][1] = xsimd::fma(x, b1, sums.v[r][1]);
    }
  }
}

#if defined(__AVX512BF16__)

/// The same for a bfloat16 panel of `pairs` pairs of k; a[pair][R] holds two bfloat16 each.
template <std::size_t R>
inline void multiply_add(tile_sums<R>& sums, const std::uint32_t* a, const qlite::bfloat16* b, std::size_t pairs) {
  const auto load_pairs = [](const void* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); };
  for (std::size_t k = 0; k < pairs; ++k) {
    const __m512bh b0 = load_pairs(b + k * 2 * panel);
    const __m512bh b1 = load_pairs(b + k * 2 * panel + 2 * lanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a[k * R + r])));
      sums.v[r][0] = _mm512_dpbf16_ps(sums.v[r][0], x, b0);
      sums.v[r][1] = _mm512_dpbf16_ps(sums.v[r][1], x, b1);
    }
  }
}

#else

/// The same for a bfloat16 panel of `pairs` pairs of k, decoded in registers; a[2 * pair + (0, 1)][R] holds floats.
template <std::size_t R>
inline void multiply_add(tile_sums<R>& sums, const float* a, const qlite::bfloat16* b, std::size_t pairs) {
  using words = xsimd::batch<std::uint32_t>;
  const auto load_words = [](const void* p) {
    words w;
    std::memcpy(&w, p, sizeof w);
    return w;
  };
  const auto as_float = [](words w) {
    vec v;
    std::memcpy(&v, &w, sizeof v);
    return v;
  };
  for (std::size_t k = 0; k < pairs; ++k) {
    const words w0 = load_words(b + k * 2 * panel);
    const words w1 = load_words(b + k * 2 * panel + 2 * lanes);
    const words high(0xffff0000u);
    const vec even0 = as_float(w0 << 16);
    const vec even1 = as_float(w1 << 16);
    const vec odd0 = as_float(w0 & high);
    const vec odd1 = as_float(w1 & high);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      const vec even(a[2 * k * R + r]);
      const vec odd(a[(2 * k + 1) * R + r]);
      sums.v[r][0] = xsimd::fma(even, even0, sums.v[r][0]);
      sums.v[r][1] = xsimd::fma(even, even1, sums.v[r][1]);
      sums.v[r][0] = xsimd::fma(odd, odd0, sums.v[r][0]);
      sums.v[r][1] = xsimd::fma(odd, odd1, sums.v[r][1]);
    }
  }
}

#endif

/// Calls f(std::integral_constant<std::size_t, rows>) for a number of rows from 1 to tile_rows.
template <std::size_t R = tile_rows, class F>
inline void with_rows(std::size_t rows, F&& f) {
  if (rows == R)
    f(std::integral_constant<std::size_t, R>{});
  else if constexpr (R > 1)
    with_rows<R - 1>(rows, f);
}

/// The sum of the lanes.
inline float sum_of(const vec& v) {
  float x[lanes];
  v.store_unaligned(x);
  float sum = 0;
  for (const float value : x) sum += value;
  return sum;
}

/// x / (1 + exp(-x)) (Elfwing et al., 2018).
inline vec silu(const vec& x) { return x / (vec(1.0f) + xsimd::exp(-x)); }

}    // namespace llm
