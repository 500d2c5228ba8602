// The contract of a product in its shortest form: from the canonical form, one output at a time, in the words of
// docs/numerics.md. Slow and easy to check; the oracle of the tests, and of anyone who writes a backend.
#pragma once

#include <qlite/core/check.hpp>
#include <qlite/core/codebook.hpp>
#include <qlite/quantize/quantized_matrix.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Scale and codes of `count` activations, as gemm/activations.hpp defines them. Returns the scale.
template <class T>
inline float reference_codes(const T* x, std::size_t count, std::int8_t* codes) {
  float amax = 0.0f;
  bool finite = true;
  for (std::size_t i = 0; i < count; ++i) {
    const float value = abs_of(element<T>::load(x[i]));
    finite = finite && is_finite(value);
    if (value > amax) amax = value;
  }
  const float inverse = 127.0f / amax;
  const bool zero = !finite || amax == 0.0f || !is_finite(inverse);
  for (std::size_t i = 0; i < count; ++i) {
    const float scaled = zero ? 0.0f : element<T>::load(x[i]) * inverse;
    codes[i] = static_cast<std::int8_t>(nearest_int(scaled > 127.0f ? 127.0f : scaled < -127.0f ? -127.0f : scaled));
  }
  return !finite ? bits_float(float_quiet_nan_bits) : zero ? 0.0f : amax / 127.0f;
}

}    // namespace impl

/// The value of Y(row, column) before the epilogue for dynamic<int8>(X) (or, with token_scale, for
/// dynamic<int8, per_token>(X)): exactly what every CPU backend computes. `codes` is scratch of K bytes.
template <class T, class Scheme>
inline float reference_dot_int8(const T* x, const quantized_view<Scheme>& w, std::size_t column, bool token_scale,
                                std::int8_t* codes) {
  constexpr std::size_t fold = 65536;
  using traits = detail::scheme_traits<Scheme>;
  static_assert(traits::is_integer, "qlite: nf4 weights have no integer products");
  const std::size_t cols = w.cols();
  const bool per_row = token_scale || !traits::grouped;
  const float whole = per_row ? impl::reference_codes(x, cols, codes) : 0.0f;
  float acc = 0.0f;
  for (std::size_t g = 0; g < w.groups(); ++g) {
    const std::size_t begin = g * w.group_size();
    const std::size_t end = detail::min_of(cols, begin + w.group_size());
    const float sx = per_row ? 1.0f : impl::reference_codes(x + begin, end - begin, codes + begin);
    for (std::size_t k = begin; k < end;) {    // an INT32 sum spans at most 65,536 k
      std::int64_t sum = 0, total = 0;
      for (const std::size_t stop = detail::min_of(end, k + fold); k < stop; ++k) {
        if constexpr (traits::has_codebook)
          sum += impl::nl4_bytes[static_cast<std::size_t>(w.code(column, k))] * codes[k];
        else
          sum += (w.code(column, k) - w.zero_point(column, g)) * codes[k];
        total += codes[k];
      }
      acc = detail::fma(static_cast<float>(sum), w.scale(column, g) * sx, acc);
      if (traits::has_offset) acc = detail::fma(w.offset(column, g) * sx, static_cast<float>(total), acc);
    }
  }
  return per_row ? detail::fma(acc, whole, 0.0f) : acc;
}

/// The value of Y(row, column) before the epilogue for weight-only products, in double: the number that the float
/// results approximate within the bound of docs/numerics.md.
template <class T, class Scheme>
inline double reference_dot(const T* x, const quantized_view<Scheme>& w, std::size_t column) {
  using traits = detail::scheme_traits<Scheme>;
  double sum = 0;
  for (std::size_t k = 0; k < w.cols(); ++k) {
    const std::size_t g = k / w.group_size();
    double code = w.code(column, k) - w.zero_point(column, g);
    if constexpr (traits::has_codebook)
      code = static_cast<double>(impl::book_value<typename traits::code>(static_cast<std::size_t>(w.code(column, k))));
    const double value = static_cast<double>(w.scale(column, g)) * code +
                         (traits::has_offset ? static_cast<double>(w.offset(column, g)) : 0.0);
    sum += static_cast<double>(detail::element<T>::load(x[k])) * value;
  }
  return sum;
}

QLITE_END_FUNCTIONS
