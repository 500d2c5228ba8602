// The entry point of the CUDA tests: they skip, and say why, where there is no GPU.
#include <cstdio>

#include "cuda/device.hpp"
#include "support/runner.hpp"

int main(int argc, char** argv) {
  const std::string reason = qlite_test::device::reason_to_skip();
  if (!reason.empty()) {
    std::printf("skipped: no CUDA device: %s\n", reason.c_str());
    return skip_code;
  }
  std::printf("on %s\n", qlite_test::device::describe().c_str());
  return run_tests(argc, argv) == 0 ? 0 : 1;
}
