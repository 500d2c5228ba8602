// Errors of weights and of outputs against plain sums in long double over the canonical form.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gemm/matrices.hpp"
#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using ql::matrix_view;

namespace {

using real = long double;

// scale * (code - zero) or scale * code + offset, as `dequantize` rounds it: once for a product, once for an fma.
template <class Scheme>
float stored_value(const ql::quantized_view<Scheme>& q, std::size_t r, std::size_t c) {
  const std::size_t g = c / q.group_size();
  const float code = static_cast<float>(q.code(r, c) - q.zero_point(r, g));
  if (ql::detail::scheme_traits<Scheme>::has_offset) return std::fma(q.scale(r, g), code, q.offset(r, g));
  return code * q.scale(r, g);
}

struct exact_output {
  real error = 0, reference = 0, slack = 0;    // slack: how far double may be from `error`
};

template <class T, class Scheme, class U>
exact_output outputs_of(const input_matrix<T>& w, const ql::quantized_view<Scheme>& q, const input_matrix<U>& x) {
  // Each dot product in double errs by at most gamma = (K + 3) 2^-53 times the sum of its terms' magnitudes; so the
  // error of an output by the sum of both products' bounds, and its square by 2 |e| d + d^2.
  const real gamma = static_cast<real>(w.cols() + 3) * 0x1p-53L;
  exact_output all;
  for (std::size_t i = 0; i < x.rows(); ++i)
    for (std::size_t r = 0; r < w.rows(); ++r) {
      real exact = 0, stored = 0, magnitude = 0;
      for (std::size_t c = 0; c < w.cols(); ++c) {
        const real input = static_cast<real>(x.at(i, c)), value = static_cast<real>(stored_value(q, r, c));
        exact += static_cast<real>(w.at(r, c)) * input;
        stored += value * input;
        magnitude += std::fabs(static_cast<real>(w.at(r, c)) * input) + std::fabs(value * input);
      }
      const real e = stored - exact, d = gamma * magnitude;
      all.error += e * e;
      all.reference += exact * exact;
      all.slack += 2 * std::fabs(e) * d + d * d;
    }
  return all;
}

template <class Scheme, class T, class U>
void check_case(random_source& random) {
  const std::size_t n = random.extent(0, 40), k = random.extent(0, 300), m = random.extent(0, 90);
  const auto scheme = with_group<Scheme>(random.pick<std::size_t>({1, 3, 32, 48, 1000}));
  const auto w = random_inputs<T>(random, n, k);
  const auto x = random_inputs<U>(random, m, k);
  const auto q = ql::quantize(scheme, w.view(), ql::rtn{});

  real weight_error = 0, weight_norm = 0;
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < k; ++c) {
      const real v = static_cast<real>(w.at(r, c)), e = static_cast<real>(stored_value(q.view(), r, c)) - v;
      weight_error += e * e;
      weight_norm += v * v;
    }
  const real sums = static_cast<real>(n * k + 4) * 0x1p-53L;
  const ql::error_metrics of_weights = ql::weight_metrics(w.view(), q);
  REQUIRE(of_weights.count() == n * k);
  REQUIRE(std::fabs(static_cast<real>(of_weights.squared_error()) - weight_error) <= sums * weight_error);
  REQUIRE(std::fabs(static_cast<real>(of_weights.squared_reference()) - weight_norm) <= sums * weight_norm);

  const exact_output exact = outputs_of(w, q.view(), x);
  const ql::error_metrics found = ql::output_metrics(w.view(), q, x.view());
  const real outputs = static_cast<real>(n * m + 4) * 0x1p-53L;
  REQUIRE(found.count() == n * m);
  REQUIRE(std::fabs(static_cast<real>(found.squared_error()) - exact.error) <= exact.slack + outputs * exact.error);
  REQUIRE(ql::output_error(w.view(), q, x.view()) == found.relative_error());

  // The same bits for any number of threads.
  const ql::thread_pool pool(random.integer(2, 4));
  const ql::error_metrics threaded = ql::output_metrics(w.view(), q.view(), x.view(), pool);
  REQUIRE(std::memcmp(&threaded, &found, sizeof found) == 0);
}

}    // namespace

TEMPLATE_TEST_CASE("errors of weights and outputs", "", (ql::scheme<ql::int4, ql::per_group<32>>),
                   (ql::scheme<ql::int8, ql::per_channel>),
                   (ql::scheme<ql::int8, ql::per_tensor, ql::symmetric, float>),
                   (ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::asymmetric>),
                   (ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::offset<>>)) {
  for_random_cases(25, [](random_source& random) {
    check_case<TestType, float, float>(random);
    check_case<TestType, ql::bfloat16, ql::float16>(random);
  });
}

