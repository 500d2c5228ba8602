// Runs each instruction set that this CPU has and compares it with the portable one.
#include "linear.hpp"

#include <qlite/cpu/supported.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

namespace {

using linear = void (*)(const linear_problem&, float*, float*);

std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(bits);
  return values;
}

}    // namespace

int main() {
  const std::size_t n = 37, k = 161, m = 5;
  const std::vector<float> w = normal_values(n * k, 1), b = normal_values(n, 2), x = normal_values(m * k, 3);
  const linear_problem problem{w.data(), b.data(), x.data(), n, k, m};

  std::vector<float> exact(exact_results * m * n), rounded(rounded_results * m * n);
  linear_portable(problem, exact.data(), rounded.data());
  std::puts("portable: ran");

  int failures = 0;
  const auto compare = [&](const char* name, bool supported, linear function) {
    if (!supported) {
      std::printf("%s: this CPU lacks it\n", name);
      return;
    }
    std::vector<float> e(exact.size()), r(rounded.size());
    function(problem, e.data(), r.data());
    const bool same = std::memcmp(e.data(), exact.data(), e.size() * sizeof(float)) == 0;
    // Products of 161 standard normal values: 1e-4 is far above rounding and far below any wrong term.
    double worst = 0;
    for (std::size_t i = 0; i < r.size(); ++i) worst = std::fmax(worst, std::fabs(r[i] - rounded[i]));
    std::printf("%s: %s, weight-only within %.1e\n", name, same ? "same bits" : "DIFFERENT BITS", worst);
    if (!same || !(worst < 1e-4)) ++failures;
  };
  compare("avx2", qlite::supported<qlite::cpu::avx2>(), linear_avx2);
  compare("avx512_vnni", qlite::supported<qlite::cpu::avx512_vnni>(), linear_avx512_vnni);
  return failures == 0 ? 0 : 1;
}
