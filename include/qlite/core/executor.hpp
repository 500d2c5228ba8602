// Threads belong to the caller. An executor is any object with
//
//     std::size_t concurrency() const;                 // most tasks that run at once, at least 1
//     void parallel_for(std::size_t tasks, F&& f);     // calls f(0) ... f(tasks - 1), in any order, then returns
//
// The library asks for at most concurrency() tasks per call. Tasks never wait for each other, so they may also run one
// after another. Adapters: core/executors/{thread_pool,openmp,tbb,eigen}.hpp.
#pragma once

#include <qlite/core/config.hpp>

#include <type_traits>
#include <utility>

QLITE_BEGIN_NAMESPACE

/// Runs everything on the calling thread.
struct serial {
  QLITE_INLINE constexpr std::size_t concurrency() const noexcept { return 1; }
  template <class F>
  QLITE_INLINE void parallel_for(std::size_t tasks, F&& f) const {
    for (std::size_t i = 0; i < tasks; ++i) f(i);
  }
};

namespace detail {

template <class T, class = void>
inline constexpr bool is_executor = false;
template <class T>
inline constexpr bool is_executor<T, std::void_t<decltype(std::declval<T&>().concurrency())>> = true;

/// The i-th of `parts` contiguous, balanced slices of [0, count).
struct slice {
  std::size_t begin, end;
};
QLITE_INLINE constexpr slice slice_of(std::size_t count, std::size_t parts, std::size_t i) noexcept {
  const std::size_t base = count / parts, extra = count % parts;
  const std::size_t begin = i * base + (i < extra ? i : extra);
  return {begin, begin + base + (i < extra ? 1 : 0)};
}

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Most tasks to ask for at once. A pool that counts its workers without the calling thread may have none.
template <class Executor>
QLITE_INLINE std::size_t concurrency_of(const Executor& executor) {
  static_assert(
      detail::is_executor<const Executor>,
      "qlite: an executor has concurrency() and parallel_for(tasks, f), as serial{}; a workspace comes after it");
  if constexpr (detail::is_executor<const Executor>) {
    const std::size_t tasks = static_cast<std::size_t>(executor.concurrency());
    return tasks == 0 ? 1 : tasks;
  } else {
    return static_cast<void>(executor), 1;
  }
}

/// Tasks worth starting for `work` bytes or operations when one task should have at least `grain` of them.
template <class Executor>
QLITE_INLINE std::size_t task_count(const Executor& executor, std::size_t items, std::size_t work, std::size_t grain) {
  const std::size_t most = concurrency_of(executor);
  std::size_t tasks = work / grain + 1;
  if (tasks > most) tasks = most;
  if (tasks > items) tasks = items;
  return tasks == 0 ? 1 : tasks;
}

}    // namespace impl
QLITE_END_FUNCTIONS
