// The float32 and bfloat16 baselines against double-precision products, over random shapes.
#include "panel_matrix.hpp"

#include <cmath>

#include "support/property.hpp"

namespace {

using qlite_test::random_source;

template <class T>
T element(float x);
template <>
float element<float>(float x) {
  return x;
}
template <>
qlite::bfloat16 element<qlite::bfloat16>(float x) {
  return qlite::bfloat16::from_float(x);
}
double value(float x) { return static_cast<double>(x); }
double value(qlite::bfloat16 x) { return static_cast<double>(x.to_float()); }

double after_op(double sum, llm::then op, double operand) {
  switch (op) {
    case llm::then::store:
      return sum;
    case llm::then::silu:
      return sum / (1 + std::exp(-sum));
    case llm::then::multiply:
      return sum * operand;
    case llm::then::add:
      return sum + operand;
  }
  return 0;
}

template <class T>
void check_products(random_source& random) {
  llm::executor threads(random.integer(1, 3));
  const std::size_t n = random.extent(1, 150);
  const std::size_t k = random.extent(1, 200);
  const std::size_t m = random.extent(1, 40);
  CAPTURE(n, k, m, sizeof(T));
  const std::size_t x_stride = k + random.integer(0, 3);
  const std::size_t y_stride = n + random.integer(0, 3);
  const auto w = random.normal_vector(n * k);
  const auto x = random.normal_vector(m * x_stride);
  const auto op = random.pick({llm::then::store, llm::then::silu, llm::then::multiply, llm::then::add});
  auto y = random.normal_vector(m * y_stride);    // also the operand
  const auto before = y;

  llm::panel_matrix<T> matrix(n, k);
  const std::size_t cut = random.integer(0, n);    // rows come in pieces
  matrix.set_rows(0, {w.data(), cut, k});
  matrix.set_rows(cut, {w.data() + cut * k, n - cut, k});
  CHECK(matrix.bytes() == n * k * sizeof(T));
  llm::packed_rows packed;
  packed.pack<T>({x.data(), m, k, x_stride}, threads);
  const qlite::matrix_view<float> Y{y.data(), m, n, y_stride};
  matrix.multiply(packed, Y, {op, Y}, threads);

  const bool rounded_activations = sizeof(T) == 2 && llm::has_bf16_dot;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      double size = 0;
      for (std::size_t p = 0; p < k; ++p) {
        const float a = x[i * x_stride + p];
        const double product = value(element<T>(w[j * k + p])) *
                               (rounded_activations ? value(qlite::bfloat16::from_float(a)) : static_cast<double>(a));
        sum += product;
        size += std::abs(product);
      }
      const double operand = static_cast<double>(before[i * y_stride + j]);
      // k rounded additions of parts of `size`, then one operation more.
      const double rounding = static_cast<double>(k + 4) * 6e-8 * size * std::max(1.0, std::abs(operand)) + 1e-6;
      REQUIRE(std::abs(static_cast<double>(Y(i, j)) - after_op(sum, op, operand)) <= rounding);
    }
    for (std::size_t j = n; j < y_stride && i + 1 < m; ++j) CHECK(y[i * y_stride + j] == before[i * y_stride + j]);
  }
}

}    // namespace

TEST_CASE("float32 products") { qlite_test::for_random_cases(150, check_products<float>); }
TEST_CASE("bfloat16 products") { qlite_test::for_random_cases(150, check_products<qlite::bfloat16>); }

TEST_CASE("a row's products do not depend on the rows beside it") {
  llm::executor threads(2);
  random_source random(1);
  const std::size_t n = 70, k = 90, m = 29;
  const auto w = random.normal_vector(n * k);
  const auto x = random.normal_vector(m * k);
  llm::panel_matrix<qlite::bfloat16> matrix(n, k);
  matrix.set_rows(0, {w.data(), n, k});
  llm::packed_rows packed;
  packed.pack<qlite::bfloat16>({x.data(), m, k}, threads);
  std::vector<float> all(m * n), one(n);
  matrix.multiply(packed, {all.data(), m, n}, {}, threads);
  for (std::size_t i = 0; i < m; ++i) {
    packed.pack<qlite::bfloat16>({x.data() + i * k, 1, k}, threads);
    matrix.multiply(packed, {one.data(), 1, n}, {}, threads);
    CHECK(std::equal(one.begin(), one.end(), all.begin() + static_cast<std::ptrdiff_t>(i * n)));
  }
}
