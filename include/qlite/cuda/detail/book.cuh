// Code books (core/codebook.hpp) on the device, as constants of kernels.
#pragma once

#include <qlite/core/codebook.hpp>
#include <qlite/cuda/detail/config.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// The numbers of a code book, in float.
struct book_numbers {
  float v[16];
};
template <class Code>
constexpr book_numbers numbers_of() {
  book_numbers numbers{};
  for (std::size_t i = 0; i < 16; ++i) numbers.v[i] = ::qlite::v0::QLITE_FLAG_SET::impl::book_value<Code>(i);
  return numbers;
}

template <class Code>
inline constexpr book_numbers numbers_in = numbers_of<Code>();

/// The bits of x, rounded to nearest, ties to even, as a float of 16 bits with so many bits of fraction. x is 0 or a
/// normal number of that type. (core/half.hpp converts anything, but not in constant expressions.)
constexpr std::uint32_t narrow_bits(double x, int fraction_bits, int bias) {
  if (x == 0) return 0;
  const std::uint32_t sign = x < 0 ? 0x8000u : 0u;
  double fraction = x < 0 ? -x : x;
  int exponent = bias;
  for (; fraction >= 2; fraction /= 2) ++exponent;
  for (; fraction < 1; fraction *= 2) --exponent;
  fraction = (fraction - 1) * static_cast<double>(1 << fraction_bits);
  auto whole = static_cast<std::uint32_t>(fraction);
  const double rest = fraction - static_cast<double>(whole);
  if (rest > 0.5 || (rest == 0.5 && whole % 2 != 0)) ++whole;
  return sign | ((static_cast<std::uint32_t>(exponent) << fraction_bits) + whole);    // may carry into the exponent
}

/// The same numbers rounded to T (__half or __nv_bfloat16), as tables for byte permutations: the low and the high bytes
/// of each, four to a word.
struct book_tables {
  std::uint32_t low[4], high[4];
};
template <class Code, class T>
constexpr book_tables tables_of() {
  constexpr bool half = std::is_same_v<T, __half>;
  const book_numbers numbers = numbers_of<Code>();
  book_tables t{};
  for (std::uint32_t i = 0; i < 16; ++i) {
    const std::uint32_t bits = narrow_bits(static_cast<double>(numbers.v[i]), half ? 10 : 7, half ? 15 : 127);
    t.low[i / 4] |= (bits & 0xffu) << (8 * (i % 4));
    t.high[i / 4] |= (bits >> 8) << (8 * (i % 4));
  }
  return t;
}
template <class Code, class T>
inline constexpr book_tables tables_in = tables_of<Code, T>();

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
