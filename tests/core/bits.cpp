// Built for every backend, because fma and nearest_int are instructions on some and emulations on others.
#include <cmath>
#include <cstring>
#include <qlite/core/backend.hpp>
#include <qlite/core/bits.hpp>

#include "support/catch.hpp"
#include "support/property.hpp"

namespace {

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

}    // namespace

TEST_CASE("fma rounds once, whatever the target") {
  INFO(QLITE_TEST_BACKEND::name);
  qlite_test::random_source random(4);
  std::size_t wrong = 0, different = 0;
  for (int i = 0; i < 2000000; ++i) {
    float a = from_bits(static_cast<std::uint32_t>(random.bits()));
    float b = from_bits(static_cast<std::uint32_t>(random.bits()));
    float c = from_bits(static_cast<std::uint32_t>(random.bits()));
    if (i % 4 == 1) {    // exponents that meet
      a = random.uniform(-2.0f, 2.0f);
      b = random.uniform(-2.0f, 2.0f);
      c = random.uniform(-2.0f, 2.0f);
    } else if (i % 4 == 2) {    // cancellation
      c = -(a * b);
    } else if (i % 4 == 3) {    // a sum close to a tie of float
      a = 1.0f + 0x1p-12f;
      b = random.uniform(0.5f, 2.0f);
      c = std::ldexp(1.0f, static_cast<int>(random.integer(0, 60)) - 30) * (random.chance(0.5) ? 1.0f : -1.0f);
    }
    const float expected = std::fma(a, b, c);
    wrong += static_cast<std::size_t>(!same(qlite::detail::fma(a, b, c), expected));
    volatile float product = a * b;    // rounded twice
    different += static_cast<std::size_t>(!same(product + c, expected));
  }
  CHECK(wrong == 0);
  CHECK(different > 1000);    // or the cases above test nothing
  CHECK(same(qlite::detail::fma(0x1p-100f, 0x1p-49f, 0.0f), 0x1p-149f));
  CHECK(same(qlite::detail::fma(0x1p-100f, 0x1.8p-50f, 0.0f), 0x1p-149f));    // a subnormal result, rounded once
  CHECK(same(qlite::detail::fma(0.0f, 1.0f, -0.0f), 0.0f));
  CHECK(same(qlite::detail::fma(-0.0f, 1.0f, -0.0f), -0.0f));
  CHECK(same(qlite::detail::fma(HUGE_VALF, 1.0f, 1.0f), HUGE_VALF));
  CHECK(same(qlite::detail::fma(3e38f, 10.0f, -HUGE_VALF), -HUGE_VALF));
  CHECK(std::isnan(qlite::detail::fma(HUGE_VALF, 0.0f, 1.0f)));
}

TEST_CASE("nearest_int rounds to nearest, ties to even") {
  INFO(QLITE_TEST_BACKEND::name);
  for (int n = -1000; n <= 1000; ++n) {
    const auto x = static_cast<float>(n);
    CHECK(qlite::detail::nearest_int(x) == n);
    CHECK(qlite::detail::nearest_int(x + 0.5f) == (n % 2 == 0 ? n : n + 1));
    CHECK(qlite::detail::nearest_int(x + 0.499f) == n);
    CHECK(qlite::detail::nearest_int(x + 0.501f) == n + 1);
  }
  qlite_test::random_source random(8);
  std::size_t wrong = 0;
  for (int i = 0; i < 100000; ++i) {
    const float x = std::ldexp(random.uniform(-1.0f, 1.0f), static_cast<int>(random.integer(0, 31)));
    wrong += static_cast<std::size_t>(qlite::detail::nearest_int(x) != static_cast<std::int32_t>(std::nearbyint(x)));
  }
  CHECK(wrong == 0);
}

TEST_CASE("is_finite and abs_of work on bits") {
  CHECK(qlite::detail::is_finite(0.0f));
  CHECK(qlite::detail::is_finite(-3.4e38f));
  CHECK_FALSE(qlite::detail::is_finite(HUGE_VALF));
  CHECK_FALSE(qlite::detail::is_finite(-HUGE_VALF));
  CHECK_FALSE(qlite::detail::is_finite(NAN));
  CHECK(same(qlite::detail::abs_of(-0.0f), 0.0f));
  CHECK(qlite::detail::abs_of(-2.5f) == 2.5f);
}

TEST_CASE("integer helpers do not overflow") {
  using namespace qlite::detail;
  static_assert(ceil_div(0, 7) == 0 && ceil_div(1, 7) == 1 && ceil_div(7, 7) == 1 && ceil_div(8, 7) == 2);
  static_assert(ceil_div(~std::size_t{0}, 2) == std::size_t{1} << (sizeof(std::size_t) * 8 - 1));
  static_assert(round_up(0, 64) == 0 && round_up(1, 64) == 64 && round_up(64, 64) == 64);
  static_assert(min_of(2, 3) == 2 && max_of(2, 3) == 3);
  SUCCEED();
}
