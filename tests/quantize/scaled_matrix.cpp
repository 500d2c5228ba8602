// Methods that scale the input channels: AWQ, SmoothQuant, a given scale, and where the scale goes.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>

#include <algorithm>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;
using w4 = ql::scheme<ql::int4, group<32>>;

namespace {

strided_matrix<float> normal(random_source& random, std::size_t rows, std::size_t cols, std::size_t gap = 0) {
  strided_matrix<float> m(rows, cols, gap);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) m(r, c) = random.normal();
  return m;
}
// Correlated channels, some of them large.
strided_matrix<float> inputs(random_source& random, std::size_t rows, std::size_t k) {
  strided_matrix<float> X = normal(random, rows, k, 1);
  std::vector<float> size(k);
  for (float& s : size) s = random.chance(0.06) ? 25.0f : random.uniform(0.2f, 2.0f);
  for (std::size_t r = 0; r < rows; ++r) {
    const float common = random.normal();
    for (std::size_t c = 0; c < k; ++c) X(r, c) = (X(r, c) + (c % 4 == 0 ? -common : common)) * size[c];
  }
  return X;
}

// Squared error of the outputs, in double.
template <class Quantized>
double output_error(const strided_matrix<float>& W, const Quantized& q, const strided_matrix<float>& X) {
  std::vector<float> back(W.rows() * W.cols());
  ql::dequantize(q, ql::matrix_view<float>{back.data(), W.rows(), W.cols()});
  double sum = 0;
  for (std::size_t i = 0; i < X.rows(); ++i)
    for (std::size_t n = 0; n < W.rows(); ++n) {
      double y = 0;
      for (std::size_t c = 0; c < W.cols(); ++c)
        y += static_cast<double>(X.value(i, c)) *
             (static_cast<double>(back[n * W.cols() + c]) - static_cast<double>(W.value(n, c)));
      sum += y * y;
    }
  return sum;
}

// The losses that awq compares have differences rounded to float, and outputs: 2^-23 of each term.
constexpr double slack = 1 + 1e-5;

}    // namespace

TEMPLATE_TEST_CASE("awq is never worse than its own way of rounding on its sample", "", w4,
                   (ql::scheme<ql::int4, any_group, ql::asymmetric>), (ql::scheme<ql::int4, ql::per_channel>),
                   (ql::scheme<ql::int4, any_group, ql::offset<>>), (ql::scheme<ql::int8, ql::per_tensor>)) {
  double before = 0, after = 0;
  for_random_cases(6, [&](random_source& random) {
    const std::size_t k = random.extent(1, 150), n = random.extent(1, 60), m = random.extent(1, 300);
    strided_matrix<float> W = normal(random, n, k, 2), X = inputs(random, m, k);
    TestType scheme{};
    if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group) scheme.granularity.size = random.extent(1, 70);
    ql::activation_stats stats(k);
    stats.observe(X.view());
    const double plain = output_error(W, ql::quantize(scheme, W.view(), ql::rtn{}), X);
    ql::awq method(stats, X.view());
    method.clip = false;
    const double searched = output_error(W, ql::quantize(scheme, W.view(), method), X);
    method.clip = true;
    const double both = output_error(W, ql::quantize(scheme, W.view(), method), X);
    CAPTURE(k, n, m);
    CHECK(searched <= plain * slack);
    CHECK(both <= searched * slack);
    if (k >= 32 && m >= 32) {
      before += 1;
      after += both / plain;
    }
  });
  CHECK(after <= before);
}

TEST_CASE("awq finds the best of its grid") {
  for_random_cases(5, [](random_source& random) {
    const std::size_t k = random.extent(33, 120), n = random.extent(2, 30), m = random.extent(10, 90);
    strided_matrix<float> W = normal(random, n, k), X = inputs(random, m, k);
    ql::activation_stats stats(k);
    stats.observe(X.view());
    ql::awq method(stats, X.view());
    method.clip = false;
    const auto found = ql::quantize<w4>(W.view(), method);
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 20; ++i) {    // the published search, scale and all
      std::vector<double> s(k);
      for (std::size_t c = 0; c < k; ++c) s[c] = std::pow(std::max(stats.mean_abs(c), 1e-4), i / 20.0);
      const double middle = std::sqrt(*std::max_element(s.begin(), s.end()) * *std::min_element(s.begin(), s.end()));
      ql::channel_scale scale(k);
      for (std::size_t c = 0; c < k; ++c)
        scale[c] = ql::bfloat16::from_float(static_cast<float>(s[c] / middle)).to_float();
      least = std::min(least, output_error(W, ql::quantize<w4>(W.view(), ql::scaled_by(scale)), X));
    }
    CHECK(output_error(W, found, X) <= least * slack);
    CHECK(output_error(W, found, X) * slack >= least);
  });
}

