// Weights that make up for the drift of a model, against the normal equations in double, and the sums they come from.
#include <qlite/core/executors/thread_pool.hpp>

#include <cstring>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

// The inputs of a layer in a model and in its quantized form, and the residual stream that its outputs are added to.
struct drifted_layer {
  std::size_t n, k, m;
  strided_matrix<float> W, X, Xq, R, Rq;

  drifted_layer(random_source& random, std::size_t outputs, std::size_t inputs, std::size_t rows)
      : n(outputs), k(inputs), m(rows), W(n, k, 1), X(m, k, 2), Xq(m, k, 0), R(m, n, 1), Rq(m, n, 3) {
    const auto fill = [&](strided_matrix<float>& a) {
      for (std::size_t r = 0; r < a.rows(); ++r)
        for (std::size_t c = 0; c < a.cols(); ++c) a(r, c) = random.normal();
    };
    fill(W);
    fill(X);
    fill(R);
    for (std::size_t r = 0; r < m; ++r) {
      for (std::size_t c = 0; c < k; ++c) Xq(r, c) = c % 7 == 3 ? 0.0f : 0.9f * X(r, c) + 0.2f * random.normal();
      for (std::size_t c = 0; c < n; ++c) Rq(r, c) = R(r, c) + 0.1f * Xq(r, c % k) + 0.1f * random.normal();
    }
  }
};

std::vector<float> compensated_weights(drifted_layer& l, double damping, bool residual, double scarcity = 0,
                                       float strength = 1.0f) {
  ql::hessian H(l.k);
  ql::drift inputs(l.k, l.k), stream(l.n, l.k);
  H.observe(l.Xq.view());
  inputs.observe(l.X.view(), l.Xq.view(), l.Xq.view());
  stream.observe(l.R.view(), l.Rq.view(), l.Xq.view());
  ql::compensated<> method(H, inputs);
  method.damping = damping;
  method.scarcity = scarcity;
  method.strength = strength;
  if (residual) method.residual = &stream;
  std::vector<float> out(l.n * l.k);
  ql::compensate(l.W.view(), method, ql::matrix_view<float>{out.data(), l.n, l.k});
  return out;
}

}    // namespace

TEST_CASE("drift: the products in double, however rows are cut, merged and spread over threads") {
  for_random_cases(10, [](random_source& random) {
    drifted_layer l(random, random.extent(1, 120), random.extent(1, 150), random.extent(1, 600));
    const std::size_t cut = random.integer(0, l.m);
    const ql::thread_pool three(3);
    const auto rows = [](strided_matrix<float>& a, std::size_t first, std::size_t count) {
      const auto v = a.view();
      return ql::matrix_view<const float>{v.data() + first * v.row_stride(), count, v.cols(), v.row_stride()};
    };
    ql::drift whole(l.n, l.k), pieces(l.n, l.k), first(l.n, l.k), second(l.n, l.k);
    whole.observe(l.R.view(), l.Rq.view(), l.Xq.view());
    pieces.observe(rows(l.R, 0, cut), rows(l.Rq, 0, cut), rows(l.Xq, 0, cut), three);
    pieces.observe(rows(l.R, cut, l.m - cut), rows(l.Rq, cut, l.m - cut), rows(l.Xq, cut, l.m - cut), three);
    first.observe(rows(l.R, 0, cut), rows(l.Rq, 0, cut), rows(l.Xq, 0, cut));
    second.observe(rows(l.R, cut, l.m - cut), rows(l.Rq, cut, l.m - cut), rows(l.Xq, cut, l.m - cut));
    first.merge(second);
    for (std::size_t i = 0; i < l.n; ++i)
      for (std::size_t j = 0; j < l.k; ++j) {
        double sum = 0, size = 0;
        for (std::size_t r = 0; r < l.m; ++r) {
          const double product = static_cast<double>(l.R(r, i) - l.Rq(r, i)) * static_cast<double>(l.Xq(r, j));
          sum += product;
          size += std::abs(product);
        }
        CHECK(whole(i, j) == sum);    // row after row
        CHECK(pieces(i, j) == whole(i, j));
        CHECK(std::abs(first(i, j) - sum) <= static_cast<double>(l.m) * 0x1p-52 * size);
      }
  });
}

