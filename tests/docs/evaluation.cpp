// The snippets of docs/evaluation.md, in the surroundings that they speak of.
#include <qlite/evaluate.hpp>
#include <qlite/gemm.hpp>

#include <cstdio>
#include <vector>

#include "support/property.hpp"

namespace ql = qlite;
using qlite_test::random_source;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;

namespace {

struct layer_data {
  static constexpr std::size_t m = 8, n = 48, k = 128;
  std::vector<float> w, x, y;
  explicit layer_data(std::uint64_t seed = 1) : y(m * n) {
    random_source random(seed);
    w = random.normal_vector(n * k);
    x = random.normal_vector(m * k);
  }
  ql::matrix_view<const float> W() const { return {w.data(), n, k}; }
  ql::matrix_view<const float> X() const { return {x.data(), m, k}; }
};

}    // namespace

TEST_CASE("errors of weights and outputs") {
  const layer_data d;
  const auto W = d.W(), X = d.X();
#include "snippets/evaluate_errors.inc"
  CHECK(weights.relative_error() < 0.15);
}

TEST_CASE("predictions") {
  constexpr std::size_t blocks = 2, positions = 5, vocabulary = 30;
  random_source random(2);
  const auto reference = random.normal_vector(blocks * positions * vocabulary);
  auto candidate = reference;
  for (float& v : candidate) v += 0.1f * random.normal();
  const auto rows_of = [&](const std::vector<float>& values, std::size_t block) {
    return ql::matrix_view<const float>{values.data() + block * positions * vocabulary, positions, vocabulary};
  };
  const auto reference_logits = [&](std::size_t block) { return rows_of(reference, block); };
  const auto candidate_logits = [&](std::size_t block) { return rows_of(candidate, block); };
  const auto next_token = [](std::size_t block, std::size_t i) { return (block * 7 + i * 3) % vocabulary; };
#include "snippets/evaluate_logits.inc"
  CHECK(difference.count() == blocks * positions);
  CHECK(original.tokens() == quantized.tokens());
}

TEST_CASE("a memory plan") {
#include "snippets/evaluate_memory.inc"
  CHECK(plan.total(2048) < plan.float16_total(2048));
}

TEST_CASE("a scheme for each layer") {
  constexpr std::size_t layers = 4;
  std::vector<layer_data> data;
  for (std::size_t i = 0; i < layers; ++i) data.emplace_back(i + 1);
  const auto weights = [&](std::size_t i) { return data[i].W(); };
  const auto inputs = [&](std::size_t i) { return data[i].X(); };
  const std::size_t budget = 3 * layers * layer_data::n * layer_data::k / 4;
#include "snippets/evaluate_assignment.inc"
  CHECK(result.bytes <= budget);
  CHECK(result.error >= result.lower_bound);
  for (const std::size_t c : chosen) CHECK(c < 3);
}

TEST_CASE("a watch in production") {
  layer_data d;
  const auto W = d.W(), X = d.X();
  const ql::matrix_view<float> Y{d.y.data(), d.m, d.n};
  const auto q = ql::quantize<w4>(W, ql::rtn{});
  const auto packed = ql::pack<ql::cpu::native>(q);
  int alarms = 0;
#include "snippets/evaluate_shadow.inc"
  for (int i = 0; i < 2000; ++i) watch(X, Y);
  CHECK(watch.last().call == 2000);
  CHECK(alarms == 0);
}
