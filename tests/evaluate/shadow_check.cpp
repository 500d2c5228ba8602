// The watch over layers: when it looks, at what, what it finds, and that it allocates nothing.
#include <qlite/evaluate/shadow_check.hpp>
#include <qlite/gemm.hpp>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "gemm/matrices.hpp"
#include "support/counted_allocations.hpp"
#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = ql::cpu::scalar;
using ql::matrix_view;

namespace {

ql::shadow_options options_of(std::size_t period, std::size_t rows, std::size_t columns, double expected = 0.0) {
  ql::shadow_options o;
  o.period = period;
  o.rows = rows;
  o.columns = columns;
  o.expected_error = expected;
  return o;
}

// silu(x w + b) in long double.
long double exact_output(const input_matrix<float>& w, const input_matrix<float>& x, const std::vector<float>& bias,
                         std::size_t row, std::size_t column) {
  long double sum = 0;
  for (std::size_t c = 0; c < w.cols(); ++c)
    sum += static_cast<long double>(w.at(column, c)) * static_cast<long double>(x.at(row, c));
  sum += static_cast<long double>(bias[column]);
  return sum / (1 + std::exp(-sum));
}

}    // namespace

TEST_CASE("a check looks at rows and columns in turn, every n-th call, and finds the error that is there") {
  for_random_cases(60, [](random_source& random) {
    const std::size_t n = random.extent(1, 60), k = random.extent(1, 120);
    const auto w = random_inputs<float>(random, n, k);
    const auto bias = random.normal_vector(n);
    const auto options =
        options_of(random.integer(1, 4), random.integer(1, 3), random.pick<std::size_t>({1, 5, 16, 20, 1000}));
    const auto packed = ql::pack<backend>(ql::quantize<ql::scheme<ql::int8, ql::per_channel>>(w.view(), ql::rtn{}));
    const auto epilogue = ql::epilogue::chain(ql::epilogue::bias{bias.data(), n}, ql::epilogue::silu{});

    std::size_t reports = 0;
    std::vector<int> looked_at(n);
    ql::error_metrics all;
    ql::shadow_report got;
    ql::shadow_check watch(w.view(), options, [&](const ql::shadow_report& r) {
      ++reports;
      got = r;
    });
    const std::size_t calls = options.period * (n + 2);
    for (std::size_t call = 1; call <= calls; ++call) {
      const std::size_t m = random.integer(1, 5);
      const auto x = random_inputs<float>(random, m, k);
      std::vector<float> y(m * n);
      const matrix_view<float> Y{y.data(), m, n};
      ql::gemm(ql::dynamic<ql::int8>(x.view()), packed, Y, epilogue);
      const bool due = call % options.period == 0;
      REQUIRE(watch(x.view(), Y, epilogue) == due);
      REQUIRE(reports == call / options.period);
      REQUIRE(watch.calls() == call);
      if (!due) continue;
      REQUIRE(got.call == call);
      REQUIRE(got.rows == std::min(options.rows, m));
      REQUIRE(got.columns == std::min(options.columns, n));
      REQUIRE(got.first_row + got.rows <= m);
      REQUIRE(got.first_column + got.columns <= n);
      REQUIRE(got.now.count() == got.rows * got.columns);
      REQUIRE(got.drift == 0.0);
      long double error = 0, slack = 0;
      for (std::size_t r = got.first_row; r < got.first_row + got.rows; ++r)
        for (std::size_t j = got.first_column; j < got.first_column + got.columns; ++j) {
          const long double exact = exact_output(w, x, bias, r, j);
          const long double e = static_cast<long double>(y[r * n + j]) - exact;
          error += e * e;
          // The check rounds the sum to float, adds the bias in float and takes qlite's silu, which is within 1e-6 of
          // the exact one relative to max(1, |y|); the slope of silu is below 1.1.
          long double magnitude = std::fabs(static_cast<long double>(bias[j]));
          for (std::size_t c = 0; c < k; ++c)
            magnitude += std::fabs(static_cast<long double>(w.at(j, c)) * static_cast<long double>(x.at(r, c)));
          const long double d = 1.1L * 3 * 0x1p-24L * magnitude + 1e-6L * std::max(1.0L, std::fabs(exact));
          slack += 2 * std::fabs(e) * d + d * d;
        }
      REQUIRE(std::fabs(static_cast<long double>(got.now.squared_error()) - error) <= slack);
      for (std::size_t j = 0; j < got.columns; ++j) ++looked_at[got.first_column + j];
      all.merge(got.now);
      REQUIRE(got.all.count() == all.count());
      REQUIRE(got.all.squared_error() == all.squared_error());
      REQUIRE(watch.last().call == call);
    }
    for (const int times : looked_at) REQUIRE(times > 0);    // n checks see each column
  });
}

