// Packed random weights for the benchmarks of products.
#pragma once

#include <qlite/gemm.hpp>

#include <cstring>
#include <random>
#include <utility>
#include <vector>

namespace qlite_bench {

inline std::vector<float> random_floats(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// More than the last-level caches of today's servers give one virtual machine: weights that are used in turn from this
// many bytes come from memory.
inline constexpr std::size_t beyond_caches = std::size_t{176} << 20;

// W [n, k], quantized. Drawing random numbers is slow, and their codes no better than these: some rows, repeated.
template <class Scheme, class Backend>
qlite::quantized_matrix<Scheme> quantized_weights(std::size_t n, std::size_t k) {
  const auto some = random_floats((n < 256 ? n : 256) * k);
  std::vector<float> w(n * k);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = some[i % some.size()];
  return qlite::quantize<Scheme, Backend>(qlite::matrix_view<const float>{w.data(), n, k}, qlite::rtn{});
}

// W [n, k], as many packed copies as hold `at_least` bytes together.
template <class Scheme, class Backend>
std::vector<qlite::packed_matrix<Scheme, Backend>> packed_copies(std::size_t n, std::size_t k, std::size_t at_least) {
  std::vector<qlite::packed_matrix<Scheme, Backend>> copies;
  copies.push_back(qlite::pack<Backend>(quantized_weights<Scheme, Backend>(n, k)));
  while (copies.size() * copies[0].bytes() < at_least) {
    qlite::detail::buffer memory(copies[0].bytes());
    std::memcpy(memory.data(), copies[0].data(), memory.size());
    copies.emplace_back(std::move(memory), copies[0].raw().shape, copies[0].scheme());
  }
  return copies;
}

// The form of X that a product takes: quantized to int8, or as it is.
template <bool Integer>
auto form_of(qlite::matrix_view<const float> x) {
  if constexpr (Integer)
    return qlite::dynamic<qlite::int8>(x);
  else
    return x;
}

}    // namespace qlite_bench
