// Recall and rank correlation against definitions by counting.
#include <qlite/evaluate/ranking.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;

namespace {

// Among the k best: fewer than k documents are better, equal ones in front of it included.
bool among_best(const std::vector<float>& scores, std::size_t i, std::size_t k) {
  std::size_t better = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) better += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
  return better < k;
}

// 1 + the number of better ones + half the number of other equal ones.
double rank_of(const std::vector<float>& scores, std::size_t i) {
  double rank = 1;
  for (std::size_t j = 0; j < scores.size(); ++j)
    rank += scores[j] > scores[i] ? 1 : scores[j] == scores[i] && j != i ? 0.5 : 0;
  return rank;
}

std::vector<float> random_scores(random_source& random, std::size_t count) {
  auto scores = random.normal_vector(count);
  if (random.chance(0.5))
    for (float& s : scores) s = std::round(2 * s);    // many equal ones
  return scores;
}

}    // namespace

TEST_CASE("recall and rank correlation agree with counting") {
  for_random_cases(300, [](random_source& random) {
    const std::size_t count = random.extent(1, 200), k = random.integer(1, count);
    const auto a = random_scores(random, count);
    auto b = a;
    const float noise = random.pick({0.0f, 0.1f, 3.0f});
    for (float& s : b) s += noise * random.normal();
    if (random.chance(0.3))
      for (float& s : b) s = -s;

    std::size_t both = 0;
    for (std::size_t i = 0; i < count; ++i) both += among_best(a, i, k) && among_best(b, i, k);
    REQUIRE(ql::recall_at_k(a.data(), b.data(), count, k) == static_cast<double>(both) / static_cast<double>(k));

    long double aa = 0, bb = 0, ab = 0;
    const long double mean = 0.5L * static_cast<long double>(count + 1);
    for (std::size_t i = 0; i < count; ++i) {
      const long double x = static_cast<long double>(rank_of(a, i)) - mean;
      const long double y = static_cast<long double>(rank_of(b, i)) - mean;
      aa += x * x;
      bb += y * y;
      ab += x * y;
    }
    const double correlation = ql::rank_correlation(a.data(), b.data(), count);
    if (aa == 0 || bb == 0) {
      REQUIRE(std::isnan(correlation));
    } else {
      // Ranks are multiples of 1/2 and their sums exact: what is left are two roots, a product and a quotient.
      REQUIRE(std::fabs(static_cast<long double>(correlation) - ab / std::sqrt(aa * bb)) <= 4 * 0x1p-53L);
    }
  });
}

TEST_CASE("orders that are known") {
  std::vector<float> up(50), down(50);
  for (std::size_t i = 0; i < 50; ++i) {
    up[i] = static_cast<float>(i);
    down[i] = -static_cast<float>(i);
  }
  CHECK(std::fabs(ql::rank_correlation(up.data(), up.data(), 50) - 1.0) <= 4 * 0x1p-53);
  CHECK(std::fabs(ql::rank_correlation(up.data(), down.data(), 50) + 1.0) <= 4 * 0x1p-53);
  CHECK(ql::recall_at_k(up.data(), down.data(), 50, 10) == 0.0);
  CHECK(ql::recall_at_k(up.data(), down.data(), 50, 50) == 1.0);
  std::vector<ql::float16> half(50);
  for (std::size_t i = 0; i < 50; ++i) half[i] = ql::float16::from_float(up[i]);
  CHECK(ql::recall_at_k(up.data(), half.data(), 50, 7) == 1.0);

  ql::running_mean mean, other;
  CHECK(std::isnan(mean.value()));
  mean.observe(1.0);
  other.observe(0.0);
  other.observe(0.5);
  mean.merge(other);
  CHECK(mean.count() == 3);
  CHECK(mean.value() == 0.5);
}

TEST_CASE("scores that cannot be ordered are refused by name") {
  float a[3] = {1, 2, 3};
  const float b[3] = {1, 2, 3};
  CHECK(refusal_of([&] { static_cast<void>(ql::recall_at_k(a, b, 3, 0)); }) ==
        "qlite: k is 0, expected 1 to 3 (the number of scores)");
  CHECK(refusal_of([&] { static_cast<void>(ql::recall_at_k(a, b, 3, 4)); }) ==
        "qlite: k is 4, expected 1 to 3 (the number of scores)");
  a[1] = std::numeric_limits<float>::quiet_NaN();
  CHECK(refusal_of([&] { static_cast<void>(ql::rank_correlation(b, a, 3)); }) ==
        "qlite: candidate has nan at 1, expected finite scores");
  const float* const none = nullptr;
  CHECK_THAT(refusal_of([&] { static_cast<void>(ql::recall_at_k(none, b, 3, 1)); }),
             ContainsSubstring("reference is null"));
}