TEST_CASE("awq and smoothquant give the same codes with any executor") {
  random_source random(3);
  const std::size_t k = 130, n = 210;
  strided_matrix<float> W = normal(random, n, k), X = inputs(random, 300, k);
  ql::activation_stats stats(k);
  stats.observe(X.view());
  const ql::thread_pool pool(3);
  const ql::awq method(stats, X.view());
  const auto one = ql::quantize<w4>(W.view(), method), three = ql::quantize<w4>(W.view(), method, pool);
  CHECK(same_bytes(one.codes(), three.codes()));
  CHECK(std::equal(one.input_scale().data(), one.input_scale().data() + k, three.input_scale().data()));
  const ql::smoothquant smooth(stats);
  CHECK(same_bytes(ql::quantize<w4>(W.view(), smooth).codes(), ql::quantize<w4>(W.view(), smooth, pool).codes()));
}

TEST_CASE("smoothquant moves magnitude from the inputs to the weights") {
  for_random_cases(10, [](random_source& random) {
    const std::size_t k = random.extent(2, 100), n = random.extent(1, 40), m = 60;
    strided_matrix<float> W = normal(random, n, k), X = inputs(random, m, k);
    ql::activation_stats stats(k);
    stats.observe(X.view());
    const double alpha = random.pick({0.0, 0.5, 0.75, 1.0});
    using w8 = ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>;
    const auto q = ql::quantize<w8>(W.view(), ql::smoothquant(stats, alpha));
    for (std::size_t c = 0; c < k; ++c) {
      double w = 0;
      for (std::size_t r = 0; r < n; ++r) w = std::max(w, std::abs(static_cast<double>(W.value(r, c))));
      const double s = std::pow(std::max(static_cast<double>(stats.max_abs(c)), 1e-5), alpha) /
                       std::pow(std::max(w, 1e-5), 1 - alpha);
      CHECK(std::abs(static_cast<double>(q.input_scale()[c]) / s - 1) <= 0x1p-8);    // bfloat16
    }
    // (X / s) (s W) is X W: the codes are those of s W, and nothing else changed
    const auto plain = ql::quantize<w8>(W.view(), ql::scaled_by(q.input_scale()));
    CHECK(same_bytes(q.codes(), plain.codes()));
    strided_matrix<float> scaled(n, k, 0), divided(m, k, 0);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < k; ++c) scaled(r, c) = W(r, c) * q.input_scale()[c];
    ql::divide_inputs(X.view(), q.input_scale(), divided.view());
    for (std::size_t i = 0; i < 5; ++i) {
      const std::size_t r = random.integer(0, n - 1), t = random.integer(0, m - 1);
      double exact = 0, moved = 0, size = 0;
      for (std::size_t c = 0; c < k; ++c) {
        exact += static_cast<double>(W(r, c)) * static_cast<double>(X(t, c));
        moved += static_cast<double>(scaled(r, c)) * static_cast<double>(divided(t, c));
        size += std::abs(static_cast<double>(W(r, c)) * static_cast<double>(X(t, c)));
      }
      CHECK(std::abs(exact - moved) <= size * 0x1.01p-23);    // a product and a quotient, each rounded to float
    }
  });
}

TEST_CASE("smoothquant lowers the error of INT8 products with outlier channels") {
  random_source random(11);
  const std::size_t k = 256, n = 64, m = 32;
  strided_matrix<float> W = normal(random, n, k), X = inputs(random, m, k);
  ql::activation_stats stats(k);
  stats.observe(X.view());
  using w8 = ql::scheme<ql::int8, ql::per_channel>;
  const auto error_of = [&](ql::matrix_view<const float> x, const ql::quantized_matrix<w8>& q) {
    std::vector<float> y(m * n);
    ql::gemm(ql::dynamic<ql::int8>(x), ql::pack<ql::cpu::scalar>(q), ql::matrix_view<float>{y.data(), m, n});
    double sum = 0;
    for (std::size_t t = 0; t < m; ++t)
      for (std::size_t r = 0; r < n; ++r) {
        double exact = 0;
        for (std::size_t c = 0; c < k; ++c) exact += static_cast<double>(W(r, c)) * static_cast<double>(X(t, c));
        sum += (exact - static_cast<double>(y[t * n + r])) * (exact - static_cast<double>(y[t * n + r]));
      }
    return sum;
  };
  const double plain = error_of(X.view(), ql::quantize<w8>(W.view(), ql::rtn{}));
  const auto smooth = ql::quantize<w8>(W.view(), ql::smoothquant(stats));
  strided_matrix<float> divided(m, k, 0);
  ql::divide_inputs(X.view(), smooth.input_scale(), divided.view());
  CHECK(error_of(divided.view(), smooth.codes()) < 0.5 * plain);
}

