// What happens to a result before it is stored: y = epilogue(x * W^T), in float, in the order given.
//
//   epilogue::none{}                          nothing
//   epilogue::bias{data, n}                   + data[column]
//   epilogue::relu{}                          max(0, y)
//   epilogue::gelu{}, epilogue::gelu_tanh{}   y * Phi(y), exact and with the tanh approximation
//   epilogue::silu{}                          y / (1 + exp(-y))
//   epilogue::multiply{matrix_view}           * m(row, column): the gate of a SwiGLU
//   epilogue::residual{matrix_view}           + m(row, column)
//   epilogue::map{f}                          f(y, row, column), of the caller
//   epilogue::chain(a, b, ...)                a, then b, ...
//
// The same bits on every backend: each is a fixed sequence of correctly rounded operations, and no product feeds a sum
// except through an explicit fma (compilers contract others as they like). A NaN stays a NaN.
#pragma once

#include <qlite/core/check.hpp>
#include <qlite/cpu/isa.hpp>

QLITE_BEGIN_NAMESPACE
/// What happens to a result before it is stored. docs/numerics.md has the formulas.
namespace epilogue {

/// Nothing.
struct none {};

/// Adds one number per column. `data` has as many elements as W has rows; float, float16 or bfloat16.
template <class T>
struct bias {
  const T* data;
  std::size_t size;
  QLITE_INLINE bias(const T* values, std::size_t count) noexcept : data(values), size(count) {}
};

/// max(0, y).
struct relu {};

/// 0.5 y (1 + erf(y / sqrt 2)), absolute error below 1e-6 relative to max(1, |y|).
/// D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.
struct gelu {};

/// 0.5 y (1 + tanh(sqrt(2 / pi) (y + 0.044715 y^3))), the approximation of the same paper.
/// The same error.
struct gelu_tanh {};

/// y * sigmoid(y), also known as swish. The same error.
struct silu {};

/// Multiplies by a matrix of the shape of Y. It may be Y itself.
template <class T>
struct multiply {
  matrix_view<const T> other;
  QLITE_INLINE explicit multiply(matrix_view<const T> m) noexcept : other(m) {}
  QLITE_INLINE explicit multiply(matrix_view<T> m) noexcept : other(m) {}
};
/// `multiply{view}` for views of const and mutable elements.
template <class T>
multiply(matrix_view<T>) -> multiply<std::remove_const_t<T>>;

/// Adds a matrix of the shape of Y. It may be Y itself.
template <class T>
struct residual {
  matrix_view<const T> other;
  QLITE_INLINE explicit residual(matrix_view<const T> m) noexcept : other(m) {}
  QLITE_INLINE explicit residual(matrix_view<T> m) noexcept : other(m) {}
};
/// `residual{view}` for views of const and mutable elements.
template <class T>
residual(matrix_view<T>) -> residual<std::remove_const_t<T>>;

/// Calls f(value, row, column) -> float for each element, from the executor's tasks, in no particular order.
template <class F>
struct map {
  F f;
  QLITE_INLINE explicit map(F function) noexcept : f(static_cast<F&&>(function)) {}
};

/// First, then Rest.
template <class First, class Rest>
struct chained {
  First first;
  Rest rest;
};

/// One epilogue is a chain.
template <class A>
QLITE_INLINE A chain(A a) noexcept {
  return a;
}
/// a, then the others, in order: `chain(bias{b, n}, silu{}, multiply{gate})`.
template <class A, class... Rest>
QLITE_INLINE auto chain(A a, Rest... rest) noexcept {
  return chained<A, decltype(chain(rest...))>{a, chain(rest...)};
}

}    // namespace epilogue
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// a * b rounded once, safe to add to: an fma with 0 is not contracted any further. Never -0.
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F product(F a, F b) noexcept {
  return fma(a, b, F::splat(0.0f));
}

/// exp(x) for x <= 0; below -86 it stays at exp(-86), about 4e-38.
/// x = n ln 2 + r with n an integer and |r| <= ln 2 / 2 (ln 2 in two parts, W. Cody and W. Waite, "Software Manual for
/// the Elementary Functions", 1980); the Taylor series of exp(r) to r^7 leaves a relative error below 1e-8 before
/// rounding. 1.5 * 2^23 added to n puts it into the low bits, from where it is added to the exponent.
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F exp_of_negative(F x) noexcept {
  const F magic = F::splat(12582912.0f);
  x = maximum(F::splat(-86.0f), x);
  const F t = fma(x, F::splat(1.44269504f), magic);
  const F n = sub(t, magic);
  F r = fma(n, F::splat(-0.693359375f), x);
  r = fma(n, F::splat(2.12194440e-4f), r);
  F p = F::splat(1.0f / 5040);
  p = fma(p, r, F::splat(1.0f / 720));
  p = fma(p, r, F::splat(1.0f / 120));
  p = fma(p, r, F::splat(1.0f / 24));
  p = fma(p, r, F::splat(1.0f / 6));
  p = fma(p, r, F::splat(0.5f));
  p = fma(p, r, F::splat(1.0f));
  p = fma(p, r, F::splat(1.0f));
  return add_bits(p, shift_left(t, 23));
}

/// -|x|.
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F minus_abs(F x) noexcept {
  return bit_or(x, F::splat(-0.0f));
}

/// -min(|x|, 128), the factor of a tail that vanishes long before: so that it also vanishes for huge and infinite x.
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F tail_factor(F x) noexcept {
  return maximum(F::splat(-128.0f), minus_abs(x));
}

