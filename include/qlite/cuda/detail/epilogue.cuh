// Epilogues on the device: the types and the formulas of gemm/epilogue.hpp, one element at a time.
//
// A kernel takes an epilogue as plain data: `lower` turns the views of the caller's types into pointers and strides.
#pragma once

#include <qlite/cuda/detail/check.cuh>
#include <qlite/cuda/detail/element.cuh>
#include <qlite/gemm/epilogue.hpp>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// A float with the arithmetic that epilogues are written in; every operation rounded once, whatever the flags.
struct lane_float {
  float v;

#define QLITE_CUDA_LANE __host__ __device__ __forceinline__
#if defined(__CUDA_ARCH__)
#define QLITE_CUDA_ROUNDED(intrinsic, plain) intrinsic
#else
#define QLITE_CUDA_ROUNDED(intrinsic, plain) plain
#endif
  QLITE_CUDA_LANE static lane_float splat(float x) { return {x}; }
  QLITE_CUDA_LANE friend lane_float add(lane_float a, lane_float b) {
    return {QLITE_CUDA_ROUNDED(__fadd_rn(a.v, b.v), a.v + b.v)};
  }
  QLITE_CUDA_LANE friend lane_float sub(lane_float a, lane_float b) {
    return {QLITE_CUDA_ROUNDED(__fsub_rn(a.v, b.v), a.v - b.v)};
  }
  QLITE_CUDA_LANE friend lane_float mul(lane_float a, lane_float b) {
    return {QLITE_CUDA_ROUNDED(__fmul_rn(a.v, b.v), a.v * b.v)};
  }
  QLITE_CUDA_LANE friend lane_float divide(lane_float a, lane_float b) {
    return {QLITE_CUDA_ROUNDED(__fdiv_rn(a.v, b.v), a.v / b.v)};
  }
  QLITE_CUDA_LANE friend lane_float fma(lane_float a, lane_float b, lane_float c) {
    return {QLITE_CUDA_ROUNDED(__fmaf_rn(a.v, b.v, c.v), __builtin_fmaf(a.v, b.v, c.v))};
  }
  QLITE_CUDA_LANE friend lane_float maximum(lane_float a, lane_float b) { return {a.v > b.v ? a.v : b.v}; }
  QLITE_CUDA_LANE std::uint32_t bits() const { return QLITE_CUDA_ROUNDED(__float_as_uint(v), float_bits(v)); }
  QLITE_CUDA_LANE static lane_float of_bits(std::uint32_t b) {
    return {QLITE_CUDA_ROUNDED(__uint_as_float(b), bits_float(b))};
  }
  QLITE_CUDA_LANE friend lane_float bit_and(lane_float a, std::uint32_t mask) { return of_bits(a.bits() & mask); }
  QLITE_CUDA_LANE friend lane_float bit_or(lane_float a, lane_float b) { return of_bits(a.bits() | b.bits()); }
  QLITE_CUDA_LANE friend lane_float shift_left(lane_float a, int n) { return of_bits(a.bits() << n); }
  QLITE_CUDA_LANE friend lane_float add_bits(lane_float a, lane_float b) { return of_bits(a.bits() + b.bits()); }
#undef QLITE_CUDA_LANE
#undef QLITE_CUDA_ROUNDED
};

/// Those without operands are their own plain data.
template <class E>
struct lowered {
  E e;
  QLITE_DEVICE float operator()(float y, std::size_t row, std::size_t column) const {
    return ::qlite::v0::QLITE_FLAG_SET::impl::apply_epilogue(e, lane_float{y}, row, column, std::size_t{1}).v;
  }
};
template <class T>
struct lowered<epilogue::bias<T>> {
  const device_type<T>* data;
  QLITE_DEVICE float operator()(float y, std::size_t, std::size_t column) const {
    return __fadd_rn(y, to_float(data[column]));
  }
};
template <class T>
struct lowered<epilogue::multiply<T>> {
  const device_type<T>* data;
  std::size_t stride;
  QLITE_DEVICE float operator()(float y, std::size_t row, std::size_t column) const {
    return __fmaf_rn(y, to_float(data[row * stride + column]), 0.0f);
  }
};
template <class T>
struct lowered<epilogue::residual<T>> {
  const device_type<T>* data;
  std::size_t stride;
  QLITE_DEVICE float operator()(float y, std::size_t row, std::size_t column) const {
    return __fadd_rn(y, to_float(data[row * stride + column]));
  }
};
template <class F>
struct lowered<epilogue::map<F>> {
  F f;
  QLITE_DEVICE float operator()(float y, std::size_t row, std::size_t column) const { return f(y, row, column); }
};
template <class A, class B>
struct lowered<epilogue::chained<A, B>> {
  lowered<A> first;
  lowered<B> rest;
  QLITE_DEVICE float operator()(float y, std::size_t row, std::size_t column) const {
    return rest(first(y, row, column), row, column);
  }
};

