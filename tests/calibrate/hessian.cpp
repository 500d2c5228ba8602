// The Hessian and the channel statistics: exact sums, and the same bits however the rows come.
#include <qlite/calibrate/activation_stats.hpp>
#include <qlite/calibrate/hessian.hpp>
#include <qlite/core/executors/thread_pool.hpp>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

template <class T>
ql::matrix_view<const T> rows_of(strided_matrix<T>& X, std::size_t begin, std::size_t end) {
  return {X.view().row(begin), end - begin, X.cols(), X.view().row_stride()};
}

}    // namespace

// The order of the sums is part of the interface, so the oracle adds in it and asks for equality: a product of floats
// is exact in double, which leaves one rounding an addition.
TEMPLATE_TEST_CASE("a Hessian is X^T X, summed row after row in double", "", float, ql::float16, ql::bfloat16) {
  for_random_cases(25, [](random_source& random) {
    const std::size_t k = random.extent(1, 300), m = random.extent(0, 600);
    strided_matrix<TestType> X(m, k, random.integer(0, 3));
    fill(X, random);
    ql::hessian H(k);
    const ql::thread_pool pool(3);
    for (std::size_t begin = 0; begin < m;) {
      const std::size_t end = std::min(m, begin + random.extent(1, 400));
      if (random.chance(0.5))
        H.observe(rows_of(X, begin, end));
      else
        H.observe(rows_of(X, begin, end), pool);
      begin = end;
    }
    CHECK(H.rows() == m);
    std::size_t wrong = 0;
    for (int i = 0; i < 200; ++i) {
      const std::size_t a = random.integer(0, k - 1), b = random.integer(0, k - 1);
      double sum = 0;
      for (std::size_t r = 0; r < m; ++r) {
        const double product = static_cast<double>(X.value(r, a)) * static_cast<double>(X.value(r, b));
        sum += product;
      }
      wrong += H(a, b) != sum || H(b, a) != sum;
    }
    CAPTURE(k, m);
    CHECK(wrong == 0);
  });
}

TEST_CASE("Hessians and statistics are merged") {
  for_random_cases(10, [](random_source& random) {
    const std::size_t k = random.extent(1, 80), m = random.extent(2, 100), cut = random.integer(0, m);
    strided_matrix<float> X(m, k, 0);
    fill(X, random);
    ql::hessian all(k), first(k), second(k);
    ql::activation_stats sums(k), one(k), two(k);
    all.observe(X.view());
    sums.observe(X.view());
    first.observe(rows_of(X, 0, cut));
    second.observe(rows_of(X, cut, m));
    one.observe(rows_of(X, 0, cut));
    two.observe(rows_of(X, cut, m));
    first.merge(second);
    one.merge(two);
    CHECK(first.rows() == m);
    CHECK(one.rows() == m);
    for (std::size_t a = 0; a < k; ++a) {
      // m additions of terms of either sign: each rounds by 2^-53 of a partial sum of magnitudes (Higham 2002, 4.2)
      const double bound = static_cast<double>(m + 1) * 0x1p-52;
      CHECK(std::abs(one.mean_abs(a) - sums.mean_abs(a)) <= bound * sums.mean_abs(a));
      CHECK(std::abs(one.mean_square(a) - sums.mean_square(a)) <= bound * sums.mean_square(a));
      CHECK(one.max_abs(a) == sums.max_abs(a));
      for (std::size_t b = 0; b < k; ++b)
        CHECK(std::abs(first(a, b) - all(a, b)) <= bound * std::sqrt(all(a, a) * all(b, b)));
    }
  });
}

TEST_CASE("channel statistics are means and maxima, row after row") {
  for_random_cases(20, [](random_source& random) {
    const std::size_t k = random.extent(1, 200), m = random.extent(1, 200);
    strided_matrix<ql::float16> X(m, k, 2);
    fill(X, random);
    ql::activation_stats stats(k);
    const ql::thread_pool pool(2);
    const std::size_t cut = random.integer(0, m);
    stats.observe(rows_of(X, 0, cut), pool);
    stats.observe(rows_of(X, cut, m));
    for (std::size_t c = 0; c < k; ++c) {
      double absolute = 0, squares = 0, largest = 0;
      for (std::size_t r = 0; r < m; ++r) {
        const double x = std::abs(static_cast<double>(X.value(r, c)));
        absolute += x;
        const double square = x * x;
        squares += square;
        largest = std::max(largest, x);
      }
      CHECK(stats.mean_abs(c) == absolute / static_cast<double>(m));
      CHECK(stats.mean_square(c) == squares / static_cast<double>(m));
      CHECK(static_cast<double>(stats.max_abs(c)) == largest);
    }
  });
}

TEST_CASE("Hessians and statistics refuse what they cannot count, and count nothing of it") {
  ql::hessian H(3);
  ql::activation_stats stats(3);
  float x[6] = {1, 2, 3, 4, std::numeric_limits<float>::infinity(), 6};
  const ql::matrix_view<const float> bad{x, 2, 3}, narrow{x, 1, 2}, good{x, 1, 3};
  for (const std::string& message : {refusal_of([&] { H.observe(bad); }), refusal_of([&] { stats.observe(bad); })})
    CHECK_THAT(message, ContainsSubstring("X has inf at row 1, column 1"));
  for (const std::string& message :
       {refusal_of([&] { H.observe(narrow); }), refusal_of([&] { stats.observe(narrow); })})
    CHECK_THAT(message, ContainsSubstring("columns of X is 2, expected 3"));
  CHECK(H.rows() == 0);
  CHECK(H(0, 0) == 0);
  H.observe(good);
  stats.observe(good);
  CHECK(H(2, 1) == 6);
  ql::hessian other(4);
  CHECK_THAT(refusal_of([&] { H.merge(other); }), ContainsSubstring("columns of the other Hessian is 4, expected 3"));
  ql::hessian moved = static_cast<ql::hessian&&>(H);
  CHECK(moved(2, 1) == 6);
  CHECK(H.cols() == 0);
  CHECK(ql::hessian{}.cols() == 0);
}
