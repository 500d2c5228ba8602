// Programmatic dependent launch.
#include "cuda/device.hpp"
#include "support/catch.hpp"

TEST_CASE("products that begin before the work ahead has ended give the same bits") {
  const std::string wrong = qlite_test::device::wrong_overlap();
  INFO(wrong);
  REQUIRE(wrong.empty());
}
