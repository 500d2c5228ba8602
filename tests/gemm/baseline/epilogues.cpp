// The readable twin of every kernel, compiled for the oldest CPU of the architecture: no fused multiply-add on x86-64.
#include "gemm/epilogue_cases.hpp"

std::vector<float> qlite_test::baseline_epilogue_case(int which, std::size_t m, std::size_t n, std::size_t k) {
  return epilogue_case<qlite::cpu::scalar>(which, m, n, k);
}
