#include <qlite/core/executors/openmp.hpp>

#include "core/executor_checks.hpp"

TEST_CASE("openmp_executor does what an executor must") {
  qlite_test::check_executor(qlite::openmp_executor{});
  qlite_test::check_executor(qlite::openmp_executor{1});
  qlite_test::check_executor(qlite::openmp_executor{3});
  CHECK(qlite::openmp_executor{3}.concurrency() == 3);
  CHECK(qlite::openmp_executor{}.concurrency() == static_cast<std::size_t>(omp_get_max_threads()));
}
