// Eigen matrices as qlite's views, without a copy, and Eigen's Cholesky factorization for GPTQ.
//
//     using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
//     qlite::gemm(qlite::view(X), packed, qlite::view(Y));
//     qlite::quantize<w4>(W, qlite::gptq(H, qlite::rtn{}, qlite::eigen_cholesky{}));
#pragma once

#include <qlite/core/error.hpp>
#include <qlite/core/view.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Core>

QLITE_BEGIN_NAMESPACE

/// Eigen's blocked Cholesky factorization in place of the one that gptq has (quantize/cholesky.hpp). In double, on as
/// many threads as Eigen has; its bits depend on Eigen and on the instruction set, and so may codes whose weights lie
/// next to a tie. Takes 8 K² bytes more.
struct eigen_cholesky {
  template <class Executor>
  QLITE_INLINE bool operator()(double* A, std::size_t n, const Executor&) const {
    using dense = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Eigen::Map<dense> matrix(A, static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(n));
    Eigen::Ref<dense> in_place(matrix);
    const Eigen::LLT<Eigen::Ref<dense>, Eigen::Lower> factorization(in_place);
    return factorization.info() == Eigen::Success;
  }
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Something that an expression of Eigen would have to be computed into first.
template <class M>
inline constexpr bool has_eigen_data = (int{M::Flags} & int{Eigen::DirectAccessBit}) != 0;

/// One element per row (a column vector) or rows of consecutive elements.
template <class M>
inline constexpr bool is_eigen_row_major = int{M::ColsAtCompileTime} == 1 || bool{M::IsRowMajor};

/// Whether the elements of a row lie next to each other, as far as the type says.
template <class M>
inline constexpr bool has_eigen_unit_stride = int{M::ColsAtCompileTime} == 1 || int{M::InnerStrideAtCompileTime} == 1 ||
                                              int{M::InnerStrideAtCompileTime} == int{Eigen::Dynamic};

template <class T, class M>
matrix_view<T> view_eigen(const M& m, T* data) {
  const auto rows = static_cast<std::size_t>(m.rows()), cols = static_cast<std::size_t>(m.cols());
  // A column vector's elements are its rows, one inner stride apart.
  const bool column = int{M::ColsAtCompileTime} == 1 && !bool{M::IsRowMajor};
  const Eigen::Index stride = column ? m.innerStride() : m.outerStride();
  if (QLITE_UNLIKELY(!column && cols > 1 && m.innerStride() != 1))
    fail("qlite: the inner stride of an Eigen matrix is %lld, expected 1 (elements of a row next to each other)",
         static_cast<long long>(m.innerStride()));
  if (QLITE_UNLIKELY(stride < 0))
    fail("qlite: the stride of an Eigen matrix is %lld, expected at least 0", static_cast<long long>(stride));
  return {data, rows, cols, static_cast<std::size_t>(stride)};
}

}    // namespace impl

/// A row-major Eigen matrix as a matrix_view of the same memory: Matrix, Array, Map, Ref or Block, any outer stride.
/// The view is of const elements if the argument is const or maps const memory. A column vector is N x 1.
///
/// Does not compile for column-major matrices, for expressions that have no memory of their own, and for a temporary
/// Matrix, whose memory would be gone. Errors: a run-time inner stride other than 1, a negative stride; rows that
/// overlap are refused where the view is used.
template <class M, std::enable_if_t<std::is_base_of_v<Eigen::EigenBase<std::decay_t<M>>, std::decay_t<M>>, int> = 0>
auto view(M&& m) {
  using type = std::decay_t<M>;
  static_assert(impl::has_eigen_data<type>,
                "qlite::view needs a matrix in memory; evaluate the expression into a row-major Eigen::Matrix first");
  static_assert(impl::is_eigen_row_major<type>,
                "qlite::view needs a row-major Eigen matrix; declare it as Eigen::Matrix<T, Rows, Cols, "
                "Eigen::RowMajor>, or copy it into one");
  static_assert(impl::has_eigen_unit_stride<type>,
                "qlite::view needs the elements of a row next to each other; this type has another inner stride");
  static_assert(std::is_lvalue_reference_v<M> || !std::is_base_of_v<Eigen::PlainObjectBase<type>, type>,
                "qlite::view of a temporary Eigen::Matrix would outlive its memory; give the matrix a name");
  return impl::view_eigen(m, m.data());
}

QLITE_END_FUNCTIONS