// Larger than a task's grain and than a block of X, so that both are cut.
TEST_CASE("a large layer is cut into tasks and blocks without a change") {
  random_source random(7);
  const std::size_t n = 70, k = 520, m = 200;
  const auto w = random_inputs<float>(random, n, k);
  const auto x = random_inputs<float>(random, m, k);
  const auto q = ql::quantize<ql::scheme<ql::int4, ql::per_group<64>>>(w.view(), ql::rtn{});
  const exact_output exact = outputs_of(w, q.view(), x);
  const ql::error_metrics found = ql::output_metrics(w.view(), q, x.view());
  CHECK(std::fabs(static_cast<real>(found.squared_error()) - exact.error) <=
        exact.slack + static_cast<real>(n * m + 4) * 0x1p-53L * exact.error);
  const ql::thread_pool pool(3);
  const ql::error_metrics threaded = ql::output_metrics(w.view(), q, x.view(), pool);
  CHECK(std::memcmp(&threaded, &found, sizeof found) == 0);
}

TEST_CASE("what cannot be compared is refused by name") {
  random_source random(3);
  const std::size_t n = 4, k = 32, m = 5;
  auto values = random.normal_vector(n * k);
  auto inputs = random.normal_vector(m * k);
  const matrix_view<const float> W{values.data(), n, k}, X{inputs.data(), m, k};
  const auto q = ql::quantize<ql::scheme<ql::int4, ql::per_group<32>>>(W, ql::rtn{});
  const auto refused = [&](matrix_view<const float> w, matrix_view<const float> x) {
    return refusal_of([&] { static_cast<void>(ql::output_error(w, q, x)); });
  };
  CHECK(refused({values.data(), 3, k}, X) == "qlite: rows of q is 4, expected 3 (rows of W)");
  CHECK(refused({values.data(), n, 31}, X) == "qlite: columns of q is 32, expected 31 (columns of W)");
  CHECK(refused(W, {inputs.data(), m, 31}) == "qlite: the columns of X is 31, expected 32 (columns of W)");
  CHECK_THAT(refused(W, {nullptr, m, k}), ContainsSubstring("X is null"));
  inputs[2 * k + 7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(refused(W, X) == "qlite: X has nan at row 2, column 7; expected finite activations");
  inputs[2 * k + 7] = std::numeric_limits<float>::infinity();
  CHECK(refused(W, X) == "qlite: X has inf at row 2, column 7; expected finite activations");
  inputs[2 * k + 7] = 0;
  values[k + 1] = std::numeric_limits<float>::quiet_NaN();
  CHECK(refused(W, X) == "qlite: W has nan at row 1, column 1; expected finite weights");
}

TEST_CASE("outputs of split weights are those of the codes and of the outliers together") {
  for_random_cases(20, [](random_source& random) {
    const std::size_t n = random.extent(1, 40), k = random.extent(1, 80), m = random.extent(1, 30);
    std::vector<float> w = random.normal_vector(n * k), x = random.normal_vector(m * k);
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t c = 0; c < k; c += 7) x[i * k + c] *= 30;
    const matrix_view<const float> W{w.data(), n, k}, X{x.data(), m, k};
    ql::activation_stats stats(k);
    stats.observe(X);
    using w8 = ql::scheme<ql::int8, ql::per_group<32>, ql::asymmetric>;
    const auto split = ql::quantize<w8>(W, ql::split_outliers(stats, random.pick({0.0f, 8.0f, 1e9f})));
    std::vector<float> stored(n * k);
    ql::dequantize(split.codes(), matrix_view<float>{stored.data(), n, k});
    std::vector<bool> kept(k);
    for (std::size_t i = 0; i < split.outliers().count(); ++i) kept[split.outliers().indices()[i]] = true;
    real error = 0, reference = 0;
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t r = 0; r < n; ++r) {
        real exact = 0, got = 0;
        for (std::size_t c = 0; c < k; ++c) {
          const float value = kept[c] ? ql::float16::from_float(w[r * k + c]).to_float() : stored[r * k + c];
          exact += static_cast<real>(w[r * k + c]) * static_cast<real>(x[i * k + c]);
          got += static_cast<real>(value) * static_cast<real>(x[i * k + c]);
        }
        error += (got - exact) * (got - exact);
        reference += exact * exact;
      }
    const ql::thread_pool three(3);
    const double found = ql::output_error(W, split, X, three);
    CHECK(found == ql::output_error(W, split, X));
    CHECK(std::abs(found - static_cast<double>(std::sqrt(error / reference))) < 1e-9);
  });
}
