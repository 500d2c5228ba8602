// The scratch that a product will ask for, before its weights exist.
#pragma once

#include <qlite/evaluate/memory_plan.hpp>
#include <qlite/gemm/gemm.hpp>

QLITE_BEGIN_FUNCTIONS

/// What gemm_workspace_bytes(x, pack<Backend>(W), executor) will be for W [rows, K] of a scheme. Of x (a matrix_view or
/// dynamic<int8>(view), say) only the type and the shape [M, K] count: the view may be null. Plan with the largest M.
template <class Scheme, class Backend, class X, class Executor = serial>
[[nodiscard]] std::size_t planned_workspace_bytes(const X& x, std::size_t rows, Scheme scheme = {},
                                                  const Executor& executor = {}) {
  const canonical_layout<Scheme> shape{rows, impl::cols_of(x), scheme};
  impl::check_layout("W", shape);
  return gemm_workspace_bytes(
      x, packed_view<Scheme, Backend>({nullptr, impl::packed_shape<Scheme, Backend>(shape)}, scheme), executor);
}

QLITE_END_FUNCTIONS