TEST_CASE("compensated weights solve the normal equations") {
  for_random_cases(14, [](random_source& random) {
    drifted_layer l(random, random.extent(1, 420), random.extent(1, 300), random.integer(20, 500));
    const double least = random.pick({0.01, 0.3}), scarcity = random.pick({0.0, 0.1, 10.0});
    const bool residual = random.chance(0.5);
    const std::vector<float> better = compensated_weights(l, least, residual, scarcity);
    const double damping = std::max(least, scarcity * static_cast<double>(l.k) / static_cast<double>(l.m));
    double mean = 0, live = 0;
    for (std::size_t c = 0; c < l.k; ++c) {
      double sum = 0;
      for (std::size_t r = 0; r < l.m; ++r) sum += static_cast<double>(l.Xq(r, c)) * static_cast<double>(l.Xq(r, c));
      mean += sum;
      live += sum > 0;
    }
    mean = live > 0 ? mean / live : 1.0;
    for (std::size_t trial = 0; trial < 5; ++trial) {    // of these rows
      const std::size_t n = random.integer(0, l.n - 1);
      std::vector<double> left(l.m);
      for (std::size_t r = 0; r < l.m; ++r) {
        left[r] = residual ? static_cast<double>(l.R(r, n)) - static_cast<double>(l.Rq(r, n)) : 0.0;
        for (std::size_t c = 0; c < l.k; ++c)
          left[r] += static_cast<double>(l.X(r, c)) * static_cast<double>(l.W(n, c)) -
                     static_cast<double>(l.Xq(r, c)) * static_cast<double>(better[n * l.k + c]);
      }
      for (std::size_t c = 0; c < l.k; ++c) {
        // a dead column has the mean on its diagonal, and nothing to make up for
        double slope = -damping * mean * (static_cast<double>(better[n * l.k + c]) - static_cast<double>(l.W(n, c)));
        double size = mean * std::max(1.0, damping);
        for (std::size_t r = 0; r < l.m; ++r) {
          slope += left[r] * static_cast<double>(l.Xq(r, c));
          size += std::abs(left[r] * static_cast<double>(l.Xq(r, c)));
        }
        if (c % 7 == 3)
          CHECK(better[n * l.k + c] == l.W(n, c));
        else
          CHECK(std::abs(slope) < 3e-6 * size);    // of the floats on the way
      }
    }
  });
}

TEST_CASE("compensation: no drift, strength, threads, and what the method quantizes") {
  for_random_cases(6, [](random_source& random) {
    drifted_layer l(random, random.extent(1, 500), random.extent(1, 200), 150);
    ql::hessian H(l.k);
    H.observe(l.Xq.view());
    ql::drift none(l.k, l.k), some(l.k, l.k);
    none.observe(l.Xq.view(), l.Xq.view(), l.Xq.view());
    some.observe(l.X.view(), l.Xq.view(), l.Xq.view());
    std::vector<float> out(l.n * l.k), other(l.n * l.k);
    const ql::matrix_view<float> to{out.data(), l.n, l.k}, again{other.data(), l.n, l.k};
    ql::compensate(l.W.view(), ql::compensated<>(H, none), to);
    for (std::size_t r = 0; r < l.n; ++r)
      for (std::size_t c = 0; c < l.k; ++c) CHECK(to(r, c) == l.W(r, c));
    ql::compensated<> method(H, some);
    const ql::thread_pool three(3);
    ql::compensate(l.W.view(), method, to);
    ql::compensate(l.W.view(), method, again, three);
    CHECK(out == other);
    method.strength = 0.5f;
    ql::compensate(l.W.view(), method, again);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float w = l.W(i / l.k, i % l.k);
      CHECK(std::abs(2 * (other[i] - w) - (out[i] - w)) <= 4e-7f * (std::abs(out[i]) + std::abs(w)));
    }
    using w4 = ql::scheme<ql::int4, ql::per_group<32>>;
    const ql::gptq rounding(H);
    const auto q = ql::quantize<w4>(l.W.view(), ql::compensated(H, some, rounding));
    const auto expected = ql::quantize<w4>(ql::matrix_view<const float>(to), rounding);
    CHECK(std::memcmp(q.codes(), expected.codes(), q.shape().code_bytes()) == 0);
    CHECK(std::memcmp(q.scales(), expected.scales(), q.shape().scale_bytes()) == 0);
  });
}

TEST_CASE("compensated lowers the error against the original's outputs") {
  const auto [rows, scarcity, most] =
      GENERATE(table<std::size_t, double, double>({{600, 0.0, 0.9}, {3000, 10.0, 0.97}}));
  random_source random(5);
  drifted_layer l(random, 40, 128, rows);
  ql::hessian H(l.k);
  H.observe(l.Xq.view());
  ql::drift inputs(l.k, l.k);
  inputs.observe(l.X.view(), l.Xq.view(), l.Xq.view());
  using w4 = ql::scheme<ql::int4, ql::per_group<32>>;
  const auto error = [&](const ql::quantized_matrix<w4>& q) {
    std::vector<float> stored(l.n * l.k);
    ql::dequantize(q, ql::matrix_view<float>{stored.data(), l.n, l.k});
    double sum = 0;
    for (std::size_t r = 0; r < l.m; ++r)
      for (std::size_t i = 0; i < l.n; ++i) {
        double y = 0;
        for (std::size_t c = 0; c < l.k; ++c)
          y += static_cast<double>(l.X(r, c)) * static_cast<double>(l.W(i, c)) -
               static_cast<double>(l.Xq(r, c)) * static_cast<double>(stored[i * l.k + c]);
        sum += y * y;
      }
    return sum;
  };
  const ql::gptq rounding(H);
  ql::compensated method(H, inputs, rounding);
  method.scarcity = scarcity;
  CHECK(error(ql::quantize<w4>(l.W.view(), method)) < most * error(ql::quantize<w4>(l.W.view(), rounding)));
}

