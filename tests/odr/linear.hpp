// What crosses the border between translation units of different instruction sets: plain pointers. A std::vector
// returned from one would bring the standard library's inline functions, built with that one's flags, into the others.
#pragma once
#include <cstddef>

struct linear_problem {
  const float* weights;        // [n, k]
  const float* bias;           // [n]
  const float* activations;    // [m, k]
  std::size_t n, k, m;
};

// Fills exact [exact_results, m, n], which has the same bits on every instruction set, and rounded
// [rounded_results, m, n], which agrees within floating-point error.
constexpr std::size_t exact_results = 9;
constexpr std::size_t rounded_results = 3;
void linear_portable(const linear_problem& problem, float* exact, float* rounded);
void linear_avx2(const linear_problem& problem, float* exact, float* rounded);
void linear_avx512_vnni(const linear_problem& problem, float* exact, float* rounded);
