// Divergences and likelihoods against softmax in long double.
#include <qlite/evaluate/logits.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;

namespace {

using real = long double;

// The plain definition, without a shift: fits into long double's exponent for |x| < 11,000.
std::vector<real> softmax(const std::vector<float>& x) {
  std::vector<real> p(x.size());
  real sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += p[i] = std::exp(static_cast<real>(x[i]));
  for (real& v : p) v /= sum;
  return p;
}

// How far one log softmax in double may be from the exact one. The shifted logit is a difference of floats and exact to
// a relative 2^-53; exp and log of the C library are good to about one unit in the last place, and the sum of `count`
// of them to a relative (count + 3) 2^-53, which log turns into as much absolutely.
real log_softmax_bound(std::size_t count, real range) { return (static_cast<real>(count) + 8 + 4 * range) * 0x1p-53L; }

std::vector<float> random_logits(random_source& random, std::size_t count, float scale) {
  std::vector<float> x = random.normal_vector(count, scale);
  for (float& v : x) v += random.uniform(-20.0f, 20.0f);
  return x;
}

}    // namespace

TEST_CASE("likelihoods and divergences agree with the definition") {
  for_random_cases(300, [](random_source& random) {
    const std::size_t count = random.extent(1, 600);
    const float scale = random.pick({0.0f, 0.1f, 3.0f, 30.0f});
    const auto p = random_logits(random, count, scale);
    auto q = p;
    const float noise = random.pick({0.0f, 1e-3f, 0.1f, 5.0f});
    for (float& v : q) v += noise * random.normal();
    const auto ps = softmax(p), qs = softmax(q);
    const real range = 40 + 12 * static_cast<real>(scale) + 12 * static_cast<real>(noise);
    const real bound = log_softmax_bound(count, range);

    const std::size_t target = random.integer(0, count - 1);
    const double nats = ql::negative_log_likelihood(p.data(), count, target);
    REQUIRE(std::fabs(static_cast<real>(nats) + std::log(ps[target])) <= bound);

    // sum p (log p - log q): both logarithms err by `bound`, p by a relative 2 bound, and the sum of `count` terms.
    real exact = 0, magnitude = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const real term = ps[i] * (std::log(ps[i]) - std::log(qs[i]));
      exact += term;
      magnitude += std::fabs(term);
    }
    const double divergence = ql::kl_divergence(p.data(), q.data(), count);
    CAPTURE(count, static_cast<double>(exact), divergence);
    REQUIRE(divergence >= 0.0);
    REQUIRE(std::fabs(static_cast<real>(divergence) - exact) <=
            2 * bound + (2 * bound + static_cast<real>(count) * 0x1p-53L) * magnitude);
    REQUIRE(ql::kl_divergence(p.data(), p.data(), count) == 0.0);
  });
}

TEST_CASE("metrics of matrices of logits, merged or not") {
  for_random_cases(60, [](random_source& random) {
    const std::size_t rows = random.extent(1, 20), count = random.extent(1, 80), gap = random.integer(0, 2);
    std::vector<float> p(rows * (count + gap)), q(p.size());
    double sum = 0, worst = 0;
    std::size_t same = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      std::size_t best_p = 0, best_q = 0;
      float* const a = &p[r * (count + gap)];
      float* const b = &q[r * (count + gap)];
      for (std::size_t i = 0; i < count; ++i) {
        a[i] = std::round(2.0f * random.normal());    // with equal ones among the largest
        b[i] = std::round(a[i] + 0.7f * random.normal());
        if (a[i] > a[best_p]) best_p = i;
        if (b[i] > b[best_q]) best_q = i;
      }
      same += best_p == best_q ? 1 : 0;
      const double d = ql::kl_divergence(a, b, count);
      sum += d;
      worst = std::max(worst, d);
    }
    const ql::matrix_view<const float> P{p.data(), rows, count, count + gap}, Q{q.data(), rows, count, count + gap};
    ql::logit_metrics all;
    ql::observe(all, P, Q);
    REQUIRE(all.count() == rows);
    REQUIRE(all.max_divergence() == worst);
    REQUIRE(all.top1_agreement() == static_cast<double>(same) / static_cast<double>(rows));
    REQUIRE(std::fabs(all.mean_divergence() - sum / static_cast<double>(rows)) <= 1e-14 * all.mean_divergence());

    const std::size_t cut = random.integer(0, rows);
    ql::logit_metrics upper, lower;
    ql::observe(upper, ql::matrix_view<const float>{p.data(), cut, count, count + gap},
                ql::matrix_view<const float>{q.data(), cut, count, count + gap});
    for (std::size_t r = cut; r < rows; ++r)
      ql::observe(lower, ql::matrix_view<const float>{&p[r * (count + gap)], 1, count},
                  ql::matrix_view<const float>{&q[r * (count + gap)], 1, count});
    upper.merge(lower);
    REQUIRE(upper.count() == rows);
    REQUIRE(upper.top1_agreement() == all.top1_agreement());
    REQUIRE(upper.max_divergence() == worst);
    REQUIRE(std::fabs(upper.mean_divergence() - all.mean_divergence()) <= 1e-14 * all.mean_divergence());
  });
}

