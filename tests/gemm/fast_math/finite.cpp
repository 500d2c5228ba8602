// Under -ffast-math the compiler assumes that there are no NaN. Rows that are not finite must still be found, because
// the checks work on the bits; std::isnan would be compiled away, so this looks at bits too.
#include "gemm/matrices.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

static std::uint32_t magnitude_bits(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffffu;
}
static float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class Scheme>
void check_rows() {
  random_source random(1);
  const std::size_t m = 9, n = 40, k = 100;
  const auto packed = ql::pack<backend>(random_quantized<Scheme>(random, n, k, {}));
  for (const std::uint32_t bad : {0x7fc00000u, 0xffc00001u, 0x7f800000u, 0xff800000u, 0x7f800001u}) {
    std::vector<float> x = random.normal_vector(m * k), y(m * n);
    const std::size_t row = random.integer(0, m - 1);
    x[row * k + random.integer(0, k - 1)] = from_bits(bad);
    const auto only_that_row = [&](const auto& form) {
      ql::gemm(form, packed, ql::matrix_view<float>{y.data(), m, n});
      for (std::size_t i = 0; i < m * n; ++i) {
        const bool nan = magnitude_bits(y[i]) > 0x7f800000u, finite = magnitude_bits(y[i]) < 0x7f800000u;
        INFO("bits " << bad << ", row " << i / n);
        REQUIRE((i / n == row ? nan : finite));
      }
    };
    const ql::matrix_view<const float> X{x.data(), m, k};
    only_that_row(ql::dynamic<ql::int8>(X));
    only_that_row(ql::dynamic<ql::int8, ql::per_token>(X));
    only_that_row(ql::dynamic<ql::int8, ql::per_tensor>(X));
    only_that_row(ql::fixed<ql::int8>(X, 0.05f));
  }
}

TEST_CASE("rows that are not finite are found under -ffast-math") {
  check_rows<ql::scheme<ql::int4, ql::per_group<32>>>();
  check_rows<ql::scheme<ql::int8, ql::per_channel>>();
}

TEST_CASE("a fixed scale that is no positive finite number is refused under -ffast-math") {
  random_source random(2);
  const auto packed = ql::pack<backend>(random_quantized<ql::scheme<ql::int8, ql::per_channel>>(random, 5, 8, {}));
  const std::vector<float> x(8, 1.0f);
  std::vector<float> y(5);
  const ql::matrix_view<const float> X{x.data(), 1, 8};
  for (const std::uint32_t bad : {0x7fc00000u, 0x7f800000u, 0xbf800000u, 0u})
    CHECK_THROWS_AS(ql::gemm(ql::fixed<ql::int8>(X, from_bits(bad)), packed, ql::matrix_view<float>{y.data(), 1, 5}),
                    std::invalid_argument);
}
