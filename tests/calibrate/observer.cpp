// Observers: what they keep is a function of the values alone, and their scales are the best by their own measure.
#include <qlite/calibrate/observer.hpp>
#include <qlite/core/executors/thread_pool.hpp>

#include <algorithm>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

ql::matrix_view<const float> part(const std::vector<float>& v, std::size_t begin, std::size_t end) {
  return {v.data() + begin, 1, end - begin};
}

// Heavy tails, zeros, and sizes that grow as they come.
std::vector<float> values(random_source& random, std::size_t n) {
  std::vector<float> v(n);
  const int shift = static_cast<int>(random.integer(0, 40)) - 20;
  for (float& x : v) {
    x = std::ldexp(random.normal(), shift);
    if (random.chance(0.01)) x *= 50;
    if (random.chance(0.05)) x = 0;
  }
  if (random.chance(0.3)) std::sort(v.begin(), v.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  if (random.chance(0.1)) std::fill(v.begin(), v.end(), 0.0f);
  return v;
}

float largest_of(const std::vector<float>& v) {
  float most = 0;
  for (const float x : v) most = std::max(most, std::abs(x));
  return most;
}

}    // namespace

TEST_CASE("a histogram counts what lies in its bins, whatever the order of batches and merges") {
  for_random_cases(40, [](random_source& random) {
    const std::vector<float> v = values(random, random.extent(1, 3000));
    ql::observer<ql::statistic::mse> whole, pieces, other;
    whole.observe(part(v, 0, v.size()));
    for (std::size_t begin = 0; begin < v.size();) {
      const std::size_t end = std::min(v.size(), begin + random.extent(1, 500));
      (random.chance(0.5) ? pieces : other).observe(part(v, begin, end));
      begin = end;
    }
    if (random.chance(0.5))
      pieces.merge(other);
    else {
      other.merge(pieces);
      std::swap(pieces, other);
    }
    const ql::detail::histogram &h = whole.summary(), &p = pieces.summary();
    const float most = largest_of(v);
    CHECK(h.total == v.size());
    CHECK(p.total == v.size());
    CHECK(h.largest == most);
    CHECK(p.largest == most);
    CHECK(std::equal(std::begin(h.counts), std::end(h.counts), std::begin(p.counts)));
    if (most > 0) {
      const double width = std::ldexp(1.0, h.exponent);
      CHECK(p.exponent == h.exponent);
      CHECK(static_cast<double>(most) < 2048 * width);
      CHECK(static_cast<double>(most) >= 1024 * width);
      std::vector<std::uint64_t> counts(2048);
      for (const float x : v) ++counts[static_cast<std::size_t>(std::floor(std::abs(static_cast<double>(x)) / width))];
      CHECK(std::equal(counts.begin(), counts.end(), std::begin(h.counts)));
    } else {
      CHECK(h.counts[0] == v.size());
      CHECK(whole.scale() == 1.0f / 127);
    }
  });
}

TEST_CASE("a percentile is at most a bin above the value of its rank") {
  for_random_cases(40, [](random_source& random) {
    std::vector<float> v = values(random, random.extent(1, 2000));
    const double share = random.pick({0.5, 0.9, 0.99, 0.9999, 1.0});
    ql::observer<ql::statistic::percentile> o(ql::statistic::percentile{share});
    o.observe(part(v, 0, v.size()));
    for (float& x : v) x = std::abs(x);
    std::sort(v.begin(), v.end());
    if (!(v.back() > 0)) return;
    const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(v.size())));
    const double exact = v[std::max<std::size_t>(rank, 1) - 1], bin = std::ldexp(1.0, o.summary().exponent);
    const double limit = static_cast<double>(o.scale()) * 127;
    CHECK(limit >= exact * (1 - 0x1p-22));    // the scale is a float, and a quotient
    CHECK(limit <= (exact + bin) * (1 + 0x1p-22));
  });
}

