// Group-local methods with data or norms of their own: importance_clip and hqq; and fake_quantize and split_outliers.
#include <qlite/gemm.hpp>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

// Sum over the matrix of f(column, |w - w'|), group by group of each row.
template <class Scheme, class F>
std::vector<double> group_sums(const strided_matrix<float>& W, const ql::quantized_matrix<Scheme>& q, F&& f) {
  std::vector<double> sums(q.shape().scale_count(), 0.0);
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) {
      const std::size_t g = ql::detail::scheme_traits<Scheme>::grouped ? c / q.group_size() : 0;
      group_numbers numbers;
      numbers.scale = q.scale(r, g);
      numbers.offset = q.offset(r, g);
      numbers.zero = q.zero_point(r, g);
      sums[q.view().scale_index(r, g)] +=
          f(c, std::abs(static_cast<double>(W.value(r, c)) - number_of<Scheme>(q.code(r, c), numbers)));
    }
  return sums;
}

// errors rounded to float, squares too, importances too
constexpr double slack = 1 + 0x1p-20;

}    // namespace

TEMPLATE_TEST_CASE("importance_clip minimizes the weighted error over the candidates of mse_clip", "",
                   (ql::scheme<ql::int4, group<32>>), (ql::scheme<ql::int4, any_group, ql::asymmetric>),
                   (ql::scheme<ql::int8, group<100>, ql::offset<>>), (ql::scheme<ql::int4, ql::per_channel>),
                   (ql::scheme<ql::int4, ql::per_tensor>)) {
  double before = 0, after = 0;
  for_random_cases(15, [&](random_source& random) {
    const std::size_t k = random.extent(1, 700);
    strided_matrix<float> W(random.extent(1, 4), k, random.integer(0, 2)), X(9, k, 0);
    fill(W, random);
    fill(X, random);
    for (std::size_t c = 0; c < k; ++c)
      if (random.chance(0.1)) X(3, c) = 50 * random.normal();
    TestType scheme{};
    if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group) scheme.granularity.size = random.extent(1, 150);
    ql::activation_stats stats(k);
    stats.observe(X.view());
    const auto weighted = [&](std::size_t c, double e) { return stats.mean_square(c) * e * e; };
    const ql::mse_clip grid{20, 15};
    const auto own = group_sums(W, ql::quantize(scheme, W.view(), ql::importance_clip(stats, grid)), weighted);
    const auto mse = group_sums(W, ql::quantize(scheme, W.view(), grid), weighted);
    const auto rtn = group_sums(W, ql::quantize(scheme, W.view(), ql::rtn{}), weighted);
    std::size_t worse = 0;
    for (std::size_t i = 0; i < own.size(); ++i) worse += own[i] > mse[i] * slack || own[i] > rtn[i] * slack;
    CHECK(worse == 0);
    for (std::size_t i = 0; i < own.size(); ++i) {
      before += mse[i];
      after += own[i];
    }
  });
  CHECK(after < before);

  random_source random(5);    // with equal importances it is mse_clip
  strided_matrix<float> W(5, 320, 1), ones(1, 320, 0);
  fill(W, random);
  for (std::size_t c = 0; c < 320; ++c) ones(0, c) = 1;
  ql::activation_stats stats(320);
  stats.observe(ones.view());
  TestType scheme{};
  if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group) scheme.granularity.size = 40;
  const auto square = [](std::size_t, double e) { return e * e; };
  const auto equal = group_sums(W, ql::quantize(scheme, W.view(), ql::importance_clip(stats)), square);
  const auto plain = group_sums(W, ql::quantize(scheme, W.view(), ql::mse_clip{}), square);
  for (std::size_t i = 0; i < equal.size(); ++i) CHECK(equal[i] <= plain[i] * slack);
}

TEMPLATE_TEST_CASE("hqq is never worse than round to nearest by mean error, and mostly better", "",
                   (ql::scheme<ql::int4, group<64>, ql::offset<>>),
                   (ql::scheme<ql::int4, any_group, ql::offset<float>>),
                   (ql::scheme<ql::int8, group<31>, ql::offset<float>, float>)) {
  double before = 0, after = 0;
  for_random_cases(25, [&](random_source& random) {
    strided_matrix<float> W(random.extent(1, 4), random.extent(1, 600), random.integer(0, 2));
    fill(W, random);
    TestType scheme{};
    if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group) scheme.granularity.size = random.extent(1, 150);
    const auto size = [](std::size_t, double e) { return e; };
    const auto own = group_sums(W, ql::quantize(scheme, W.view(), ql::hqq{}), size);
    const auto rtn = group_sums(W, ql::quantize(scheme, W.view(), ql::rtn{}), size);
    const auto none = group_sums(W, ql::quantize(scheme, W.view(), ql::hqq{0}), size);
    CHECK(none == rtn);
    std::size_t worse = 0;
    for (std::size_t i = 0; i < own.size(); ++i) worse += own[i] > rtn[i] * slack;
    CHECK(worse == 0);
    for (std::size_t i = 0; i < own.size(); ++i) {
      before += rtn[i] > 0 ? 1 : 0;
      after += rtn[i] > 0 ? own[i] / rtn[i] : 0;
    }
  });
  CHECK(after < 0.99 * before);
}

