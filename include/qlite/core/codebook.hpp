// Code books: 16 numbers that 4-bit codes stand for, where evenly spaced ones would be the wrong choice.
#pragma once

#include <qlite/core/scheme.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

// In the namespace of functions: constants that are read through a pointer have an address, and so a symbol.

/// NormalFloat of 4 bits: quantiles of a normal distribution, scaled to -1 ... 1, with an exact 0.
/// T. Dettmers, A. Pagnoni, A. Holtzman, L. Zettlemoyer: QLoRA, NeurIPS 2023, arXiv:2305.14314, appendix E.
inline constexpr float nf4_values[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

/// ggml's table of its type IQ4_NL (kvalues_iq4nl in ggml-common.h), as floats and as bytes.
inline constexpr float nl4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
inline constexpr std::int8_t nl4_bytes[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// The same with 128 added, for dot products that take unsigned weights.
inline constexpr std::uint8_t nl4_bytes_plus_128[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                        129, 141, 153, 166, 181, 197, 217, 241};

/// The numbers that the codes of a type stand for.
template <class Code>
QLITE_INLINE constexpr float book_value(std::size_t code) noexcept {
  if constexpr (std::is_same_v<Code, nf4>)
    return nf4_values[code];
  else
    return nl4_values[code];
}

/// Between neighbours, in float: half the sum of code i and code i + 1. A number on the limit has the lower code.
template <class Code>
QLITE_INLINE constexpr float book_limit(std::size_t i) noexcept {
  return static_cast<float>((static_cast<double>(book_value<Code>(i)) + static_cast<double>(book_value<Code>(i + 1))) /
                            2);
}

}    // namespace impl
QLITE_END_FUNCTIONS
