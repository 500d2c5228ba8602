// Property-based tests: a body runs for many random cases, and a failure names the seed that repeats it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <vector>

#include "support/catch.hpp"

namespace qlite_test {

// A small generator with the same numbers on every standard library (std's distributions differ between them).
// splitmix64: S. Vigna, public domain algorithm.
class random_source {
 public:
  explicit random_source(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(uniform()); }

  // Uniform in [low, high].
  std::size_t integer(std::size_t low, std::size_t high) { return low + bits() % (high - low + 1); }

  // A dimension in [low, high]: small values, and neighbours of powers of two, are as likely as all others together,
  // because that is where tails begin.
  std::size_t extent(std::size_t low, std::size_t high) {
    std::size_t value = integer(low, high);
    switch (bits() % 4) {
      case 0:
        value = low + bits() % 4;
        break;
      case 1:
        value = (std::size_t{1} << bits() % 12) + bits() % 3 - 1;
        break;
      default:
        break;
    }
    return value < low ? low : value > high ? high : value;
  }

  template <class T>
  T pick(std::initializer_list<T> values) {
    return *std::next(values.begin(), static_cast<std::ptrdiff_t>(bits() % values.size()));
  }

  bool chance(double probability) { return uniform() < probability; }

  // Standard normal (Box and Muller 1958).
  float normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return static_cast<float>(radius * std::cos(6.283185307179586 * uniform()));
  }

  // `count` standard normal values times `scale`.
  std::vector<float> normal_vector(std::size_t count, float scale = 1.0f) {
    std::vector<float> values(count);
    for (float& v : values) v = scale * normal();
    return values;
  }

 private:
  std::uint64_t state_;
};

// Calls body(random_source&) for the seeds 1 to `cases`. A failing assertion prints the seed; QLITE_TEST_SEED=<seed>
// in the environment repeats that case alone.
template <class Body>
void for_random_cases(std::uint64_t cases, Body&& body) {
  std::uint64_t first = 1;
  std::uint64_t last = cases;
  if (const char* only = std::getenv("QLITE_TEST_SEED")) first = last = std::strtoull(only, nullptr, 10);
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    INFO("repeat with QLITE_TEST_SEED=" << seed);
    random_source random(seed);
    body(random);
  }
}

}    // namespace qlite_test