TEST_CASE("fake_quantize writes what quantize stands for") {
  for_random_cases(10, [](random_source& random) {
    const auto check = [&](auto element) {
      using T = decltype(element);
      strided_matrix<T> W(random.extent(1, 5), random.extent(1, 300), 2);
      fill(W, random);
      strided_matrix<T> expected(W.rows(), W.cols(), 1);
      const ql::scheme<ql::int4, any_group, ql::asymmetric> scheme{{random.extent(1, 90)}};
      ql::dequantize(ql::quantize(scheme, W.view(), ql::rtn{}), expected.view());
      ql::fake_quantize(scheme, W.view(), ql::rtn{});
      for (std::size_t r = 0; r < W.rows(); ++r)
        for (std::size_t c = 0; c < W.cols(); ++c) CHECK(W.value(r, c) == expected.value(r, c));
      CHECK(W.gaps_are_intact());
    };
    check(0.0f);
    check(ql::bfloat16{});
  });
}

TEST_CASE("split_outliers keeps the columns of large inputs in float16 and the outputs close") {
  for_random_cases(8, [](random_source& random) {
    const std::size_t k = random.extent(20, 200), n = random.extent(1, 40), m = random.extent(1, 20);
    strided_matrix<float> W(n, k, 1), X(m, k, 1), rest(m, k, 2);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < k; ++c) W(r, c) = random.normal();
    for (std::size_t r = 0; r < m; ++r)
      for (std::size_t c = 0; c < k; ++c) X(r, c) = random.normal() * (c % 17 == 3 ? 60.0f : 1.0f);
    ql::activation_stats stats(k);
    stats.observe(X.view());
    using w8 = ql::scheme<ql::int8, ql::per_channel>;
    const auto split = ql::quantize<w8>(W.view(), ql::split_outliers{stats});
    const ql::outlier_columns& outliers = split.outliers();
    std::size_t next = 0;
    for (std::size_t c = 0; c < k; ++c) {
      if (!(stats.max_abs(c) > 6)) continue;
      REQUIRE(next < outliers.count());
      CHECK(outliers.indices()[next] == c);
      for (std::size_t r = 0; r < n; ++r) {
        CHECK(static_cast<double>(outliers.weights()[next * n + r].to_float()) == to_half(W.value(r, c)));
        CHECK(split.codes().code(r, c) == 0);
      }
      ++next;
    }
    CHECK(next == outliers.count());

    std::vector<float> y(m * n), plain(m * n);
    const ql::matrix_view<float> Y{y.data(), m, n};
    ql::clear_outliers(X.view(), outliers, rest.view());
    ql::gemm(ql::dynamic<ql::int8>(rest.view()), ql::pack<ql::cpu::scalar>(split.codes()), Y);
    ql::add_outliers(X.view(), outliers, Y);
    ql::gemm(ql::dynamic<ql::int8>(X.view()), ql::pack<ql::cpu::scalar>(ql::quantize<w8>(W.view(), ql::rtn{})),
             ql::matrix_view<float>{plain.data(), m, n});
    double own = 0, all = 0, size = 0;
    for (std::size_t t = 0; t < m; ++t)
      for (std::size_t r = 0; r < n; ++r) {
        double exact = 0;
        for (std::size_t c = 0; c < k; ++c)
          exact += static_cast<double>(W.value(r, c)) * static_cast<double>(X.value(t, c));
        own += std::pow(exact - static_cast<double>(y[t * n + r]), 2);
        all += std::pow(exact - static_cast<double>(plain[t * n + r]), 2);
        size += exact * exact;
      }
    CAPTURE(k, n, m, own, all, size);
    CHECK(own <= all);
    CHECK(X.gaps_are_intact());
    CHECK(rest.gaps_are_intact());
  });
}

TEST_CASE("statistics of other columns and thresholds that are none are refused") {
  float w[6] = {1, 2, 3, 4, 5, 1e6f};
  const ql::matrix_view<const float> W{w, 2, 3};
  ql::activation_stats stats(3), others(4);
  const float x[3] = {1, 1, 9};
  stats.observe(ql::matrix_view<const float>{x, 1, 3});
  using w8 = ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>;
  const auto message = [&](const auto& method) { return refusal_of([&] { (void)ql::quantize<w8>(W, method); }); };
  CHECK_THAT(message(ql::importance_clip(others)), ContainsSubstring("columns of the statistics is 4, expected 3"));
  CHECK_THAT(message(ql::importance_clip(stats, ql::mse_clip{0, 0})), ContainsSubstring("grid is 0"));
  CHECK_THAT(message(ql::split_outliers{others}), ContainsSubstring("columns of the statistics is 4, expected 3"));
  CHECK_THAT(message(ql::split_outliers{stats, std::nanf("")}), ContainsSubstring("threshold is nan"));
  CHECK_THAT(message(ql::split_outliers{stats}), ContainsSubstring("row 1, column 2 is 1e+06"));
  ql::hqq method;
  method.beta = 0;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<ql::scheme<ql::int4, group<8>, ql::offset<>>>(W, method); }),
             ContainsSubstring("hqq.beta is 0"));
}
