// Small helpers on plain values that the rest of the library uses instead of the standard library's, because those are
// emitted as shared symbols in unoptimized builds (core/config.hpp says why that matters).
#pragma once

#include <qlite/core/config.hpp>

#include <cstring>
#include <utility>

QLITE_BEGIN_NAMESPACE
namespace detail {

template <class T>
QLITE_INLINE constexpr T min_of(T a, T b) noexcept {
  return b < a ? b : a;
}

template <class T>
QLITE_INLINE constexpr T max_of(T a, T b) noexcept {
  return a < b ? b : a;
}

QLITE_INLINE constexpr std::size_t ceil_div(std::size_t a, std::size_t b) noexcept { return a / b + (a % b != 0); }

QLITE_INLINE constexpr std::size_t round_up(std::size_t a, std::size_t multiple) noexcept {
  return ceil_div(a, multiple) * multiple;
}

/// Reinterprets the bytes of a value: std::bit_cast for C++17.
template <class To, class From>
QLITE_INLINE To bit_cast(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs types of equal size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

/// A number that is part of the type.
template <std::size_t I>
struct constant {
  QLITE_INLINE constexpr operator std::size_t() const noexcept { return I; }    // NOLINT: implicit on purpose
};

template <class F, std::size_t... Is>
QLITE_INLINE void repeat_for(std::index_sequence<Is...>, F& f) {
  (f(constant<Is>{}), ...);
}

/// Calls f(constant<0>), ..., f(constant<N - 1>): a loop whose indices are constants from the start, so that arrays of
/// registers indexed by them stay in registers (g++ unrolls loops only after it has decided that). Mark f with
/// QLITE_LAMBDA.
template <std::size_t N, class F>
QLITE_INLINE void repeat(F&& f) {
  repeat_for(std::make_index_sequence<N>{}, f);
}

QLITE_INLINE std::uint32_t float_bits(float x) noexcept { return bit_cast<std::uint32_t>(x); }
QLITE_INLINE float bits_float(std::uint32_t bits) noexcept { return bit_cast<float>(bits); }

inline constexpr std::uint32_t float_infinity_bits = 0x7f800000u;
inline constexpr std::uint32_t float_quiet_nan_bits = 0x7fc00000u;

/// True unless x is NaN or infinite. On integer bits, so that -ffast-math cannot remove it.
QLITE_INLINE bool is_finite(float x) noexcept { return (float_bits(x) & 0x7fffffffu) < float_infinity_bits; }

QLITE_INLINE float abs_of(float x) noexcept { return bits_float(float_bits(x) & 0x7fffffffu); }

/// a * b + c rounded once, on every target.
///
/// Without a fused instruction: the product of two floats is exact in double; adding c in double with rounding to odd
/// (the error of the sum, from Knuth's two-sum, decides the last bit) makes the final rounding to float correct.
/// S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd",
/// IEEE Trans. Computers 57(4), 2008.
QLITE_INLINE float fma(float a, float b, float c) noexcept {
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDACC__)
  return __builtin_fmaf(a, b, c);
#else
  const double p = static_cast<double>(a) * static_cast<double>(b);
  const double d = static_cast<double>(c);
  const double s = p + d;
  const double t = s - p;
  const double e = (p - (s - t)) + (d - t);
  std::uint64_t bits = bit_cast<std::uint64_t>(s);
  const bool inexact = e < 0 || e > 0;    // false for NaN, which infinities make of e
  if (inexact && (bits & 1) == 0) bits += ((e > 0) == (s > 0)) ? 1u : ~std::uint64_t{0};
  return static_cast<float>(bit_cast<double>(bits));
#endif
}

/// Nearest integer of a finite |x| < 2^31, ties to even, whatever the compiler makes of an addition that follows a
/// multiplication (adding 1.5 * 2^23 instead could be contracted with the product that x comes from).
QLITE_INLINE std::int32_t nearest_int(float x) noexcept {
#if defined(__SSE2__)
  typedef float vector __attribute__((vector_size(16)));
  return __builtin_ia32_cvtss2si(vector{x, 0, 0, 0});
#elif defined(__aarch64__)
  std::int32_t n;
  __asm__("fcvtns %w0, %s1" : "=r"(n) : "w"(x));
  return n;
#else
  const std::int32_t n = static_cast<std::int32_t>(x);
  const float rest = abs_of(x - static_cast<float>(n));    // exact
  return rest > 0.5f || (rest == 0.5f && (n & 1) != 0) ? n + (x < 0 ? -1 : 1) : n;
#endif
}

}    // namespace detail
QLITE_END_NAMESPACE
