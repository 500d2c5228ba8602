#include "sampler.hpp"

#include <algorithm>
#include <cmath>

#include "simd.hpp"

namespace llm {
namespace {

/// The first of the largest elements. In vectors, because the standard algorithm takes longer than a small layer.
std::size_t index_of_largest(const float* x, std::size_t count) {
  const std::size_t whole = count / lanes * lanes;
  vec best(x[0]);
  for (std::size_t i = 0; i < whole; i += lanes) best = xsimd::max(best, load(x + i));
  float maxima[lanes];
  best.store_unaligned(maxima);
  float largest = *std::max_element(maxima, maxima + lanes);
  for (std::size_t i = whole; i < count; ++i) largest = std::max(largest, x[i]);
  return static_cast<std::size_t>(std::find(x, x + count, largest) - x) % count;    // 0 if there are only NaNs
}

}    // namespace

token sampler::next(const float* logits, std::size_t count) {
  const std::size_t best = index_of_largest(logits, count);
  if (temperature_ <= 0) return static_cast<token>(best);
  cumulative_.resize(count);
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i)
    cumulative_[i] = sum += std::exp(static_cast<double>(logits[i] - logits[best]) / static_cast<double>(temperature_));
  // 53 random bits in [0, 1): std::uniform_real_distribution differs between standard libraries.
  const double at = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
  const auto chosen = std::upper_bound(cumulative_.begin(), cumulative_.end(), at);
  return static_cast<token>(
      std::min<std::ptrdiff_t>(chosen - cumulative_.begin(), static_cast<std::ptrdiff_t>(count) - 1));
}

}    // namespace llm
