#include "measure.hpp"

#include <algorithm>
#include <chrono>

#include "sampler.hpp"
#include "simd.hpp"

namespace llm {
namespace {

template <class F>
double seconds_of(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Sum of floats, four vectors at a time: faster than memory.
float sum_of_range(const float* p, const float* end) {
  vec sums[4] = {vec(0.0f), vec(0.0f), vec(0.0f), vec(0.0f)};
  for (; p < end; p += 4 * lanes) {
    for (std::size_t i = 0; i < 4; ++i) sums[i] += load(p + i * lanes);
  }
  return sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

}    // namespace

bandwidth_probe::bandwidth_probe(executor& threads) : threads_(threads), block_(std::size_t{64} << 20) {
  for_each_slice(threads_, block_.size() / panel, [&](std::size_t begin, std::size_t end) {
    std::fill(block_.data() + begin * panel, block_.data() + end * panel, 1.0f);
  });
}

double bandwidth_probe::bytes_per_second() {
  constexpr std::size_t unit = 4 * lanes;
  std::vector<float> sums(threads_.concurrency());
  const double seconds = seconds_of([&] {
    threads_.parallel_for(sums.size(), [&](std::size_t i) {
      const std::size_t units = block_.size() / unit;
      const float* const data = block_.data();
      sums[i] = sum_of_range(data + units * i / sums.size() * unit, data + units * (i + 1) / sums.size() * unit);
    });
  });
  for (const float s : sums) kept_ += s;
  return static_cast<double>(block_.size() * sizeof(float)) / seconds;
}

double prompt_speed(running_text& s, const std::vector<token>& text) {
  s.reset();
  return static_cast<double>(text.size()) / seconds_of([&] { s.prompt(text.data(), text.size()); });
}

double decode_speed(running_text& s, const std::vector<token>& text, std::size_t count) {
  s.reset();
  sampler greedy(0, 0);
  token next = s.next(text.data(), text.size(), greedy);
  return static_cast<double>(count) / seconds_of([&] {
           for (std::size_t i = 0; i < count; ++i) next = s.next(&next, 1, greedy);
         });
}

double prompt_products_speed(session& s, std::size_t count) {
  return static_cast<double>(count) / seconds_of([&] {
           for (std::size_t done = 0; done < count; done += s.batch()) s.products(std::min(s.batch(), count - done));
         });
}

double decode_products_speed(session& s, std::size_t count) {
  return static_cast<double>(count) / seconds_of([&] {
           for (std::size_t i = 0; i < count; ++i) s.products(1);
         });
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

}    // namespace llm
