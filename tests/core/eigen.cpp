#include <qlite/core/executors/eigen.hpp>

#include "core/executor_checks.hpp"

namespace {
struct device {    // as Eigen::ThreadPoolDevice has it
  Eigen::ThreadPoolInterface* pool;
  Eigen::ThreadPoolInterface* getPool() const { return pool; }
};
}    // namespace

TEST_CASE("eigen_executor does what an executor must") {
  Eigen::ThreadPool pool(2);
  const qlite::eigen_executor executor(pool);
  CHECK(executor.concurrency() == 3);
  qlite_test::check_executor(executor);
  qlite_test::check_executor(qlite::eigen_executor(device{&pool}));
}

TEST_CASE("eigen_executor may be called from all threads of its pool at once") {
  Eigen::ThreadPool pool(2);
  const qlite::eigen_executor executor(pool);
  std::atomic<int> count{0};
  Eigen::Barrier ended(8);
  for (int i = 0; i < 8; ++i)
    pool.Schedule([&] {
      executor.parallel_for(3, [&](std::size_t) { ++count; });
      ended.Notify();
    });
  ended.Wait();
  CHECK(count == 24);
}
