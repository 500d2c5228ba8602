// One executor type for all the ways in which a caller may run tasks, so that a product is compiled once for all.
#pragma once

#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

#include "support/property.hpp"

namespace qlite_test {

class any_executor {
 public:
  enum class order { forward, shuffled, threads };

  explicit any_executor(std::size_t concurrency = 1, order how = order::forward, std::uint64_t seed = 1)
      : concurrency_(concurrency), how_(how), seed_(seed) {}

  std::size_t concurrency() const { return concurrency_; }

  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    if (tasks > concurrency_) too_many_ = true;
    if (how_ == order::threads) {
      std::vector<std::thread> threads;
      for (std::size_t i = 1; i < tasks; ++i) threads.emplace_back([&f, i] { f(i); });
      if (tasks > 0) f(0);
      for (std::thread& t : threads) t.join();
      return;
    }
    std::vector<std::size_t> permutation(tasks);
    for (std::size_t i = 0; i < tasks; ++i) permutation[i] = i;
    if (how_ == order::shuffled) {
      random_source random(seed_);
      for (std::size_t i = tasks; i > 1; --i) std::swap(permutation[i - 1], permutation[random.integer(0, i - 1)]);
    }
    for (const std::size_t i : permutation) f(i);
  }

  // Whether a call asked for more tasks than concurrency().
  bool was_asked_for_too_many() const { return too_many_; }

 private:
  std::size_t concurrency_;
  order how_;
  std::uint64_t seed_;
  mutable bool too_many_ = false;
};

// Serial, shuffled (also with far more tasks than there is work) or on threads.
inline any_executor random_executor(random_source& random) {
  switch (random.bits() % 4) {
    case 0:
      return any_executor();
    case 1:
      return any_executor(random.integer(2, 9), any_executor::order::shuffled, random.bits());
    case 2:
      return any_executor(random.integer(10, 300), any_executor::order::shuffled, random.bits());
    default:
      return any_executor(random.integer(1, 5), any_executor::order::threads);
  }
}

}    // namespace qlite_test
