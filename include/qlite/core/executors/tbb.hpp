// An executor on the threads of oneTBB.
#pragma once

#include <qlite/core/executors/first_error.hpp>

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

QLITE_BEGIN_NAMESPACE

/// Runs tasks in the arena of the calling thread, or in one that the caller names. While a call waits for its tasks,
/// its thread takes no others (isolation): a caller's scratch memory stays with its call.
class tbb_executor {
 public:
  QLITE_INLINE tbb_executor() noexcept = default;
  /// `arena` must outlive the executor.
  QLITE_INLINE explicit tbb_executor(tbb::task_arena& arena) noexcept : arena_(&arena) {}

  QLITE_INLINE std::size_t concurrency() const {
    return static_cast<std::size_t>(arena_ != nullptr ? arena_->max_concurrency()
                                                      : tbb::this_task_arena::max_concurrency());
  }

  /// Calls f(0) ... f(tasks - 1). An exception of a task is rethrown after all have ended.
  template <class F>
  QLITE_INLINE void parallel_for(std::size_t tasks, F&& f) const {
    impl::first_error error;
    const auto run = [&] {
      tbb::this_task_arena::isolate([&] {
        tbb::parallel_for(
            std::size_t{0}, tasks, [&](std::size_t i) { error.run(f, i); }, tbb::simple_partitioner{});
      });
    };
    if (arena_ != nullptr)
      arena_->execute(run);
    else
      run();
    error.rethrow();
  }

 private:
  tbb::task_arena* arena_ = nullptr;
};

QLITE_END_NAMESPACE
