// The entry point of every test program. Built once per backend, always with the baseline's flags.
#include "support/runner.hpp"

#if defined(QLITE_TEST_REQUIRES)
#include <cstdio>
#include <cstdlib>
#include <qlite/cpu/supported.hpp>

#define QLITE_TEST_TEXT_OF(x) #x
#define QLITE_TEST_TEXT(x) QLITE_TEST_TEXT_OF(x)

// Catch2 registers test cases in constructors of the test's own translation unit, which may already hold instructions
// that this CPU lacks. A check in main() would come too late: 102 is ahead of every constructor without a priority
// (and behind libgcc's own, which reads the CPU's features at 101).
__attribute__((constructor(102))) static void skip_if_cpu_lacks_backend() {
  if (!qlite::supported<QLITE_TEST_REQUIRES>()) {
    std::puts("skipped: this CPU does not support " QLITE_TEST_TEXT(QLITE_TEST_REQUIRES));
    std::fflush(stdout);
    std::_Exit(skip_code);
  }
}
#endif

// Catch2 returns the number of failures, which could happen to be skip_code.
int main(int argc, char** argv) { return run_tests(argc, argv) == 0 ? 0 : 1; }