TEST_CASE("the limit of least squared error is the best of its grid") {
  for_random_cases(15, [](random_source& random) {
    const std::vector<float> v = values(random, random.extent(20, 4000));
    ql::observer<ql::statistic::mse> o;
    o.observe(part(v, 0, v.size()));
    const ql::detail::histogram& h = o.summary();
    if (!(h.largest > 0)) return;
    const double width = std::ldexp(1.0, h.exponent);
    const auto error_of = [&](double scale) {    // of the middles of the bins
      double sum = 0;
      for (std::size_t b = 0; b < 2048; ++b) {
        const double x = (static_cast<double>(b) + 0.5) * width;
        const double e = x - scale * std::min(127.0, std::nearbyint(x / scale));
        sum += static_cast<double>(h.counts[b]) * e * e;
      }
      return sum;
    };
    double least = error_of(static_cast<double>(h.largest / 127));
    for (int i = 1; i < 256; ++i)
      if (8 * i * width < static_cast<double>(h.largest)) least = std::min(least, error_of(8 * i * width / 127));
    // Scales and errors are rounded to float: a code may change at a tie, an error by 2^-23 of a half step
    CHECK(error_of(static_cast<double>(o.scale())) <= least * (1 + 1e-5));
    // and clipping pays: never worse than min_max, which is on the grid
    CHECK(error_of(static_cast<double>(o.scale())) <= error_of(static_cast<double>(h.largest / 127)) * (1 + 1e-5));
  });
}

TEST_CASE("the limit of least divergence is the best of its grid") {
  for_random_cases(6, [](random_source& random) {
    const std::vector<float> v = values(random, random.extent(500, 6000));
    ql::observer<ql::statistic::entropy> o;
    o.observe(part(v, 0, v.size()));
    const ql::detail::histogram& h = o.summary();
    if (!(h.largest > 0)) return;
    // Distributions first, divergence then: P clipped at bin i, Q its 128 levels spread over the bins in use.
    const auto divergence = [&](std::size_t bins) {
      std::vector<double> p(bins), q(bins);
      double inside = 0;
      for (std::size_t b = 0; b < 2048; ++b) {
        p[std::min(b, bins - 1)] += static_cast<double>(h.counts[b]);
        if (b < bins) inside += static_cast<double>(h.counts[b]);
      }
      for (std::size_t level = 0; level < 128; ++level) {
        double sum = 0, used = 0;
        for (std::size_t b = level * bins / 128; b < (level + 1) * bins / 128; ++b) {
          sum += static_cast<double>(h.counts[b]);
          used += h.counts[b] > 0;
        }
        for (std::size_t b = level * bins / 128; b < (level + 1) * bins / 128; ++b)
          if (h.counts[b] > 0) q[b] = sum / used / inside;
      }
      double d = 0;
      for (std::size_t b = 0; b < bins; ++b)
        if (p[b] > 0) d += p[b] / static_cast<double>(h.total) * std::log(p[b] / static_cast<double>(h.total) / q[b]);
      return d;    // infinite or NaN where Q is 0 and P is not
    };
    const double width = std::ldexp(1.0, h.exponent);
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t bins = 128; bins <= 2048; bins += 8) {
      if (const double d = divergence(bins); d < least) least = d;
      if (static_cast<double>(bins) * width > static_cast<double>(h.largest)) break;
    }
    const double limit = static_cast<double>(o.scale()) * 127;
    const auto chosen =
        static_cast<std::size_t>(std::llround(std::min(2048.0, std::ceil(limit / width / 8 - 1e-3) * 8)));
    // sums of 2048 terms in another association
    CHECK(divergence(std::max<std::size_t>(chosen, 128)) <= least + 1e-12);
  });
}

