// float16 and bfloat16 against conversions in double, written from the definition of the formats.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <qlite/core/half.hpp>

#include "support/catch.hpp"
#include "support/property.hpp"

namespace {

// A binary floating point format of 16 bits, by its definition.
struct format {
  int fraction_bits, bias;

  int exponent_mask() const { return (1 << (15 - fraction_bits)) - 1; }
  bool is_nan(unsigned bits) const { return (bits & 0x7fffu) > infinity(); }
  unsigned infinity() const { return static_cast<unsigned>(exponent_mask()) << fraction_bits; }

  double value(unsigned bits) const {
    const int exponent = static_cast<int>(bits >> fraction_bits) & exponent_mask();
    const int fraction = static_cast<int>(bits & ((1u << fraction_bits) - 1));
    const double magnitude = exponent == exponent_mask() ? HUGE_VAL
                             : exponent == 0
                                 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                 : std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
    return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
  }

  // The nearest number, ties to even: in units of its last place, where nearbyint decides.
  unsigned nearest(double x) const {
    const unsigned sign = std::signbit(x) ? 0x8000u : 0;
    x = std::fabs(x);
    if (std::isinf(x)) return sign | infinity();
    if (x == 0) return sign;
    int exponent = 0;
    std::frexp(x, &exponent);    // x = [0.5, 1) * 2^exponent
    const int unit = std::max(exponent - 1, 1 - bias) - fraction_bits;
    const double units = std::nearbyint(std::ldexp(x, -unit));    // up to 2^(fraction_bits + 1)
    // Consecutive numbers have consecutive bits, so a carry into the exponent comes out right.
    const double bits = units + std::ldexp(unit + fraction_bits + bias - 1, fraction_bits);
    return sign | std::min(static_cast<unsigned>(bits), infinity());
  }
};

const format half_format{10, 15}, bfloat_format{7, 127};

unsigned bits_of(qlite::float16 x) { return x.bits(); }
unsigned bits_of(qlite::bfloat16 x) { return x.bits(); }

// Whether from_float(x) is what the format says; a NaN must stay a quiet NaN of the same sign.
template <class T>
bool converts(const format& f, float x) {
  const unsigned bits = bits_of(T::from_float(x));
  if (std::isnan(x))
    return f.is_nan(bits) && (bits >> (f.fraction_bits - 1) & 1) == 1 && (bits >> 15 != 0) == std::signbit(x);
  return bits == f.nearest(static_cast<double>(x));
}

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
void check_all_values(const format& f) {
  std::size_t wrong = 0;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const T x = T::from_bits(static_cast<std::uint16_t>(bits));
    const float value = x.to_float();
    wrong += static_cast<std::size_t>(x.bits() != bits);
    if (f.is_nan(bits)) {
      const unsigned quiet = bits | 1u << (f.fraction_bits - 1);
      wrong += static_cast<std::size_t>(!std::isnan(value) || bits_of(T::from_float(value)) != quiet);
    } else {
      wrong +=
          static_cast<std::size_t>(static_cast<double>(value) != f.value(bits) ||
                                   std::signbit(value) != (bits >> 15 != 0) || bits_of(T::from_float(value)) != bits);
    }
  }
  CHECK(wrong == 0);
}

// Around every number of the format: the number itself, the tie to its neighbour, and the floats next to both.
template <class T>
void check_neighbourhoods(const format& f) {
  std::size_t wrong = 0;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7fffu) >= f.infinity()) continue;
    const double here = f.value(bits);
    const bool last = (bits & 0x7fffu) + 1 == f.infinity();
    const double next = last ? here + (here - f.value(bits - 1)) : f.value(bits + 1);
    const auto tie = static_cast<float>(0.5 * (here + next));    // exact, but for bfloat16's tie to infinity
    for (const float x : {static_cast<float>(here), tie})
      for (const float y : {x, std::nextafter(x, 0.0f), std::nextafter(x, HUGE_VALF), std::nextafter(x, -HUGE_VALF)})
        wrong += static_cast<std::size_t>(!converts<T>(f, y));
  }
  CHECK(wrong == 0);
}

template <class T>
void check_random_floats(const format& f) {
  qlite_test::random_source random(1);
  std::size_t wrong = 0;
  for (int i = 0; i < 1000000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random.bits());
    wrong += static_cast<std::size_t>(!converts<T>(f, from_bits(bits)));
    // An exponent that the format has.
    const auto exponent = static_cast<std::uint32_t>(random.integer(95, 145));
    wrong += static_cast<std::size_t>(!converts<T>(f, from_bits((bits & 0x807fffffu) | exponent << 23)));
  }
  for (const std::uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0x7f802000u, 0x7f800000u, 0xff800000u, 1u,
                                   0x80000001u, 0x7f7fffffu, 0x007fffffu, 0x00800000u, 0x7f7f8000u, 0x7f7f7fffu})
    wrong += static_cast<std::size_t>(!converts<T>(f, from_bits(bits)));
  CHECK(wrong == 0);
}

}    // namespace

TEST_CASE("float16 converts all its values exactly, and floats to the nearest, ties to even") {
  check_all_values<qlite::float16>(half_format);
  check_neighbourhoods<qlite::float16>(half_format);
  check_random_floats<qlite::float16>(half_format);
  CHECK(qlite::float16::from_float(65504.0f).to_float() == 65504.0f);
  CHECK(qlite::float16::from_float(65519.996f).to_float() == 65504.0f);
  CHECK(qlite::float16::from_float(65520.0f).to_float() == HUGE_VALF);
  CHECK(static_cast<float>(qlite::float16::from_float(0x1p-24f)) == 0x1p-24f);
  CHECK(qlite::float16::from_float(0x1p-25f).bits() == 0);
  CHECK(qlite::float16::from_float(-0x1.002p-25f).bits() == 0x8001);
}

TEST_CASE("bfloat16 converts all its values exactly, and floats to the nearest, ties to even") {
  check_all_values<qlite::bfloat16>(bfloat_format);
  check_neighbourhoods<qlite::bfloat16>(bfloat_format);
  check_random_floats<qlite::bfloat16>(bfloat_format);
  CHECK(static_cast<float>(qlite::bfloat16::from_float(1.0f)) == 1.0f);
}

TEST_CASE("half types are two bytes of trivial type") {
  static_assert(sizeof(qlite::float16) == 2 && alignof(qlite::float16) == 2);
  static_assert(sizeof(qlite::bfloat16) == 2 && alignof(qlite::bfloat16) == 2);
  static_assert(std::is_trivial_v<qlite::float16> && std::is_trivial_v<qlite::bfloat16>);
  static_assert(qlite::float16::from_bits(0x3c00).bits() == 0x3c00);
  CHECK(qlite::detail::element<qlite::float16>::load(qlite::float16::from_bits(0x3c00)) == 1.0f);
  CHECK(qlite::detail::element<qlite::bfloat16>::store(1.0f).bits() == 0x3f80);
}
