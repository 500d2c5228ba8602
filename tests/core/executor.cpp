#include <algorithm>
#include <qlite/core/executor.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/property.hpp"

TEST_CASE("serial runs every task in order") {
  std::vector<std::size_t> order;
  qlite::serial{}.parallel_for(4, [&](std::size_t i) { order.push_back(i); });
  CHECK(order == std::vector<std::size_t>{0, 1, 2, 3});
  CHECK(qlite::serial{}.concurrency() == 1);
  static_assert(qlite::detail::is_executor<qlite::serial>);
  static_assert(!qlite::detail::is_executor<int>);
}

TEST_CASE("slices cover their range once and differ by one at most") {
  qlite_test::for_random_cases(500, [](qlite_test::random_source& random) {
    const std::size_t count = random.extent(0, 5000), parts = random.integer(1, 70);
    std::size_t end = 0, least = count, most = 0;
    for (std::size_t i = 0; i < parts; ++i) {
      const qlite::detail::slice s = qlite::detail::slice_of(count, parts, i);
      CHECK(s.begin == end);
      end = s.end;
      least = std::min(least, s.end - s.begin);
      most = std::max(most, s.end - s.begin);
    }
    CHECK(end == count);
    CHECK(most - least <= 1);
  });
}

TEST_CASE("the number of tasks is bounded by threads, items and work, and never 0") {
  struct {
    std::size_t concurrency() const { return 8; }
  } const eight;
  using qlite::impl::task_count;
  CHECK(task_count(eight, 100, 1000000, 1000) == 8);
  CHECK(task_count(eight, 3, 1000000, 1000) == 3);
  CHECK(task_count(eight, 100, 2500, 1000) == 3);
  CHECK(task_count(eight, 100, 0, 1000) == 1);
  CHECK(task_count(eight, 0, 0, 1000) == 1);
}
