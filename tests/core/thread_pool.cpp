#include <algorithm>
#include <qlite/core/executors/thread_pool.hpp>

#include "core/executor_checks.hpp"
#include "support/catch.hpp"

TEST_CASE("thread_pool does every task once, for any number of threads and any time to spin") {
  for (const std::size_t threads : {1u, 2u, 3u, 8u})
    for (const std::uint32_t spin : {0u, 50u, 2000u}) {
      CAPTURE(threads, spin);
      const qlite::thread_pool pool(threads, spin);
      CHECK(pool.concurrency() == threads);
      qlite_test::check_executor(pool);
    }
}

TEST_CASE("thread_pool takes the hardware's concurrency by default and refuses absurd ones") {
  const qlite::thread_pool pool;
  CHECK(pool.concurrency() == std::max(1u, std::thread::hardware_concurrency()));
  CHECK_THROWS_AS(qlite::thread_pool(100000), std::invalid_argument);
}

TEST_CASE("thread_pool wakes workers that have gone to sleep, and a caller that has") {
  const qlite::thread_pool pool(3, 20);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(200 * i));
    std::atomic<std::size_t> count{0};
    pool.parallel_for(3, [&](std::size_t) {
      ++count;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));    // longer than the caller spins
    });
    CHECK(count == 3);
  }
}

TEST_CASE("thread_pool runs tasks at the same time") {
  // Each of two tasks waits until the other has begun. (An executor need not do this; a pool that never did would be no
  // pool.) A generous limit keeps a busy machine from failing it.
  const qlite::thread_pool pool(2);
  std::atomic<int> begun{0};
  std::atomic<bool> met{true};
  pool.parallel_for(2, [&](std::size_t) {
    ++begun;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (begun < 2 && met)
      if (std::chrono::steady_clock::now() > limit) met = false;
  });
  CHECK(met);
}

TEST_CASE("pools come and go") {
  for (int i = 0; i < 50; ++i) {
    const qlite::thread_pool pool(1 + static_cast<std::size_t>(i) % 4, static_cast<std::uint32_t>(i % 3) * 10);
    std::atomic<std::size_t> count{0};
    if (i % 2 == 0) pool.parallel_for(7, [&](std::size_t) { ++count; });
    CHECK(count == (i % 2 == 0 ? 7 : 0));
  }
}