TEST_CASE("ranges: extremes, moving averages, and their merges") {
  for_random_cases(20, [](random_source& random) {
    const std::size_t k = random.extent(1, 40), m = random.extent(1, 40), batches = random.integer(1, 6);
    ql::observer<ql::statistic::min_max, ql::per_channel> channels(k), some(k);
    ql::observer<ql::statistic::min_max, ql::per_token> tokens(m);
    ql::observer<ql::statistic::moving_average> average(ql::statistic::moving_average{0.25});
    const ql::thread_pool pool(2);
    std::vector<double> by_channel(k), by_token(m);
    double low = 0, high = 0, largest = 0;
    for (std::size_t i = 0; i < batches; ++i) {
      strided_matrix<float> X(m, k, 1);
      fill(X, random);
      (i % 2 == 0 ? channels : some).observe(X.view(), pool);
      tokens.observe(X.view());
      average.observe(X.view());
      double least = X.value(0, 0), most = least;
      for (std::size_t r = 0; r < m; ++r)
        for (std::size_t c = 0; c < k; ++c) {
          const double x = X.value(r, c);
          by_channel[c] = std::max(by_channel[c], std::abs(x));
          by_token[r] = std::max(by_token[r], std::abs(x));
          least = std::min(least, x);
          most = std::max(most, x);
          largest = std::max(largest, std::abs(x));
        }
      low = i == 0 ? least : low + 0.25 * (least - low);
      high = i == 0 ? most : high + 0.25 * (most - high);
    }
    channels.merge(some);
    const auto scale_of = [](double limit) {
      return limit > 0 ? std::max(static_cast<float>(limit) / 127.0f, 0x1p-126f) : 1.0f / 127.0f;
    };
    for (std::size_t c = 0; c < k; ++c) CHECK(channels.scale(c) == scale_of(by_channel[c]));
    for (std::size_t r = 0; r < m; ++r) CHECK(tokens.scale(r) == scale_of(by_token[r]));
    // a step of the mean rounds three times, each by 2^-53 of a number no larger than the extremes
    const double bound = static_cast<double>(3 * batches) * 0x1p-52 * largest;
    CHECK(std::abs(average.summary().low - low) <= bound);
    CHECK(std::abs(average.summary().high - high) <= bound);
  });
  ql::observer<ql::statistic::moving_average> a, b;
  const float ones[2] = {-1, 2}, fives[2] = {-5, 6};
  a.observe(ql::matrix_view<const float>{ones, 1, 2});
  for (int i = 0; i < 3; ++i) b.observe(ql::matrix_view<const float>{fives, 1, 2});
  a.merge(b);
  CHECK(a.summary().low == -4);    // weighted by the batches, 1 and 3
  CHECK(a.summary().high == 5);
}

TEST_CASE("observers refuse what they cannot tell") {
  ql::observer<ql::statistic::min_max> tensor;
  ql::observer<ql::statistic::percentile, ql::per_channel> channels(3);
  ql::observer<ql::statistic::mse, ql::per_token> tokens(1);
  float x[4] = {1, 2, std::nanf(""), 4};
  CHECK_THAT(refusal_of([&] { (void)tensor.scale(); }), ContainsSubstring("has seen no values"));
  CHECK_THAT(refusal_of([&] {
               tensor.observe(ql::matrix_view<const float>{x, 2, 2});
             }),
             ContainsSubstring("X has nan at row 1, column 0"));
  CHECK(tensor.values() == 0);
  CHECK_THAT(refusal_of([&] {
               channels.observe(ql::matrix_view<const float>{x, 1, 2});
             }),
             ContainsSubstring("columns of X is 2, expected 3"));
  CHECK_THAT(refusal_of([&] {
               tokens.observe(ql::matrix_view<const float>{x, 2, 1});
             }),
             ContainsSubstring("rows of X are 2, expected at most 1"));
  CHECK_THAT(refusal_of([&] { (void)channels.scale(3); }), ContainsSubstring("no unit 3"));
  CHECK_THAT(refusal_of([&] { ql::observer<ql::statistic::mse, ql::per_token> none(0); }),
             ContainsSubstring("0 channels"));
  ql::observer<ql::statistic::percentile> strange(ql::statistic::percentile{1.5});
  strange.observe(ql::matrix_view<const float>{x, 1, 2});
  CHECK_THAT(refusal_of([&] { (void)strange.scale(); }), ContainsSubstring("share 1.5"));
}
