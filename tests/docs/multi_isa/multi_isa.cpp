// README's way to carry several instruction sets in one binary.
#include "snippets/dispatch.inc"

#include <vector>

#include "support/property.hpp"

TEST_CASE("the linear layer of the best instruction set gives the scalar one's bits") {
  const std::size_t m = 3, n = 21, k = 70;
  qlite_test::random_source random(1);
  const auto w = random.normal_vector(n * k), x = random.normal_vector(m * k);
  std::vector<float> best(m * n), plain(m * n);
  best_linear()(w.data(), x.data(), best.data(), m, n, k);
  linear_scalar(w.data(), x.data(), plain.data(), m, n, k);
  REQUIRE(best == plain);
}
