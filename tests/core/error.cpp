#include <qlite/core/error.hpp>
#include <string>

#include "support/catch.hpp"
#include "support/refusal.hpp"

TEST_CASE("fail throws std::invalid_argument with the formatted message") {
  using qlite_test::refusal_of;
  CHECK(refusal_of([] { qlite::impl::fail("qlite: %s is %zu, expected %d", "K", std::size_t{7}, 8); }) ==
        "qlite: K is 7, expected 8");
  // Longer than the buffer: cut, not overrun.
  const std::string message = refusal_of([] { qlite::impl::fail("%s", std::string(2000, 'x').c_str()); });
  CHECK(message == std::string(511, 'x'));
}

TEST_CASE("the handler is not asked where there are exceptions") {
  qlite::set_error_handler([](const char*) { FAIL("called"); });
  CHECK(qlite_test::refusal_of([] { qlite::impl::fail("message"); }) == "message");
  qlite::set_error_handler(nullptr);
}
