// What every executor must do, checked the same way for each.
#pragma once

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace qlite_test {

// Every index once, for counts around the concurrency and far beyond.
template <class Executor>
void check_every_task_runs_once(const Executor& executor) {
  const std::size_t most = executor.concurrency();
  REQUIRE(most >= 1);
  for (const std::size_t tasks : {std::size_t{0}, std::size_t{1}, std::size_t{2}, most - 1, most, most + 1,
                                  std::size_t{100}, std::size_t{70000}}) {
    std::vector<std::atomic<int>> runs(tasks);
    for (int repeat = 0; repeat < 3; ++repeat)
      executor.parallel_for(tasks, [&](std::size_t i) { runs.at(i).fetch_add(1, std::memory_order_relaxed); });
    std::size_t wrong = 0;
    for (const auto& r : runs) wrong += static_cast<std::size_t>(r != 3);
    CAPTURE(tasks);
    CHECK(wrong == 0);
  }
}

// What tasks wrote is there when the call returns, call after call.
template <class Executor>
void check_results_are_visible(const Executor& executor, int calls) {
  const std::size_t tasks = executor.concurrency() + 1;
  std::vector<std::size_t> values(tasks * 16);
  std::size_t wrong = 0;
  for (int call = 0; call < calls; ++call) {
    const std::size_t base = static_cast<std::size_t>(call);
    executor.parallel_for(tasks, [&, base](std::size_t i) { values[i * 16] = base + i; });    // a cache line apart
    for (std::size_t i = 0; i < tasks; ++i) wrong += static_cast<std::size_t>(values[i * 16] != base + i);
  }
  CHECK(wrong == 0);
}

// One exception comes out, after all other tasks have ended, and the executor goes on working.
template <class Executor>
void check_exceptions(const Executor& executor) {
  const std::size_t tasks = executor.concurrency() + 5;
  std::atomic<std::size_t> ended{0};
  std::string message;
  try {
    executor.parallel_for(tasks, [&](std::size_t i) {
      if (i % 2 == 0) {
        ++ended;
        throw std::runtime_error("task failed");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++ended;
    });
  } catch (const std::runtime_error& e) {
    message = e.what();
  }
  CHECK(message == "task failed");
  CHECK(ended == tasks);
  check_results_are_visible(executor, 3);
}

// Calls within tasks, and calls from several threads at once, do all their tasks.
template <class Executor>
void check_nested_and_concurrent_calls(const Executor& executor) {
  std::atomic<std::size_t> count{0};
  executor.parallel_for(4, [&](std::size_t) {
    executor.parallel_for(5, [&](std::size_t) { executor.parallel_for(3, [&](std::size_t) { ++count; }); });
  });
  CHECK(count == 60);

  std::atomic<std::size_t> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) executor.parallel_for(4, [&](std::size_t) { ++total; });
    });
  for (std::thread& t : callers) t.join();
  CHECK(total == 3600);
}

template <class Executor>
void check_executor(const Executor& executor) {
  check_every_task_runs_once(executor);
  check_results_are_visible(executor, 500);
  check_exceptions(executor);
  check_nested_and_concurrent_calls(executor);
}

}    // namespace qlite_test
