// What each way to consume qlite must be able to build: a matrix quantized, packed and multiplied.
#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>
#include <qlite/version.hpp>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

namespace ql = qlite;

int main() {
  const std::size_t n = 24, k = 100, m = 2;
  std::vector<float> w(n * k), x(m * k), y(m * n);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& v : w) v = normal(random);
  for (float& v : x) v = normal(random);

  const ql::matrix_view<const float> W{w.data(), n, k};
  const auto q = ql::quantize<ql::scheme<ql::int8, ql::per_channel>>(W, ql::rtn{});
  const ql::matrix_view<const float> X{x.data(), m, k};
  ql::gemm(X, ql::pack<ql::cpu::native>(q), ql::matrix_view<float>{y.data(), m, n});

  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::size_t p = 0; p < k; ++p) sum += static_cast<double>(x[i * k + p]) * w[j * k + p];
      difference += (y[i * n + j] - sum) * (y[i * n + j] - sum);
      norm += sum * sum;
    }
  }
  const double error = std::sqrt(difference / norm);
  std::printf("qlite %d.%d.%d on %s: relative error %.4f\n", QLITE_VERSION_MAJOR, QLITE_VERSION_MINOR,
              QLITE_VERSION_PATCH, ql::name<ql::cpu::native>(), error);
  return error < 0.02 ? 0 : 1;
}
