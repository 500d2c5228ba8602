// An executor on OpenMP's threads. Needs the compiler's OpenMP flag (-fopenmp).
#pragma once

#if !defined(_OPENMP)
#error "qlite/core/executors/openmp.hpp needs OpenMP: compile with -fopenmp"
#endif

#include <qlite/core/executors/first_error.hpp>

#include <omp.h>
#include <type_traits>

QLITE_BEGIN_NAMESPACE

/// Runs tasks on an OpenMP team. Within a parallel region, unless nesting is allowed (omp_set_max_active_levels), the
/// calling thread runs all tasks itself.
class openmp_executor {
 public:
  /// `concurrency` threads; 0 means omp_get_max_threads() at the time of each call.
  QLITE_INLINE explicit openmp_executor(std::size_t concurrency = 0) noexcept : concurrency_(concurrency) {}

  QLITE_INLINE std::size_t concurrency() const noexcept {
    return concurrency_ != 0 ? concurrency_ : static_cast<std::size_t>(omp_get_max_threads());
  }

  /// Calls f(0) ... f(tasks - 1). An exception of a task is rethrown after all have ended.
  template <class F>
  QLITE_INLINE void parallel_for(std::size_t tasks, F&& f) const {
    impl::first_error error;
    const std::size_t wanted = concurrency();
    const int threads = static_cast<int>(wanted < tasks ? wanted : tasks == 0 ? 1 : tasks);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (std::size_t i = 0; i < tasks; ++i) error.run(f, i);
    error.rethrow();
  }

 private:
  std::size_t concurrency_;
};

QLITE_END_NAMESPACE
