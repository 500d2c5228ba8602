// Choosing the next token.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "tokenizer.hpp"

namespace llm {

class sampler {
 public:
  /// Temperature 0 always takes the likeliest token (the first of equals); above, tokens are drawn with probability
  /// softmax(logits / temperature), the same for the same seed.
  sampler(float temperature, std::uint64_t seed) : temperature_(temperature), random_(seed) {}

  token next(const float* logits, std::size_t count);
  /// Whether the likeliest token is always taken.
  bool greedy() const { return temperature_ <= 0; }

 private:
  float temperature_;
  std::mt19937_64 random_;
  std::vector<double> cumulative_;
};

}    // namespace llm
