// Attention over the cache against its definition in double, over random shapes.
#include "attention.hpp"

#include <cmath>

#include "support/property.hpp"

using qlite_test::random_source;

namespace {

float rounded(float x, float) { return x; }
float rounded(float x, qlite::bfloat16) { return qlite::bfloat16::from_float(x).to_float(); }

/// Attention over a cache of T, within `tolerance` of what it should be with the keys and values that T can hold.
template <class T>
void check_attention(double tolerance) {
  qlite_test::for_random_cases(60, [tolerance](random_source& random) {
    llm::model_config c;
    c.layers = 2;
    c.kv_heads = random.integer(1, 3);
    const std::size_t group = random.integer(1, 5);
    c.heads = c.kv_heads * group;
    c.head_dim = 2 * random.extent(1, 40);
    const std::size_t capacity = random.extent(1, 140);
    const std::size_t m = random.integer(1, capacity);
    const std::size_t first = random.integer(0, capacity - m);
    const std::size_t layer = random.integer(0, 1);
    CAPTURE(c.kv_heads, group, c.head_dim, capacity, m, first);
    llm::executor threads(random.integer(1, 3));

    const std::size_t q_width = c.query_width(), kv_width = c.kv_width();
    const float spread = random.pick({0.1f, 1.0f, 4.0f});    // from even weights to nearly a single one
    const auto q = random.normal_vector(m * (q_width + 1), spread);
    auto keys = random.normal_vector((first + m) * kv_width);
    auto values = random.normal_vector((first + m) * kv_width);
    llm::kv_cache<T> cache(c, capacity);
    for (std::size_t p = 0; p < first + m; ++p) {
      const auto other = random.normal_vector(2 * kv_width);    // another layer must not matter
      cache.store(1 - layer, p, other.data(), other.data() + kv_width);
      cache.store(layer, p, &keys[p * kv_width], &values[p * kv_width]);
    }
    std::vector<float> out(m * q_width);
    llm::attention<T> attention(c, capacity, threads.concurrency());
    attention.apply(cache, layer, first, {q.data(), m, q_width, q_width + 1}, {out.data(), m, q_width}, threads);

    for (float& x : keys) x = rounded(x, T{});
    for (float& x : values) x = rounded(x, T{});
    double worst = 0;
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t h = 0; h < c.heads; ++h) {
        const std::size_t kv = h / group * c.head_dim;
        std::vector<double> score(first + i + 1);
        for (std::size_t p = 0; p < score.size(); ++p) {
          for (std::size_t d = 0; d < c.head_dim; ++d)
            score[p] += static_cast<double>(q[i * (q_width + 1) + h * c.head_dim + d]) *
                        static_cast<double>(keys[p * kv_width + kv + d]) / std::sqrt(static_cast<double>(c.head_dim));
        }
        double sum = 0;
        for (double& s : score) sum += s = std::exp(s);
        for (std::size_t d = 0; d < c.head_dim; ++d) {
          double expected = 0;
          for (std::size_t p = 0; p < score.size(); ++p)
            expected += score[p] / sum * static_cast<double>(values[p * kv_width + kv + d]);
          worst = std::max(worst, std::abs(expected - static_cast<double>(out[i * q_width + h * c.head_dim + d])));
        }
      }
    }
    CHECK(worst < tolerance);
  });
}

}    // namespace

TEST_CASE("attention is softmax(Q K^T / sqrt(d)) V of the positions up to the query's own") {
  check_attention<float>(2e-5);
}
TEST_CASE("attention over a cache of bfloat16") {
  // Products of bfloat16 round the queries, whose scores here reach some 50 / sqrt(d), and the weights of positions.
  check_attention<qlite::bfloat16>(llm::has_bf16_dot ? 6e-2 : 2e-5);
}

TEST_CASE("rotary embeddings turn pairs and keep their length; scores depend on distance only") {
  llm::model_config c;
  c.head_dim = 16;
  c.rope_theta = 100.0f;
  random_source random(1);
  const auto x = random.normal_vector(16);
  const auto y = random.normal_vector(16);
  for (const llm::rope_pairs pairs : {llm::rope_pairs::adjacent, llm::rope_pairs::halves}) {
    c.pairs = pairs;
    const llm::rotary_embedding rotary(c, 64);
    const auto turned = [&](std::vector<float> v, std::size_t position) {
      rotary.apply(v.data(), 1, position);
      return v;
    };
    const auto dot = [](const std::vector<float>& a, const std::vector<float>& b) {
      double sum = 0;
      for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      return sum;
    };
    CHECK(turned(x, 0) == x);
    CHECK(std::abs(dot(turned(x, 40), turned(x, 40)) - dot(x, x)) < 1e-5);
    CHECK(std::abs(dot(turned(x, 40), turned(y, 33)) - dot(turned(x, 10), turned(y, 3))) < 1e-5);
    CHECK(std::abs(dot(turned(x, 40), turned(y, 33)) - dot(turned(x, 40), turned(y, 34))) > 1e-3);
    // The first pair turns by one radian per position.
    std::vector<float> unit(16);
    unit[0] = 1;
    const auto once = turned(unit, 1);
    CHECK(std::abs(once[0] - std::cos(1.0f)) < 1e-6f);
    CHECK(std::abs(once[pairs == llm::rope_pairs::adjacent ? 1 : 8] - std::sin(1.0f)) < 1e-6f);
  }
}
