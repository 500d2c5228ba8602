// What is refused, and where a product may run.
#include "cuda/device.hpp"
#include "support/catch.hpp"

using namespace qlite_test;

TEST_CASE("bad arguments are refused before anything is launched") {
  const std::string wrong = device::wrong_answer_at_the_door();
  INFO(wrong);
  REQUIRE(wrong.empty());
}
TEST_CASE("two streams at once") {
  const std::string wrong = device::wrong_result_of_streams();
  INFO(wrong);
  REQUIRE(wrong.empty());
}
TEST_CASE("every device of the process") {
  const std::string wrong = device::wrong_result_of_devices();
  INFO(wrong);
  REQUIRE(wrong.empty());
}