template <class E>
QLITE_INLINE lowered<E> lower(const E& e) noexcept {
  return {e};
}
template <class T>
QLITE_INLINE lowered<epilogue::bias<T>> lower(const epilogue::bias<T>& e) noexcept {
  return {reinterpret_cast<const device_type<T>*>(e.data)};
}
template <class T>
QLITE_INLINE lowered<epilogue::multiply<T>> lower(const epilogue::multiply<T>& e) noexcept {
  return {reinterpret_cast<const device_type<T>*>(e.other.data()), e.other.row_stride()};
}
template <class T>
QLITE_INLINE lowered<epilogue::residual<T>> lower(const epilogue::residual<T>& e) noexcept {
  return {reinterpret_cast<const device_type<T>*>(e.other.data()), e.other.row_stride()};
}
template <class F>
QLITE_INLINE lowered<epilogue::map<F>> lower(const epilogue::map<F>& e) noexcept {
  return {e.f};
}
template <class A, class B>
QLITE_INLINE lowered<epilogue::chained<A, B>> lower(const epilogue::chained<A, B>& e) noexcept {
  return {lower(e.first), lower(e.rest)};
}

/// The door: operands of an epilogue have the shape of Y.
template <class E>
QLITE_INLINE bool fits(const E&, std::size_t, std::size_t) noexcept {
  return true;
}
template <class T>
QLITE_INLINE bool fits(const epilogue::bias<T>& e, std::size_t, std::size_t columns) noexcept {
  static_assert(is_element<T>, "qlite: epilogue::bias takes float, float16 or bfloat16");
  return e.size == columns && (e.size == 0 || e.data != nullptr) && is_aligned(e.data);
}
template <class T>
QLITE_INLINE bool fits_operand(matrix_view<const T> m, std::size_t rows, std::size_t columns) noexcept {
  static_assert(is_element<T>, "qlite: the matrix of an epilogue is of float, float16 or bfloat16");
  return m.rows() == rows && m.cols() == columns && is_matrix(m);
}
template <class T>
QLITE_INLINE bool fits(const epilogue::multiply<T>& e, std::size_t rows, std::size_t columns) noexcept {
  return fits_operand(e.other, rows, columns);
}
template <class T>
QLITE_INLINE bool fits(const epilogue::residual<T>& e, std::size_t rows, std::size_t columns) noexcept {
  return fits_operand(e.other, rows, columns);
}
template <class A, class B>
QLITE_INLINE bool fits(const epilogue::chained<A, B>& e, std::size_t rows, std::size_t columns) noexcept {
  return fits(e.first, rows, columns) && fits(e.rest, rows, columns);
}

/// Where results go: Y [m, n] through an epilogue.
template <class T, class E>
struct output {
  using element = T;
  T* data;
  std::size_t stride;
  std::uint32_t rows, columns;    // M tokens, N
  bool quads;                     // four columns at a multiple of four may be written at once
  lowered<E> epilogue;

  QLITE_DEVICE T value(float y, std::size_t row, std::size_t column) const {
    return from_float<T>(epilogue(y, row, column));
  }
  /// Eight finished results of 16 bits, of columns column ... of a row; those beyond Y are left out. column is a
  /// multiple of eight.
  QLITE_DEVICE void store_run(const uint4& run, std::uint32_t row, std::uint32_t column) const {
    if (row >= rows || column >= columns) return;
    T* const to = data + row * stride + column;
    if (quads && column + 8 <= columns && reinterpret_cast<std::size_t>(to) % 16 == 0) {
      *reinterpret_cast<uint4*>(to) = run;
    } else if (quads && column + 8 <= columns) {
      reinterpret_cast<uint2*>(to)[0] = make_uint2(run.x, run.y);
      reinterpret_cast<uint2*>(to)[1] = make_uint2(run.z, run.w);
    } else {
      const std::uint32_t words[4] = {run.x, run.y, run.z, run.w};
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const auto bits = static_cast<unsigned short>(words[i / 2] >> (16 * (i % 2)));
        if (column + i < columns) reinterpret_cast<unsigned short*>(to)[i] = bits;
      }
    }
  }
  /// Columns column ... column + 3 of a row, of which those beyond N are left out. column is a multiple of four.
  QLITE_DEVICE void store(const float (&y)[4], std::uint32_t row, std::uint32_t column) const {
    struct alignas(4 * sizeof(T)) four {
      T v[4];
    };
    T* const to = data + row * stride + column;
    if (quads && column + 4 <= columns) {
      four f;
#pragma unroll
      for (int i = 0; i < 4; ++i) f.v[i] = value(y[i], row, column + i);
      *reinterpret_cast<four*>(to) = f;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (column + i < columns) to[i] = value(y[i], row, column + i);
    }
  }
};

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
