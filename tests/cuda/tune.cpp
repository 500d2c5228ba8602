// The tuner, and the text of a choice.
#include "cuda/device.hpp"
#include "support/catch.hpp"

TEST_CASE("a tuned product is the product, and its choice can be stored") {
  const std::string wrong = qlite_test::device::wrong_tuning();
  INFO(wrong);
  REQUIRE(wrong.empty());
}
