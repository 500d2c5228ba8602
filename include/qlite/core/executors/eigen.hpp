// An executor on Eigen's thread pool (unsupported/Eigen/CXX11/ThreadPool), for programs that have one already.
#pragma once

#include <qlite/core/executors/first_error.hpp>

#include <type_traits>
#include <unsupported/Eigen/CXX11/ThreadPool>

QLITE_BEGIN_NAMESPACE

/// Runs tasks on an Eigen::ThreadPoolInterface and the calling thread. Each call schedules std::functions, so unlike
/// qlite's own pool it allocates. From a thread of the pool the tasks run one after another: waiting there for other
/// threads of a pool that may all be waiting would never end.
class eigen_executor {
 public:
  /// `pool` must outlive the executor.
  QLITE_INLINE explicit eigen_executor(Eigen::ThreadPoolInterface& pool) noexcept : pool_(&pool) {}
  /// The pool of an Eigen::ThreadPoolDevice.
  template <class Device, class = decltype(std::declval<const Device&>().getPool())>
  QLITE_INLINE explicit eigen_executor(const Device& device) : pool_(device.getPool()) {}

  QLITE_INLINE std::size_t concurrency() const { return static_cast<std::size_t>(pool_->NumThreads()) + 1; }

  /// Calls f(0) ... f(tasks - 1). An exception of a task is rethrown after all have ended.
  template <class F>
  QLITE_INLINE void parallel_for(std::size_t tasks, F&& f) const {
    impl::first_error error;
    if (tasks > 1 && pool_->CurrentThreadId() < 0) {
      Eigen::Barrier ended(static_cast<unsigned>(tasks - 1));
      for (std::size_t i = 1; i < tasks; ++i)
        pool_->Schedule([&error, &f, &ended, i] {
          error.run(f, i);
          ended.Notify();
        });
      error.run(f, 0);
      ended.Wait();
    } else {
      for (std::size_t i = 0; i < tasks; ++i) error.run(f, i);
    }
    error.rethrow();
  }

 private:
  Eigen::ThreadPoolInterface* pool_;
};

QLITE_END_NAMESPACE