TEST_CASE("drift is about 1 while nothing changes, and grows when inputs do") {
  random_source random(4);
  const std::size_t n = 64, k = 256, m = 32;
  const auto w = random_inputs<float>(random, n, k);
  auto x = random_inputs<float>(random, m, k);
  const auto q = ql::quantize<ql::scheme<ql::int8, ql::per_channel>>(w.view(), ql::rtn{});
  const auto packed = ql::pack<backend>(q);
  std::vector<float> y(m * n);
  const matrix_view<float> Y{y.data(), m, n};
  // What is normal: the error with INT8 activations on such inputs.
  ql::gemm(ql::dynamic<ql::int8>(x.view()), packed, Y);
  double drift = -1;
  ql::error_metrics normal;
  ql::shadow_check calibration(w.view(), options_of(1, m, n), [&](const ql::shadow_report& r) { normal = r.now; });
  calibration(x.view(), Y);
  ql::shadow_check watch(w.view(), options_of(1, m, n, normal.relative_error()),
                         [&](const ql::shadow_report& r) { drift = r.drift; });
  watch(x.view(), Y);
  CHECK(drift == 1.0);
  // One channel in each row becomes 200 times as large: one scale a row does not suit it.
  auto other = random_inputs<float>(random, m, k);
  for (std::size_t r = 0; r < m; ++r)
    for (std::size_t c = 0; c < k; ++c) other(r, c) = x.at(r, c) * (c == 3 ? 0.0f : 1.0f);
  for (std::size_t r = 0; r < m; ++r) other(r, 3) = 200.0f;
  auto zero = random_inputs<float>(random, n, k);    // ... where the weights do not even look
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < k; ++c) zero(r, c) = c == 3 ? 0.0f : w.at(r, c);
  const auto packed_zero =
      ql::pack<backend>(ql::quantize<ql::scheme<ql::int8, ql::per_channel>>(zero.view(), ql::rtn{}));
  ql::shadow_check other_watch(zero.view(), options_of(1, m, n, normal.relative_error()),
                               [&](const ql::shadow_report& r) { drift = r.drift; });
  ql::gemm(ql::dynamic<ql::int8>(other.view()), packed_zero, Y);
  other_watch(other.view(), Y);
  CHECK(drift > 5.0);
}

TEST_CASE("checks allocate nothing") {
  random_source random(9);
  const std::size_t n = 40, k = 96, m = 3;
  const auto w = random_inputs<ql::bfloat16>(random, n, k);
  const auto x = random_inputs<ql::float16>(random, m, k);
  std::vector<ql::bfloat16> y(m * n);
  const matrix_view<ql::bfloat16> Y{y.data(), m, n};
  double sum = 0;
  ql::shadow_check watch(w.view(), options_of(2, 2, 17), [&](const ql::shadow_report& r) { sum += r.now.mse(); });
  const long before = allocations;
  for (int i = 0; i < 100; ++i) watch(x.view(), Y, ql::epilogue::gelu{});
  CHECK(allocations == before);
  CHECK(before > 0);
  CHECK(sum > 0);
}

TEST_CASE("calls without rows or columns, and what is refused") {
  random_source random(2);
  const auto w = random_inputs<float>(random, 4, 8);
  const auto x = random_inputs<float>(random, 2, 8);
  std::vector<float> y(8);
  std::size_t reports = 0;
  const auto count = [&](const ql::shadow_report&) { ++reports; };
  ql::shadow_check watch(w.view(), options_of(1, 1, 1), count);
  CHECK_FALSE(watch(matrix_view<const float>{nullptr, 0, 8}, matrix_view<float>{nullptr, 0, 4}));
  CHECK(watch.calls() == 0);
  CHECK(watch(x.view(), matrix_view<float>{y.data(), 2, 4}));
  CHECK(reports == 1);
  CHECK(refusal_of([&] {
          watch(x.view(), matrix_view<float>{y.data(), 2, 3});
        }) == "qlite: the columns of Y is 3, expected 4 (rows of W)");
  CHECK(refusal_of([&] {
          watch(x.view(), matrix_view<float>{y.data(), 1, 4});
        }) == "qlite: the rows of Y is 1, expected 2 (rows of X)");
  const ql::epilogue::bias<float> short_bias{y.data(), 3};
  CHECK_THAT(refusal_of([&] {
               watch(x.view(), matrix_view<float>{y.data(), 2, 4}, short_bias);
             }),
             ContainsSubstring("bias"));
  CHECK(refusal_of([&] { ql::shadow_check(w.view(), options_of(0, 1, 2), count); }) ==
        "qlite: shadow_options has period 0, rows 1, columns 2; expected at least 1 each");
  CHECK_THAT(refusal_of([&] { ql::shadow_check(w.view(), options_of(1, 1, 2, std::nan("")), count); }),
             ContainsSubstring("expected_error is nan"));

  // No outputs, or no inputs: nothing to compare, and all zeros.
  ql::shadow_check narrow(matrix_view<const float>{nullptr, 0, 8}, options_of(1, 1, 1), count);
  CHECK(narrow(x.view(), matrix_view<float>{nullptr, 2, 0}));
  CHECK(narrow.last().now.count() == 0);
  const std::vector<float> zeros(8);
  ql::shadow_check shallow(matrix_view<const float>{nullptr, 4, 0}, options_of(1, 2, 4), count);
  CHECK(shallow(matrix_view<const float>{nullptr, 2, 0}, matrix_view<const float>{zeros.data(), 2, 4}));
  CHECK(shallow.last().now.relative_error() == 0.0);
}
