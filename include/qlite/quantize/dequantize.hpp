// From the canonical form back to numbers. These are the values that a quantized matrix stands for, by definition.
#pragma once

#include <qlite/core/executor.hpp>
#include <qlite/quantize/nibbles.hpp>
#include <qlite/quantize/quantized_matrix.hpp>
#include <qlite/quantize/vector_kernels.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class Kernels, class Scheme, class T>
void dequantize_rows(const quantized_view<Scheme>& q, matrix_view<T> out, std::size_t begin, std::size_t end) {
  using traits = scheme_traits<Scheme>;
  const std::size_t cols = q.cols(), groups = q.groups(), group_size = q.group_size();
  for (std::size_t r = begin; r < end; ++r) {
    const std::uint8_t* const codes = q.codes() + r * q.shape().code_row_bytes();
    T* const row = out.row(r);
    for (std::size_t g = 0; g < groups; ++g) {
      const decoder<Scheme> code{q.scale(r, g), q.offset(r, g), q.zero_point(r, g) + traits::stored_bias};
      const std::size_t col = g * group_size, n = min_of(group_size, cols - col);
      if constexpr (traits::bits == 8) {
        Kernels::decode(code, codes + col, n, row + col);
      } else if (col % 2 == 0 && n % Kernels::block == 0) {
        Kernels::decode_nibbles(code, codes + col / 2, n, row + col);
      } else {
        const std::size_t odd = col % 2;    // the group begins in the upper half of a byte
        for (std::size_t i = 0; i < n; i += span_size) {
          const std::size_t count = min_of(span_size, n - i);
          std::uint8_t fields[span_size + 1];
          unpack_nibbles(codes + (col + i) / 2, count + odd, fields);
          Kernels::decode(code, fields + odd, count, row + col + i);
        }
      }
    }
  }
}

}    // namespace impl

/// The numbers that `q` stands for, into out [N, K] of any row stride:
///     float(code - zero point) * scale         symmetric, asymmetric
///     fma(scale, float(code), offset)          offset<T>
/// in float, then rounded to out's type (float, float16 or bfloat16; to nearest, ties to even).
///
/// `executor` spreads the rows over its tasks. Errors: a view that cannot be read, another shape.
template <class Scheme, class T, class Executor = serial>
void dequantize(const quantized_view<Scheme>& q, matrix_view<T> out, const Executor& executor = {}) {
  static_assert(detail::is_element<T>, "qlite: dequantize writes a matrix of float, float16 or bfloat16");
  impl::check_quantized("q", q);
  impl::check_matrix("out", out);
  impl::check_equal("rows of out", out.rows(), "rows of q", q.rows());
  impl::check_equal("columns of out", out.cols(), "columns of q", q.cols());
  if (out.empty()) return;
  constexpr std::size_t grain = std::size_t{1} << 17;
  const std::size_t tasks = impl::task_count(executor, q.rows(), q.rows() * q.cols() * sizeof(T), grain);
  executor.parallel_for(tasks, [&](std::size_t i) {
    const detail::slice rows = detail::slice_of(q.rows(), tasks, i);
    impl::dequantize_rows<impl::kernels>(q, out, rows.begin, rows.end);
  });
}

/// The same for a matrix that owns its memory.
template <class Scheme, class T, class Executor = serial>
void dequantize(const quantized_matrix<Scheme>& q, matrix_view<T> out, const Executor& executor = {}) {
  dequantize(q.view(), out, executor);
}

QLITE_END_FUNCTIONS