TEST_CASE("an input scale is folded into what makes the inputs") {
  random_source random(2);
  const std::size_t k = 20, before = 13;
  strided_matrix<float> layer = normal(random, k, before, 1);
  std::vector<float> gain(k), copy;
  for (float& g : gain) g = random.normal();
  copy = gain;
  ql::channel_scale scale(k);
  for (std::size_t c = 0; c < k; ++c) scale[c] = random.uniform(0.1f, 9.0f);
  strided_matrix<float> folded(k, before, 1);
  for (std::size_t r = 0; r < k; ++r)
    for (std::size_t c = 0; c < before; ++c) folded(r, c) = layer(r, c);
  ql::fold_input_scale(scale, folded.view());
  ql::fold_input_scale(scale, gain.data(), gain.size());
  for (std::size_t r = 0; r < k; ++r) {
    CHECK(gain[r] == copy[r] / scale[r]);
    for (std::size_t c = 0; c < before; ++c) CHECK(folded(r, c) == layer(r, c) / scale[r]);
  }
  CHECK(folded.gaps_are_intact());
}

TEST_CASE("gptq on scaled weights takes the Hessian of the divided inputs") {
  random_source random(9);
  const std::size_t k = 96, n = 24, m = 400;
  strided_matrix<float> W = normal(random, n, k), X = inputs(random, m, k), divided(m, k, 0);
  ql::activation_stats stats(k);
  stats.observe(X.view());
  ql::hessian H(k), of_divided(k);
  H.observe(X.view());
  const auto awq = ql::quantize<w4>(W.view(), ql::awq(stats, X.view()));
  ql::divide_inputs(X.view(), awq.input_scale(), divided.view());
  of_divided.observe(divided.view());
  const ql::hessian D = ql::divide_inputs(H, awq.input_scale());
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j)    // each divided input is rounded to float once
      CHECK(std::abs(D(i, j) - of_divided(i, j)) <= 0x1.1p-23 * std::sqrt(D(i, i) * D(j, j)));
  const auto both = ql::quantize<w4>(W.view(), ql::scaled_by(awq.input_scale(), ql::gptq(D)));
  CHECK(output_error(W, both, X) < output_error(W, ql::quantize<w4>(W.view(), ql::scaled_by(awq.input_scale())), X));
}

TEST_CASE("output_error takes weights with an input scale") {
  random_source random(6);
  const std::size_t k = 70, n = 9, m = 50;
  strided_matrix<float> W = normal(random, n, k), X = inputs(random, m, k);
  ql::activation_stats stats(k);
  stats.observe(X.view());
  const auto q = ql::quantize<w4>(W.view(), ql::smoothquant(stats, 0.7));
  double size = 0;
  for (std::size_t t = 0; t < m; ++t)
    for (std::size_t r = 0; r < n; ++r) {
      double y = 0;
      for (std::size_t c = 0; c < k; ++c) y += static_cast<double>(W(r, c)) * static_cast<double>(X(t, c));
      size += y * y;
    }
  // there the weights are not rounded to float again after the division
  const double expected = std::sqrt(output_error(W, q, X) / size);
  CHECK(std::abs(ql::output_error(W.view(), q, X.view()) - expected) < 1e-6 * expected + 1e-7);
}

TEST_CASE("scales and samples that cannot be are refused") {
  float w[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  const ql::matrix_view<const float> W{w, 2, 4}, X{w, 1, 4}, narrow{w, 1, 3};
  ql::activation_stats stats(4), others(3);
  const auto message = [&](const auto& method) { return refusal_of([&] { (void)ql::quantize<w4>(W, method); }); };
  CHECK_THAT(message(ql::awq(others, X)), ContainsSubstring("columns of the statistics is 3, expected 4"));
  CHECK_THAT(message(ql::awq(stats, narrow)), ContainsSubstring("columns of X is 3, expected 4"));
  CHECK_THAT(message(ql::awq(stats, ql::matrix_view<const float>{w, 0, 4})), ContainsSubstring("sample has 0 rows"));
  ql::awq method(stats, X);
  method.grid = 0;
  CHECK_THAT(message(method), ContainsSubstring("awq.grid is 0"));
  CHECK_THAT(message(ql::smoothquant(others)), ContainsSubstring("columns of the statistics is 3, expected 4"));
  CHECK_THAT(message(ql::smoothquant(stats, 1.5)), ContainsSubstring("alpha is 1.5"));
  ql::channel_scale scale(4);
  for (std::size_t c = 0; c < 4; ++c) scale[c] = 1;
  scale[2] = -1;
  CHECK_THAT(message(ql::scaled_by(scale)), ContainsSubstring("factor 2 of the input scale is -1"));
  CHECK_THAT(refusal_of([&] { ql::fold_input_scale(scale, w, 3); }),
             ContainsSubstring("factors of the input scale is 4, expected 3"));
}