TEST_CASE("compensation from few rows does not follow their noise") {
  random_source random(6);
  const std::size_t n = 24, k = 96, few = 200, all = 2000;
  strided_matrix<float> W(n, k, 0), X(all, k, 0), Xq(all, k, 0), R(all, n, 0), Rq(all, n, 0);
  const auto fill = [&](strided_matrix<float>& a, auto&& value) {
    for (std::size_t r = 0; r < a.rows(); ++r)
      for (std::size_t c = 0; c < a.cols(); ++c) a(r, c) = value(r, c);
  };
  fill(W, [&](std::size_t, std::size_t) { return random.normal(); });
  fill(X, [&](std::size_t, std::size_t) { return random.normal(); });
  fill(R, [&](std::size_t, std::size_t) { return random.normal(); });
  fill(Xq, [&](std::size_t r, std::size_t c) { return X(r, c) + 0.02f * random.normal(); });
  fill(Rq, [&](std::size_t r, std::size_t c) { return R(r, c) + 0.4f * Xq(r, c) + random.normal(); });
  const auto first = [&](strided_matrix<float>& a) {
    return ql::matrix_view<const float>{a.view().data(), few, a.cols(), a.view().row_stride()};
  };
  ql::hessian H(k);
  ql::drift inputs(k, k), stream(n, k);
  H.observe(first(Xq));
  inputs.observe(first(X), first(Xq), first(Xq));
  stream.observe(first(R), first(Rq), first(Xq));
  const auto error = [&](double scarcity, float strength) {    // on the other rows
    ql::compensated<> method(H, inputs);
    method.residual = &stream;
    method.scarcity = scarcity;
    method.strength = strength;
    std::vector<float> better(n * k);
    ql::compensate(W.view(), method, ql::matrix_view<float>{better.data(), n, k});
    double sum = 0;
    for (std::size_t r = few; r < all; ++r)
      for (std::size_t i = 0; i < n; ++i) {
        double left = static_cast<double>(R(r, i)) - static_cast<double>(Rq(r, i));
        for (std::size_t c = 0; c < k; ++c)
          left += static_cast<double>(X(r, c)) * static_cast<double>(W(i, c)) -
                  static_cast<double>(Xq(r, c)) * static_cast<double>(better[i * k + c]);
        sum += left * left;
      }
    return sum;
  };
  const double without = error(0, 0);
  CHECK(error(0, 1) > without);    // what follows the noise costs more than the rest gains
  CHECK(error(10, 1) < without);
}

TEST_CASE("compensated takes matrices without rows, and refuses what it cannot use") {
  using w4 = ql::scheme<ql::int4, ql::per_group<8>>;
  float w[18] = {}, x[18] = {};
  ql::hessian H(9);
  ql::drift inputs(9, 9), other(2, 8), stream(2, 9);
  const ql::matrix_view<const float> W{w, 2, 9}, narrow{w, 2, 8};
  CHECK(ql::quantize<w4>(ql::matrix_view<const float>{nullptr, 0, 9}, ql::compensated(H, inputs)).rows() == 0);
  CHECK(ql::quantize<w4>(W, ql::compensated(H, inputs)).rows() == 2);    // nothing observed
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(narrow, ql::compensated(H, inputs)); }),
             ContainsSubstring("the columns of the Hessian is 9, expected 8"));
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::compensated(H, other)); }),
             ContainsSubstring("the rows of the drift is 2, expected 9"));
  ql::compensated<> method(H, inputs);
  method.residual = &stream;
  CHECK_NOTHROW((void)ql::quantize<w4>(W, method));
  method.residual = &inputs;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }),
             ContainsSubstring("the rows of the drift is 9, expected 2 (rows of W)"));
  method.residual = nullptr;
  method.strength = 2;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }), ContainsSubstring("compensated.strength is 2"));
  method.strength = 1;
  method.scarcity = -1;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }), ContainsSubstring("compensated.scarcity is -1"));
  method.scarcity = 10;
  method.damping = -1;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }), ContainsSubstring("compensated.damping is -1"));

  const ql::matrix_view<const float> X{x, 2, 9};
  CHECK_THAT(refusal_of([&] { inputs.observe(X, X, narrow); }), ContainsSubstring("columns of X is 8"));
  CHECK_THAT(refusal_of([&] {
               inputs.observe(X, ql::matrix_view<const float>{x, 1, 9}, X);
             }),
             ContainsSubstring("rows of the quantized model's numbers is 1, expected 2"));
  CHECK_THAT(refusal_of([&] { inputs.merge(stream); }), ContainsSubstring("rows of the other drift is 2"));
  x[4] = HUGE_VALF;
  CHECK_THAT(refusal_of([&] { inputs.observe(X, X, X); }), ContainsSubstring("X has inf at row 0, column 4"));
  H(1, 2) = std::nan("");
  method.damping = 0.01;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }),
             ContainsSubstring("element (1, 2) of the Hessian is"));
}
