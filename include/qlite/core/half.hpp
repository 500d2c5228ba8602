// Storage types of 16 bits with exact conversions. Arithmetic is done in float; these only hold numbers.
#pragma once

#include <qlite/core/bits.hpp>

QLITE_BEGIN_NAMESPACE

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. Largest finite value 65504, smallest positive 2^-24.
class float16 {
 public:
  float16() = default;

  QLITE_INLINE static constexpr float16 from_bits(std::uint16_t bits) noexcept {
    float16 h{};
    h.bits_ = bits;
    return h;
  }

  /// Rounds to nearest, ties to even. Values beyond 65504 (after rounding) become infinity; a NaN stays a quiet NaN.
  QLITE_INLINE static float16 from_float(float x) noexcept {
    const std::uint32_t bits = detail::float_bits(x);
    const std::uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude >= 0x47800000u) {    // 65536 and above, infinity, NaN
      half = magnitude > detail::float_infinity_bits ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : 0x7c00u;
    } else if (magnitude >= 0x38800000u) {    // normal, 2^-14 and above; rounding up may carry into the exponent
      half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    } else if (magnitude > 0x33000000u) {    // above 2^-25: subnormal, in units of 2^-24
      const std::uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u, shift = 126u - (magnitude >> 23);
      const std::uint32_t halfway = 1u << (shift - 1), rest = fraction & ((1u << shift) - 1);
      half = fraction >> shift;
      half += rest > halfway || (rest == halfway && (half & 1u)) ? 1u : 0u;
    } else {
      half = 0;
    }
    return from_bits(static_cast<std::uint16_t>(sign | half));
  }

  /// Exact for every value.
  QLITE_INLINE float to_float() const noexcept {
    const std::uint32_t sign = (bits_ & 0x8000u) << 16, exponent = (bits_ >> 10) & 0x1fu, fraction = bits_ & 0x3ffu;
    if (exponent == 0x1f) return detail::bits_float(sign | detail::float_infinity_bits | (fraction << 13));
    if (exponent != 0) return detail::bits_float(sign | ((exponent + 112) << 23) | (fraction << 13));
    // subnormal: fraction * 2^-24, through an exact subtraction of normal numbers
    const float magnitude = detail::bits_float(0x38800000u | (fraction << 13)) - detail::bits_float(0x38800000u);
    return detail::bits_float(sign | detail::float_bits(magnitude));
  }

  QLITE_INLINE constexpr std::uint16_t bits() const noexcept { return bits_; }
  QLITE_INLINE explicit operator float() const noexcept { return to_float(); }

 private:
  std::uint16_t bits_;
};

/// bfloat16: the upper half of a binary32 (1 sign, 8 exponent, 7 fraction bits).
class bfloat16 {
 public:
  bfloat16() = default;

  QLITE_INLINE static constexpr bfloat16 from_bits(std::uint16_t bits) noexcept {
    bfloat16 b{};
    b.bits_ = bits;
    return b;
  }

  /// Rounds to nearest, ties to even; a NaN stays a quiet NaN.
  QLITE_INLINE static bfloat16 from_float(float x) noexcept {
    const std::uint32_t bits = detail::float_bits(x);
    const bool nan = (bits & 0x7fffffffu) > detail::float_infinity_bits;
    const std::uint32_t rounded = nan ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
    return from_bits(static_cast<std::uint16_t>(rounded >> 16));
  }

  /// Exact for every value.
  QLITE_INLINE float to_float() const noexcept { return detail::bits_float(static_cast<std::uint32_t>(bits_) << 16); }

  QLITE_INLINE constexpr std::uint16_t bits() const noexcept { return bits_; }
  QLITE_INLINE explicit operator float() const noexcept { return to_float(); }

 private:
  std::uint16_t bits_;
};

namespace detail {

/// The element types a matrix of activations, outputs, scales or offsets may have, and their conversions.
template <class T>
struct element;

template <>
struct element<float> {
  static constexpr const char* name = "float";
  QLITE_INLINE static float load(float x) noexcept { return x; }
  QLITE_INLINE static float store(float x) noexcept { return x; }
};

template <>
struct element<float16> {
  static constexpr const char* name = "float16";
  QLITE_INLINE static float load(float16 x) noexcept { return x.to_float(); }
  QLITE_INLINE static float16 store(float x) noexcept { return float16::from_float(x); }
};

template <>
struct element<bfloat16> {
  static constexpr const char* name = "bfloat16";
  QLITE_INLINE static float load(bfloat16 x) noexcept { return x.to_float(); }
  QLITE_INLINE static bfloat16 store(float x) noexcept { return bfloat16::from_float(x); }
};

template <class T>
inline constexpr bool is_element = false;
template <>
inline constexpr bool is_element<float> = true;
template <>
inline constexpr bool is_element<float16> = true;
template <>
inline constexpr bool is_element<bfloat16> = true;

}    // namespace detail
QLITE_END_NAMESPACE
