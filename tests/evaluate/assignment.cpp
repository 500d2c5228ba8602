// Assignments against the exact optimum: all combinations, and dynamic programming over bytes.
#include <qlite/evaluate/assignment.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;

namespace {

struct problem {
  std::size_t layers, candidates;
  std::vector<ql::layer_option> options;

  const ql::layer_option& at(std::size_t l, std::size_t c) const { return options[l * candidates + c]; }
  ql::matrix_view<const ql::layer_option> view() const { return {options.data(), layers, candidates}; }
  // The largest difference of errors, and of bytes, between two candidates of one layer.
  double largest_gain() const {
    double most = 0;
    for (std::size_t l = 0; l < layers; ++l)
      for (std::size_t a = 0; a < candidates; ++a)
        for (std::size_t b = 0; b < candidates; ++b) most = std::max(most, at(l, a).error - at(l, b).error);
    return most;
  }
  std::size_t largest_step() const {
    std::size_t most = 0;
    for (std::size_t l = 0; l < layers; ++l)
      for (std::size_t a = 0; a < candidates; ++a)
        for (std::size_t b = 0; b < candidates; ++b)
          if (at(l, a).bytes > at(l, b).bytes) most = std::max(most, at(l, a).bytes - at(l, b).bytes);
    return most;
  }
  std::size_t smallest_bytes() const {
    std::size_t sum = 0;
    for (std::size_t l = 0; l < layers; ++l) {
      std::size_t least = at(l, 0).bytes;
      for (std::size_t c = 1; c < candidates; ++c) least = std::min(least, at(l, c).bytes);
      sum += least;
    }
    return sum;
  }
  double least_error() const {
    double sum = 0;
    for (std::size_t l = 0; l < layers; ++l) {
      double least = at(l, 0).error;
      for (std::size_t c = 1; c < candidates; ++c) least = std::min(least, at(l, c).error);
      sum += least;
    }
    return sum;
  }
};

// Errors are multiples of 1/8 and bytes whole: sums are exact, and so are comparisons with a budget.
problem random_problem(random_source& random, std::size_t most_layers) {
  problem p;
  p.layers = random.integer(1, most_layers);
  p.candidates = random.integer(1, 4);
  const bool realistic = random.chance(0.5);    // more bytes, less error; else anything, dominated candidates included
  for (std::size_t l = 0; l < p.layers; ++l) {
    const std::size_t size = random.integer(1, 30);
    for (std::size_t c = 0; c < p.candidates; ++c) {
      const double error = realistic ? static_cast<double>(random.integer(0, 400) >> (2 * c))
                                     : static_cast<double>(random.integer(0, 60));
      const std::size_t bytes = realistic ? size * (c + 1) + random.integer(0, 3) : random.integer(0, 60);
      p.options.emplace_back(bytes, error / 8);
    }
  }
  return p;
}

struct optimum {
  double error = std::numeric_limits<double>::infinity();
  std::size_t bytes = ~std::size_t{0};
};

// The least error within `bytes`, and the fewest bytes within `error`, of all combinations.
void try_all(const problem& p, std::size_t layer, std::size_t bytes, double error, std::size_t byte_budget,
             double error_budget, optimum& best) {
  if (layer == p.layers) {
    if (bytes <= byte_budget) best.error = std::min(best.error, error);
    if (error <= error_budget) best.bytes = std::min(best.bytes, bytes);
    return;
  }
  for (std::size_t c = 0; c < p.candidates; ++c)
    try_all(p, layer + 1, bytes + p.at(layer, c).bytes, error + p.at(layer, c).error, byte_budget, error_budget, best);
}

// least[b]: the least error of all layers in at most b bytes.
std::vector<double> least_errors(const problem& p, std::size_t most_bytes) {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<double> least(most_bytes + 1, 0.0);
  for (std::size_t l = 0; l < p.layers; ++l) {
    std::vector<double> next(most_bytes + 1, inf);
    for (std::size_t b = 0; b <= most_bytes; ++b)
      for (std::size_t c = 0; c < p.candidates; ++c)
        if (p.at(l, c).bytes <= b) next[b] = std::min(next[b], least[b - p.at(l, c).bytes] + p.at(l, c).error);
    least = next;
  }
  return least;
}

void check_summary(const problem& p, const std::vector<std::size_t>& chosen, const ql::assignment_summary& s) {
  std::size_t bytes = 0;
  double error = 0;
  for (std::size_t l = 0; l < p.layers; ++l) {
    REQUIRE(chosen[l] < p.candidates);
    bytes += p.at(l, chosen[l]).bytes;
    error += p.at(l, chosen[l]).error;
  }
  REQUIRE(s.bytes == bytes);
  REQUIRE(s.error == error);
}

// The bound is computed with roundings of its own.
constexpr double rounding = 1e-12;

void check_bytes(const problem& p, std::size_t budget, double optimal) {
  std::vector<std::size_t> chosen(p.layers, 99);
  const auto s = ql::assign_under_bytes(p.view(), budget, chosen.data());
  check_summary(p, chosen, s);
  CAPTURE(budget, s.bytes, s.error, s.lower_bound, optimal);
  REQUIRE(s.bytes <= budget);
  REQUIRE(s.error >= optimal);
  REQUIRE(s.lower_bound <= optimal + rounding * (1 + optimal));
  REQUIRE(s.error <= optimal + p.largest_gain());    // the promise
  REQUIRE(s.error <=
          s.lower_bound + p.largest_gain() + rounding * (1 + optimal));    // and that the bound is a useful one
}

void check_error(const problem& p, double budget, std::size_t optimal) {
  std::vector<std::size_t> chosen(p.layers, 99);
  const auto s = ql::assign_under_error(p.view(), budget, chosen.data());
  check_summary(p, chosen, s);
  CAPTURE(budget, s.bytes, s.error, s.lower_bound, optimal);
  REQUIRE(s.error <= budget);
  REQUIRE(s.bytes >= optimal);
  REQUIRE(s.lower_bound <= static_cast<double>(optimal) * (1 + rounding));
  REQUIRE(s.bytes <= optimal + p.largest_step());
}

}    // namespace

