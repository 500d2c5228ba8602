// Error metrics against sums in long double, of the same numbers and of pieces that are merged.
#include <qlite/evaluate/error_metrics.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;

namespace {

using real = long double;    // 64 bits of fraction or more: its rounding does not count beside double's

struct exact_metrics {
  real squared_error = 0, squared_reference = 0, squared_candidate = 0, product = 0, absolute = 0, largest = 0;
  std::size_t count = 0;

  void add(real r, real c) {
    const real e = c - r;
    squared_error += e * e;
    squared_reference += r * r;
    squared_candidate += c * c;
    product += r * c;
    absolute += std::fabs(e);
    largest = std::max(largest, std::fabs(e));
    ++count;
  }
};

// u = 2^-53. A sum of n products of rounded factors: (n - 1) additions, and up to three roundings in a term.
real unit() { return 0x1p-53L; }

void check_near(double value, real exact, real bound) {
  CAPTURE(value, static_cast<double>(exact), static_cast<double>(bound));
  CHECK(std::fabs(static_cast<real>(value) - exact) <= bound);
}

void check_metrics(const ql::error_metrics& m, const exact_metrics& x) {
  const real n = static_cast<real>(x.count), sums = (n + 4) * unit();
  REQUIRE(m.count() == x.count);
  check_near(m.squared_error(), x.squared_error, sums * x.squared_error);
  check_near(m.squared_reference(), x.squared_reference, sums * x.squared_reference);
  CHECK(static_cast<real>(m.max_error()) >= x.largest * (1 - unit()));
  CHECK(static_cast<real>(m.max_error()) <= x.largest * (1 + unit()));
  if (x.count == 0) return;
  check_near(m.mse(), x.squared_error / n, (sums + unit()) * x.squared_error / n);
  check_near(m.mean_absolute_error(), x.absolute / n, sums * x.absolute / n);
  if (x.squared_error > 0 && x.squared_reference > 0) {
    const real relative = std::sqrt(x.squared_error / x.squared_reference);
    // half of two sums' bounds (the square root), a division and a root
    check_near(m.relative_error(), relative, (sums + 2 * unit()) * relative);
    // d log10(x) = dx / (x ln 10), and a few roundings of the result itself
    const real decibels = 10 * std::log10(x.squared_reference / x.squared_error);
    check_near(m.sqnr_db(), decibels, 10 / std::log(10.0L) * (2 * sums + unit()) + 4 * unit() * std::fabs(decibels));
  }
  if (x.squared_reference > 0 && x.squared_candidate > 0)
    check_near(m.cosine(), x.product / (std::sqrt(x.squared_reference) * std::sqrt(x.squared_candidate)),
               (2 * n + 10) * unit());
}

template <class T>
float rounded(float x) {
  return ql::detail::element<T>::load(ql::detail::element<T>::store(x));
}

}    // namespace

TEMPLATE_TEST_CASE("metrics of matrices agree with long double", "", float, ql::float16, ql::bfloat16) {
  for_random_cases(200, [](random_source& random) {
    const std::size_t rows = random.extent(0, 30), cols = random.extent(0, 300), gap = random.integer(0, 3);
    const float noise = random.pick({0.0f, 1e-6f, 0.01f, 1.0f, 100.0f});
    std::vector<float> reference(rows * cols);
    std::vector<TestType> candidate(rows == 0 ? 0 : rows * (cols + gap));
    exact_metrics exact;
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) {
        const float w = random.chance(0.1) ? 0.0f : random.normal();
        const float v = rounded<TestType>(w + noise * random.normal());
        reference[r * cols + c] = w;
        candidate[r * (cols + gap) + c] = ql::detail::element<TestType>::store(v);
        exact.add(static_cast<real>(w), static_cast<real>(v));
      }
    const ql::matrix_view<const float> R{reference.data(), rows, cols};
    const ql::matrix_view<const TestType> C{candidate.data(), rows, cols, cols + gap};
    check_metrics(ql::metrics_of(R, C), exact);

    // Cut anywhere and merged, in either order.
    const std::size_t cut = random.integer(0, rows);
    ql::error_metrics upper, lower;
    ql::observe(upper, ql::matrix_view<const float>{reference.data(), cut, cols},
                ql::matrix_view<const TestType>{candidate.data(), cut, cols, cols + gap});
    ql::observe(lower, ql::matrix_view<const float>{reference.data() + cut * cols, rows - cut, cols},
                ql::matrix_view<const TestType>{candidate.data() + (cut == rows ? 0 : cut * (cols + gap)), rows - cut,
                                                cols, cols + gap});
    ql::error_metrics both = upper;
    both.merge(lower);
    check_metrics(both, exact);
    lower.merge(upper);
    check_metrics(lower, exact);
  });
}

TEST_CASE("metrics of few, equal and zero numbers") {
  ql::error_metrics none;
  CHECK(none.count() == 0);
  CHECK(none.mse() == 0.0);
  CHECK(none.mean_absolute_error() == 0.0);
  CHECK(none.relative_error() == 0.0);
  CHECK(std::isinf(none.sqnr_db()));
  CHECK(none.cosine() == 1.0);

  ql::error_metrics equal;
  equal.observe(3.0, 3.0);
  equal.observe(-4.0, -4.0);
  CHECK(equal.relative_error() == 0.0);
  CHECK(std::isinf(equal.sqnr_db()));
  CHECK(equal.cosine() == 1.0);
  CHECK(equal.squared_reference() == 25.0);

  ql::error_metrics lost;    // everything became 0
  lost.observe(3.0, 0.0);
  lost.observe(-4.0, 0.0);
  CHECK(lost.relative_error() == 1.0);
  CHECK(lost.sqnr_db() == 0.0);
  CHECK(lost.cosine() == 0.0);
  CHECK(lost.max_error() == 4.0);

  ql::error_metrics made;    // out of nothing
  made.observe(0.0, 1.0);
  CHECK(std::isinf(made.relative_error()));
  CHECK(made.sqnr_db() == -std::numeric_limits<double>::infinity());
}

TEST_CASE("a NaN stays visible") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ql::error_metrics m;
  m.observe(1.0, 1.0);
  m.observe(1.0, nan);
  m.observe(1.0, 5.0);
  CHECK(std::isnan(m.mse()));
  CHECK(std::isnan(m.max_error()));
  CHECK(std::isnan(m.relative_error()));
  CHECK(std::isnan(m.cosine()));
  ql::error_metrics joined;
  joined.observe(1.0, 9.0);
  joined.merge(m);
  CHECK(std::isnan(joined.max_error()));
}

TEST_CASE("matrices of other shapes are refused by name") {
  const float values[6] = {};
  const ql::matrix_view<const float> a{values, 2, 3}, b{values, 3, 2}, c{values, 2, 2};
  CHECK(refusal_of([&] { static_cast<void>(ql::metrics_of(a, b)); }) ==
        "qlite: rows of the candidate is 3, expected 2 (rows of the reference)");
  CHECK(refusal_of([&] { static_cast<void>(ql::metrics_of(a, c)); }) ==
        "qlite: columns of the candidate is 2, expected 3 (columns of the reference)");
  CHECK_THAT(refusal_of([&] {
               static_cast<void>(ql::metrics_of(a, ql::matrix_view<const float>{nullptr, 2, 3}));
             }),
             ContainsSubstring("candidate is null"));
}
