// The 16 floats of each instruction set do, bit for bit, what the scalar ones do.
#include <qlite/gemm.hpp>

#include <cmath>
#include <cstring>
#include <limits>

#include "support/property.hpp"

namespace ql = qlite;
using namespace qlite_test;
using floats = ql::impl::isa<QLITE_TEST_BACKEND>::floats;
using scalar = ql::impl::isa<ql::cpu::scalar>::floats;

struct sixteen {
  float v[16];
};

// Any bits, with the special ones more often than chance has them.
static sixteen any_numbers(random_source& random) {
  sixteen x;
  for (float& v : x.v) {
    switch (random.bits() % 8) {
      case 0:
        v = random.pick({0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-45f, -1e-38f, 3.4e38f});
        break;
      case 1:
        v = ql::detail::bits_float(static_cast<std::uint32_t>(random.bits()));
        break;
      case 2:
        v = 0.5f * static_cast<float>(static_cast<int>(random.integer(0, 600)) - 300);
        break;    // ties
      default:
        v = random.normal() * 40.0f;
        break;
    }
  }
  return x;
}

static sixteen finite_numbers(random_source& random) {
  sixteen x = any_numbers(random);
  for (float& v : x.v)
    if (!std::isfinite(v)) v = 1.0f;
  return x;
}

// The same bits, any NaN being as good as another.
static bool same(const float* a, const float* b) {
  for (int i = 0; i < 16; ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i])) && std::memcmp(a + i, b + i, sizeof *a) != 0) return false;
  return true;
}

template <class F>
bool agree(F&& f) {
  float a[16], b[16];
  f(floats{}).store(a);
  f(scalar{}).store(b);
  return same(a, b);
}

TEST_CASE("arithmetic") {
  for_random_cases(3000, [](random_source& random) {
    const sixteen x = any_numbers(random), y = any_numbers(random), z = any_numbers(random);
    const auto in = [](auto kind, const sixteen& values) { return decltype(kind)::load(values.v); };
    REQUIRE(agree([&](auto k) { return in(k, x); }));
    REQUIRE(agree([&](auto k) { return decltype(k)::splat(x.v[0]); }));
    REQUIRE(agree([&](auto k) { return add(in(k, x), in(k, y)); }));
    REQUIRE(agree([&](auto k) { return sub(in(k, x), in(k, y)); }));
    REQUIRE(agree([&](auto k) { return mul(in(k, x), in(k, y)); }));
    REQUIRE(agree([&](auto k) { return divide(in(k, x), in(k, y)); }));
    REQUIRE(agree([&](auto k) { return fma(in(k, x), in(k, y), in(k, z)); }));
    REQUIRE(agree([&](auto k) { return maximum(in(k, x), in(k, y)); }));
    REQUIRE(agree([&](auto k) { return max_bits(bit_and(in(k, x), 0x7fffffffu), bit_and(in(k, y), 0x7fffffffu)); }));
    REQUIRE(agree([&](auto k) { return bit_or(in(k, x), in(k, y)); }));
    REQUIRE(agree([&](auto k) { return bit_and(in(k, x), 0x7fffffffu); }));
    REQUIRE(agree([&](auto k) { return add_bits(in(k, x), shift_left(in(k, y), 23)); }));
    REQUIRE(largest_bits(bit_and(in(floats{}, x), 0x7fffffffu)) == largest_bits(bit_and(in(scalar{}, x), 0x7fffffffu)));
  });
}

TEST_CASE("fma is rounded once") {
  for_random_cases(3000, [](random_source& random) {
    const sixteen x = finite_numbers(random), y = finite_numbers(random);
    sixteen z = finite_numbers(random);
    for (int i = 0; i < 16; ++i)
      if (random.chance(0.5)) z.v[i] = -x.v[i] * y.v[i];    // cancels to the rounding error of the product
    float got[16], want[16];
    fma(floats::load(x.v), floats::load(y.v), floats::load(z.v)).store(got);
    for (int i = 0; i < 16; ++i) want[i] = std::fma(x.v[i], y.v[i], z.v[i]);
    REQUIRE(same(got, want));
  });
}

TEST_CASE("codes are rounded to nearest even, clamped to +-127, and summed") {
  for_random_cases(3000, [](random_source& random) {
    const sixteen x = finite_numbers(random);
    std::int8_t codes[16];
    floats::code_sums sums;
    store_codes(floats::load(x.v), codes, sums);
    store_codes(floats::load(x.v), codes, sums);
    std::int32_t want_sum = 0;
    for (int i = 0; i < 16; ++i) {
      const double clamped = std::fmin(127.0, std::fmax(-127.0, static_cast<double>(x.v[i])));
      const int want = static_cast<int>(std::nearbyint(clamped));
      if (codes[i] != want) INFO("x " << x.v[i]);
      REQUIRE(codes[i] == want);
      want_sum += 2 * want;
    }
    REQUIRE(sums.total() == want_sum);
  });
}

template <class T>
void check_halves() {
  for (std::uint32_t first = 0; first < 65536; first += 16) {
    T halves[16], back[16];
    for (std::uint32_t i = 0; i < 16; ++i) halves[i] = T::from_bits(static_cast<std::uint16_t>(first + i));
    float values[16], want[16];
    floats::load(halves).store(values);
    for (int i = 0; i < 16; ++i) want[i] = halves[i].to_float();
    const bool loaded = same(values, want);
    REQUIRE(loaded);
    floats::load(values).store(back);
    for (int i = 0; i < 16; ++i) {
      const bool stored = std::isnan(want[i]) ? std::isnan(back[i].to_float()) : back[i].bits() == halves[i].bits();
      REQUIRE(stored);
    }
  }
  for_random_cases(3000, [](random_source& random) {
    const sixteen x = any_numbers(random);
    T halves[16];
    floats::load(x.v).store(halves);
    for (int i = 0; i < 16; ++i) {
      const T want = T::from_float(x.v[i]);
      const bool stored = std::isnan(x.v[i]) ? std::isnan(halves[i].to_float()) : halves[i].bits() == want.bits();
      if (!stored) INFO("x " << x.v[i]);
      REQUIRE(stored);
    }
  });
}

TEST_CASE("16-bit numbers load and store as their types convert") {
  check_halves<ql::float16>();
  check_halves<ql::bfloat16>();
}