TEST_CASE("assignments are within one step of the best of all combinations") {
  for_random_cases(600, [](random_source& random) {
    const problem p = random_problem(random, 6);
    const std::size_t bytes = p.smallest_bytes() + random.integer(0, 100);
    const double error = p.least_error() + static_cast<double>(random.integer(0, 400)) / 8;
    optimum best;
    try_all(p, 0, 0, 0, bytes, error, best);
    check_bytes(p, bytes, best.error);
    check_error(p, error, best.bytes);
  });
}

TEST_CASE("assignments of many layers are within one step of dynamic programming's") {
  for_random_cases(60, [](random_source& random) {
    const problem p = random_problem(random, 60);
    const std::size_t most = p.smallest_bytes() + 1500;
    const auto least = least_errors(p, most);
    for (int i = 0; i < 5; ++i) {
      const std::size_t budget = random.integer(p.smallest_bytes(), most);
      check_bytes(p, budget, least[budget]);
      if (least[budget] >= p.least_error()) {
        std::size_t fewest = 0;    // the first number of bytes that reaches the error
        while (least[fewest] > least[budget]) ++fewest;
        check_error(p, least[budget], fewest);
      }
    }
  });
}

TEST_CASE("budgets at the ends give the ends") {
  const std::vector<ql::layer_option> options{{10, 4.0}, {20, 1.0}, {40, 0.0}, {100, 9.0}, {200, 2.0}, {400, 0.5}};
  const ql::matrix_view<const ql::layer_option> view{options.data(), 2, 3};
  std::size_t chosen[2];
  auto s = ql::assign_under_bytes(view, 110, chosen);
  CHECK((chosen[0] == 0 && chosen[1] == 0));
  s = ql::assign_under_bytes(view, 1000, chosen);
  CHECK((chosen[0] == 2 && chosen[1] == 2));
  CHECK(s.error == 0.5);
  CHECK(s.lower_bound == 0.5);
  s = ql::assign_under_error(view, 0.5, chosen);
  CHECK((chosen[0] == 2 && chosen[1] == 2));
  s = ql::assign_under_error(view, 100.0, chosen);
  CHECK(s.bytes == 110);
  CHECK(s.lower_bound == 110.0);
  // 120 bytes buy the small layer's step; the large one's stands next and does not fit
  s = ql::assign_under_bytes(view, 130, chosen);
  CHECK((chosen[0] == 1 && chosen[1] == 0));

  const ql::matrix_view<const ql::layer_option> none{nullptr, 0, 3};
  CHECK(ql::assign_under_bytes(none, 0, nullptr).bytes == 0);
  CHECK(ql::assign_under_error(none, 0.0, nullptr).error == 0.0);
}

TEST_CASE("budgets and options that cannot be met are refused with the number that could") {
  std::vector<ql::layer_option> options{{10, 4.0}, {20, 1.0}, {100, 9.0}, {200, 2.0}};
  const ql::matrix_view<const ql::layer_option> view{options.data(), 2, 2};
  std::size_t chosen[2];
  CHECK(refusal_of([&] { ql::assign_under_bytes(view, 109, chosen); }) ==
        "qlite: the budget is 109 bytes, expected at least 110 (each layer with its smallest candidate)");
  CHECK(refusal_of([&] { ql::assign_under_error(view, 2.5, chosen); }) ==
        "qlite: the budget is an error of 2.5, expected at least 3 (each layer with its best candidate)");
  CHECK_THAT(refusal_of([&] { ql::assign_under_error(view, std::nan(""), chosen); }),
             ContainsSubstring("error of nan"));
  CHECK_THAT(refusal_of([&] { ql::assign_under_bytes(view, 500, nullptr); }), ContainsSubstring("chosen is null"));
  CHECK_THAT(refusal_of([&] {
               ql::assign_under_bytes({options.data(), 2, 0}, 500, chosen);
             }),
             ContainsSubstring("options has 0 candidates"));
  options[3].error = -1.0;
  CHECK(refusal_of([&] { ql::assign_under_bytes(view, 500, chosen); }) ==
        "qlite: the error of layer 1 with candidate 1 is -1, expected a finite number, not negative");
  options[3].error = std::numeric_limits<double>::infinity();
  CHECK_THAT(refusal_of([&] { ql::assign_under_bytes(view, 500, chosen); }), ContainsSubstring("candidate 1 is inf"));
}
