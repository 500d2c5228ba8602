#include <qlite/core/executors/tbb.hpp>

#include "core/executor_checks.hpp"

TEST_CASE("tbb_executor does what an executor must") {
  qlite_test::check_executor(qlite::tbb_executor{});
  tbb::task_arena arena(2);
  CHECK(qlite::tbb_executor{arena}.concurrency() == 2);
  qlite_test::check_executor(qlite::tbb_executor{arena});
}

TEST_CASE("a thread that waits in tbb_executor takes no other work") {
  // Every outer task lends one scratch place to its calls. If its thread, while it waits, took another outer task, that
  // one would use the place as well.
  const qlite::tbb_executor executor;
  thread_local int depth = 0;
  std::atomic<int> deepest{0};
  tbb::parallel_for(0, 64, [&](int) {
    ++depth;
    int seen = deepest;
    while (depth > seen && !deepest.compare_exchange_weak(seen, depth)) {
    }
    executor.parallel_for(8, [&](std::size_t) { std::this_thread::sleep_for(std::chrono::microseconds(50)); });
    --depth;
  });
  CHECK(deepest == 1);
}
