// Quantize and dequantize in place: what training that knows of the quantization computes with, and what studies of its
// error look at.
#pragma once

#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/scaled_matrix.hpp>

QLITE_BEGIN_FUNCTIONS

/// Replaces W [N, K] (float, float16 or bfloat16) by the numbers that quantize<Scheme>(W, method) stands for, rounded
/// to W's type. Any method. Allocates the codes for the time of the call. Errors: as quantize; W is unchanged then.
template <class Scheme, class T, class Method, class Executor = serial>
void fake_quantize(matrix_view<T> W, const Method& method, const Executor& executor = {}) {
  static_assert(!std::is_const_v<T>, "qlite: fake_quantize writes W, which is a view of const elements");
  dequantize(quantize<Scheme>(W, method, executor), W, executor);
}

/// The same for a scheme that carries its group size as a value.
template <class Scheme, class T, class Method, class Executor = serial>
void fake_quantize(Scheme scheme, matrix_view<T> W, const Method& method, const Executor& executor = {}) {
  static_assert(!std::is_const_v<T>, "qlite: fake_quantize writes W, which is a view of const elements");
  dequantize(quantize(scheme, W, method, executor), W, executor);
}

QLITE_END_FUNCTIONS