/// max(0, x) - |x| e / (1 + e) with e = exp(-|u|): x * sigmoid(u) where u has the sign of x, without cancellation.
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F times_sigmoid(F x, F minus_abs_u) noexcept {
  const F e = exp_of_negative(minus_abs_u);
  return add(maximum(F::splat(0.0f), x), divide(product(tail_factor(x), e), add(F::splat(1.0f), e)));
}

template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F apply_epilogue(const epilogue::none&, F y, std::size_t, std::size_t,
                                                std::size_t) noexcept {
  return y;
}
template <class F, class T>
QLITE_INLINE F apply_epilogue(const epilogue::bias<T>& e, F y, std::size_t, std::size_t column,
                              std::size_t count) noexcept {
  return add(y, load_part<F>(e.data + column, count));
}
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F apply_epilogue(const epilogue::relu&, F y, std::size_t, std::size_t,
                                                std::size_t) noexcept {
  return maximum(F::splat(0.0f), y);
}
/// erfc(z) = t (a1 + a2 t + ... + a5 t^4) exp(-z^2), t = 1 / (1 + p z), for z >= 0 with an error below 1.5e-7:
/// M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 7.1.26. GELU is max(0, y) - |y| / 2 erfc(|y| / sqrt
/// 2).
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F apply_epilogue(const epilogue::gelu&, F y, std::size_t, std::size_t,
                                                std::size_t) noexcept {
  const F z = product(bit_and(y, 0x7fffffffu), F::splat(0.707106781f));
  const F t = divide(F::splat(1.0f), fma(z, F::splat(0.3275911f), F::splat(1.0f)));
  F p = F::splat(1.061405429f);
  p = fma(p, t, F::splat(-1.453152027f));
  p = fma(p, t, F::splat(1.421413741f));
  p = fma(p, t, F::splat(-0.284496736f));
  p = fma(p, t, F::splat(0.254829592f));
  const F half_erfc = mul(mul(mul(p, t), exp_of_negative(minus_abs(product(z, z)))), F::splat(0.5f));
  return fma(tail_factor(y), half_erfc, maximum(F::splat(0.0f), y));
}
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F apply_epilogue(const epilogue::gelu_tanh&, F y, std::size_t, std::size_t,
                                                std::size_t) noexcept {
  // x (1 + tanh u) / 2 = x sigmoid(2 u), 2 u = 2 sqrt(2 / pi) x (1 + 0.044715 x^2)
  const F two_u = mul(mul(y, F::splat(1.59576912f)), fma(product(y, y), F::splat(0.044715f), F::splat(1.0f)));
  return times_sigmoid(y, minus_abs(two_u));
}
template <class F>
QLITE_HOST_DEVICE QLITE_INLINE F apply_epilogue(const epilogue::silu&, F y, std::size_t, std::size_t,
                                                std::size_t) noexcept {
  return times_sigmoid(y, minus_abs(y));
}
template <class F, class T>
QLITE_INLINE F apply_epilogue(const epilogue::multiply<T>& e, F y, std::size_t row, std::size_t column,
                              std::size_t count) noexcept {
  return product(y, load_part<F>(e.other.row(row) + column, count));
}
template <class F, class T>
QLITE_INLINE F apply_epilogue(const epilogue::residual<T>& e, F y, std::size_t row, std::size_t column,
                              std::size_t count) noexcept {
  return add(y, load_part<F>(e.other.row(row) + column, count));
}
template <class F, class Function>
QLITE_INLINE F apply_epilogue(const epilogue::map<Function>& e, F y, std::size_t row, std::size_t column,
                              std::size_t count) {
  float values[16];
  y.store(values);
  for (std::size_t i = 0; i < count; ++i) values[i] = e.f(values[i], row, column + i);
  return F::load(values);
}
template <class F, class A, class B>
QLITE_INLINE F apply_epilogue(const epilogue::chained<A, B>& e, F y, std::size_t row, std::size_t column,
                              std::size_t count) {
  return apply_epilogue(e.rest, apply_epilogue(e.first, y, row, column, count), row, column, count);
}

// The door: operands of an epilogue have the shape of Y.
template <class E>
QLITE_INLINE void check_epilogue(const E&, std::size_t, std::size_t) {}
template <class T>
QLITE_INLINE void check_epilogue(const epilogue::bias<T>& e, std::size_t, std::size_t columns) {
  static_assert(is_element<T>, "qlite: epilogue::bias takes float, float16 or bfloat16");
  check_equal("the size of epilogue::bias", e.size, "rows of W", columns);
  check_array("epilogue::bias", e.data, e.size);
}
template <class T>
QLITE_INLINE void check_operand(const char* name, matrix_view<const T> m, std::size_t rows, std::size_t columns) {
  static_assert(is_element<T>, "qlite: the matrix of an epilogue is of float, float16 or bfloat16");
  if (QLITE_UNLIKELY(m.rows() != rows || m.cols() != columns))
    fail("qlite: the matrix of %s is %zu x %zu, expected the shape of Y, %zu x %zu", name, m.rows(), m.cols(), rows,
         columns);
  check_matrix(name, m);
}
template <class T>
QLITE_INLINE void check_epilogue(const epilogue::multiply<T>& e, std::size_t rows, std::size_t columns) {
  check_operand("epilogue::multiply", e.other, rows, columns);
}
template <class T>
QLITE_INLINE void check_epilogue(const epilogue::residual<T>& e, std::size_t rows, std::size_t columns) {
  check_operand("epilogue::residual", e.other, rows, columns);
}
template <class A, class B>
QLITE_INLINE void check_epilogue(const epilogue::chained<A, B>& e, std::size_t rows, std::size_t columns) {
  check_epilogue(e.first, rows, columns);
  check_epilogue(e.rest, rows, columns);
}

}    // namespace impl
QLITE_END_FUNCTIONS
