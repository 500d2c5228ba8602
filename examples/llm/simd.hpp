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

#include <algorithm>
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

/// sums += A * B over k; A's element (r, k) is a[r * a_row + k * a_k], B is a panel.
template <std::size_t R>
inline void multiply_add(tile_sums<R>& sums, const float* a, std::size_t a_row, std::size_t a_k, const float* b,
                         std::size_t k_end) {
  for (std::size_t k = 0; k < k_end; ++k) {
    const vec b0 = load(b + k * panel);
    const vec b1 = load(b + k * panel + lanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      const vec x(a[r * a_row + k * a_k]);
      sums.v[r][0] = xsimd::fma(x, b0, sums.v[r][0]);
      sums.v[r][1] = xsimd::fma(x, b1, sums.v[r][1]);
    }
  }
}

#if defined(__AVX512BF16__)

/// The same for a bfloat16 panel of k_end (rounded up) / 2 pairs. A's pairs of elements lie together, from k even on.
template <std::size_t R>
inline void multiply_add(tile_sums<R>& sums, const qlite::bfloat16* a, std::size_t a_row, std::size_t a_k,
                         const qlite::bfloat16* b, std::size_t k_end) {
  const auto load_pairs = [](const void* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); };
  for (std::size_t k = 0; k < k_end; k += 2) {
    const __m512bh b0 = load_pairs(b + k * panel);
    const __m512bh b1 = load_pairs(b + k * panel + 2 * lanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      int pair;
      std::memcpy(&pair, a + r * a_row + k * a_k, sizeof pair);
      const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      sums.v[r][0] = _mm512_dpbf16_ps(sums.v[r][0], x, b0);
      sums.v[r][1] = _mm512_dpbf16_ps(sums.v[r][1], x, b1);
    }
  }
}

#else

/// The same for a bfloat16 panel of k_end (rounded up) / 2 pairs, decoded in registers.
template <std::size_t R>
inline void multiply_add(tile_sums<R>& sums, const float* a, std::size_t a_row, std::size_t a_k,
                         const qlite::bfloat16* b, std::size_t k_end) {
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
  for (std::size_t k = 0; k < k_end; k += 2) {
    const words w0 = load_words(b + k * panel);
    const words w1 = load_words(b + k * panel + 2 * lanes);
    const words high(0xffff0000u);
    const vec even0 = as_float(w0 << 16);
    const vec even1 = as_float(w1 << 16);
    const vec odd0 = as_float(w0 & high);
    const vec odd1 = as_float(w1 & high);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      const vec even(a[r * a_row + k * a_k]);
      const vec odd(a[r * a_row + (k + 1) * a_k]);
      sums.v[r][0] = xsimd::fma(even, even0, sums.v[r][0]);
      sums.v[r][1] = xsimd::fma(even, even1, sums.v[r][1]);
      sums.v[r][0] = xsimd::fma(odd, odd0, sums.v[r][0]);
      sums.v[r][1] = xsimd::fma(odd, odd1, sums.v[r][1]);
    }
  }
}

#endif

/// What A holds where B is of T.
template <class T>
using a_element = std::conditional_t<sizeof(T) == 2 && has_bf16_dot, qlite::bfloat16, float>;

/// Stores lanes, rounded to nearest, ties to even.
inline void store(const vec& x, float* to) { x.store_unaligned(to); }
inline void store(const vec& x, qlite::bfloat16* to) {
#if defined(__AVX512BF16__)
  const __m256bh rounded = _mm512_cvtneps_pbh(x);
  std::memcpy(static_cast<void*>(to), &rounded, sizeof rounded);
#else
  float values[lanes];
  x.store_unaligned(values);
  for (std::size_t i = 0; i < lanes; ++i) to[i] = qlite::bfloat16::from_float(values[i]);
#endif
}

/// The same for `count` floats.
inline void convert(const float* x, std::size_t count, float* to) { std::copy_n(x, count, to); }
inline void convert(const float* x, std::size_t count, qlite::bfloat16* to) {
  const std::size_t whole = count / lanes * lanes;
  for (std::size_t i = 0; i < whole; i += lanes) store(load(x + i), to + i);
  for (std::size_t i = whole; i < count; ++i) to[i] = qlite::bfloat16::from_float(x[i]);
}

/// Calls f(std::integral_constant<std::size_t, rows>) for a number of rows from 1 to tile_rows.
template <std::size_t R = tile_rows, class F>
inline void with_rows(std::size_t rows, F&& f) {
  if (rows == R)
    f(std::integral_constant<std::size_t, R>{});
  else if constexpr (R > 1)
    with_rows<R - 1>(rows, f);
}

/// op over N floats, as a tree.
template <std::size_t N, class Op>
inline float reduce(const float* x, Op op) {
  if constexpr (N == 1)
    return *x;
  else
    return op(reduce<N / 2>(x, op), reduce<N / 2>(x + N / 2, op));
}
inline float sum_of(const vec& v) {
  float x[lanes];
  v.store_unaligned(x);
  return reduce<lanes>(x, [](float a, float b) { return a + b; });
}
inline float largest_of(const vec& v) {
  float x[lanes];
  v.store_unaligned(x);
  return reduce<lanes>(x, [](float a, float b) { return a < b ? b : a; });
}

/// 2^x for x <= 0; 0 below -125. x = n + f, and 2^n 2^f by the Taylor series of 2^f, |f| <= 1/2: an error of 2e-7,
/// relative. Adding 1.5 * 2^23 leaves n in the low bits of t, from where it goes to the exponent.
inline vec exp2_of_negative(const vec& x) {
  using words = xsimd::batch<std::int32_t>;
  const vec magic(12582912.0f);
  const vec t = x + magic;
  const vec f = x - (t - magic);
  vec p(1.54035304e-4f);
  for (const float c : {1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f, 0.240226507f, 0.693147181f, 1.0f})
    p = xsimd::fma(p, f, vec(c));
  const words scaled = xsimd::bitwise_cast<words>(p) + (xsimd::bitwise_cast<words>(t) << 23);
  return xsimd::select(x < vec(-125.0f), vec(0.0f), xsimd::bitwise_cast<vec>(scaled));
}

/// x / (1 + exp(-x)) (Elfwing et al., 2018).
inline vec silu(const vec& x) { return x / (vec(1.0f) + xsimd::exp(-x)); }

}    // namespace llm
