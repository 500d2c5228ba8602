// The threads of the engine, which are also the ones that qlite runs on.
#pragma once

#include <qlite/core/executors/thread_pool.hpp>

namespace llm {

using executor = qlite::thread_pool;

/// Task i of `tasks` gets the items i, i + tasks, i + 2 tasks ... of [0, count): even shares of items whose cost grows
/// along the way.
template <class F>
void for_each_interleaved(executor& threads, std::size_t count, F&& f) {
  const std::size_t tasks = count < threads.concurrency() ? count : threads.concurrency();
  threads.parallel_for(tasks, [&](std::size_t task) {
    for (std::size_t i = task; i < count; i += tasks) f(i, task);
  });
}

/// Task i of `tasks` gets the i-th contiguous piece [begin, end) of [0, count), all pieces of equal length but for one.
template <class F>
void for_each_slice(executor& threads, std::size_t count, F&& f) {
  const std::size_t tasks = count < threads.concurrency() ? count : threads.concurrency();
  threads.parallel_for(tasks, [&](std::size_t task) { f(count * task / tasks, count * (task + 1) / tasks); });
}

}    // namespace llm
