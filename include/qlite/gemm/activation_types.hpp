// The forms in which X may come to a product, as types: gemm/activations.hpp says what they mean. Apart from the CPU's
// kernels, so that every backend takes the same ones.
#pragma once

#include <qlite/core/half.hpp>
#include <qlite/core/scheme.hpp>
#include <qlite/core/view.hpp>

QLITE_BEGIN_NAMESPACE

/// One activation scale per row of X and group of the weights.
struct per_weight_group {};

/// A matrix to be quantized to int8 as part of the product. Made by `dynamic`.
template <class Code, class Granularity, class T>
struct dynamic_activations {
  static_assert(std::is_same_v<Code, int8>, "qlite: activations are quantized to int8");
  static_assert(std::is_same_v<Granularity, per_weight_group> || std::is_same_v<Granularity, per_token> ||
                    std::is_same_v<Granularity, per_tensor>,
                "qlite: activations take per_weight_group, per_token or per_tensor scales");
  static_assert(detail::is_element<T>, "qlite: activations are float, float16 or bfloat16");
  using granularity = Granularity;
  matrix_view<const T> x;
};

/// A matrix to be quantized to int8 with a scale that is known already. Made by `fixed`.
template <class Code, class T>
struct fixed_activations {
  static_assert(std::is_same_v<Code, int8>, "qlite: activations are quantized to int8");
  static_assert(detail::is_element<T>, "qlite: activations are float, float16 or bfloat16");
  using granularity = per_token;
  matrix_view<const T> x;
  float scale;
};

/// Asks for integer arithmetic: each row of X [M, K] is quantized when the product is computed.
template <class Code, class Granularity = per_weight_group, class T>
QLITE_INLINE dynamic_activations<Code, Granularity, std::remove_const_t<T>> dynamic(matrix_view<T> x) noexcept {
  return {x};
}

/// The same with a calibrated scale: codes are x * (1 / scale), rounded to nearest even, clamped to +-127.
/// Error (at the product): scale is not a positive finite number.
template <class Code, class T>
QLITE_INLINE fixed_activations<Code, std::remove_const_t<T>> fixed(matrix_view<T> x, float scale) noexcept {
  return {x, scale};
}

QLITE_END_NAMESPACE