TEST_CASE("perplexity is the exponential of the mean") {
  for_random_cases(50, [](random_source& random) {
    const std::size_t count = random.extent(2, 500);
    ql::perplexity all, first, rest;
    std::vector<real> nats(count);
    real sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double x = static_cast<double>(random.uniform(0.0f, 12.0f));
      nats[i] = static_cast<real>(x);
      sum += nats[i];
      all.observe(x);
      (i < count / 3 ? first : rest).observe(x);
    }
    first.merge(rest);
    const real mean = sum / static_cast<real>(count);
    real squares = 0;
    for (const real x : nats) squares += (x - mean) * (x - mean);
    const real error = std::sqrt(squares / static_cast<real>(count - 1) / static_cast<real>(count));
    // Sums of `count` numbers below 12: a relative count 2^-53, which exp turns into 12 times as much. The variance is
    // a difference of sums of squares below 144 each.
    const real relative = 16 * static_cast<real>(count + 4) * 0x1p-53L;
    for (const ql::perplexity& p : {all, first}) {
      REQUIRE(p.tokens() == count);
      REQUIRE(std::fabs(static_cast<real>(p.nats()) - sum) <= relative * sum);
      REQUIRE(std::fabs(static_cast<real>(p.value()) - std::exp(mean)) <= relative * std::exp(mean));
      const real slack = 144 * 4 * static_cast<real>(count + 4) * 0x1p-53L / std::max(error, 1e-6L);
      REQUIRE(std::fabs(static_cast<real>(p.standard_error()) - error) <= slack);
    }
  });
  CHECK(std::isnan(ql::perplexity().value()));
}

TEST_CASE("masked, infinite and undefined logits") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float p[3] = {1, 2, -inf}, q[3] = {1, -inf, 0}, r[3] = {1, nan, 0};
  CHECK(ql::negative_log_likelihood(p, 3, 2) == static_cast<double>(inf));
  CHECK(ql::kl_divergence(p, p, 3) == 0.0);
  CHECK(std::isinf(ql::kl_divergence(p, q, 3)));    // impossible for q, likely for p
  CHECK(std::isnan(ql::kl_divergence(p, r, 3)));
  CHECK(std::isnan(ql::kl_divergence(r, p, 3)));
  ql::logit_metrics m;
  m.observe(1.0, true);
  m.observe(static_cast<double>(nan), false);
  m.observe(2.0, true);
  CHECK(std::isnan(m.max_divergence()));
  CHECK(ql::logit_metrics().top1_agreement() == 1.0);
  CHECK(ql::logit_metrics().mean_divergence() == 0.0);
}

TEST_CASE("logits that are not there are refused by name") {
  const float x[4] = {};
  CHECK(refusal_of([&] { static_cast<void>(ql::negative_log_likelihood(x, 4, 4)); }) ==
        "qlite: the target is 4, expected less than 4");
  CHECK(refusal_of([&] { static_cast<void>(ql::negative_log_likelihood(x, 0, 0)); }) ==
        "qlite: logits has no logits, expected at least 1");
  const float* const none = nullptr;
  CHECK_THAT(refusal_of([&] { static_cast<void>(ql::kl_divergence(x, none, 4)); }),
             ContainsSubstring("candidate is null"));
  ql::logit_metrics m;
  CHECK_THAT(refusal_of([&] {
               ql::observe(m, ql::matrix_view<const float>{x, 2, 2}, ql::matrix_view<const float>{x, 1, 2});
             }),
             ContainsSubstring("rows of the candidate is 1, expected 2"));
  CHECK_THAT(refusal_of([&] {
               ql::observe(m, ql::matrix_view<const float>{x, 2, 0}, ql::matrix_view<const float>{x, 2, 0});
             }),
             ContainsSubstring("reference has no logits"));
}
