// The door of the CUDA backend: what core/check.hpp refuses by an exception is refused by a status here, before
// anything is launched.
#pragma once

#include <qlite/core/view.hpp>
#include <qlite/cuda/detail/launch.cuh>
#include <qlite/cuda/packed_view.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

template <class T>
QLITE_INLINE bool is_aligned(const T* p, std::size_t alignment = alignof(T)) noexcept {
  return reinterpret_cast<std::uintptr_t>(p) % alignment == 0;
}

/// Whether a view can be read: not null, aligned to its elements, rows that do not overlap, within memory.
template <class T>
QLITE_INLINE bool is_matrix(matrix_view<T> m) noexcept {
  const std::size_t limit = ~std::size_t{0} / 2 / sizeof(T);
  if (m.rows() > 1 && m.row_stride() < m.cols()) return false;
  if (m.row_stride() > limit || m.cols() > limit || (m.row_stride() != 0 && m.rows() > limit / m.row_stride()))
    return false;
  return m.empty() || (m.data() != nullptr && is_aligned(m.data()));
}

template <class Scheme>
QLITE_INLINE bool is_packed(const packed_view<Scheme>& w) noexcept {
  const tile_layout t = tiles_of(w.rows(), w.cols(), w.scheme());
  return t.valid && (t.bytes == 0 || (w.data() != nullptr && is_aligned(w.data(), 16)));
}

/// Whether the arrays that a scheme needs are there and aligned.
template <class Scheme, class Arrays>
QLITE_INLINE bool are_arrays(const canonical_layout<Scheme>& shape, const Arrays& q) noexcept {
  using traits = scheme_traits<Scheme>;
  if (shape.code_bytes() != 0 && q.codes == nullptr) return false;
  if (shape.scale_count() == 0) return true;
  if (q.scales == nullptr || !is_aligned(q.scales)) return false;
  if (traits::has_zero_point && q.zeros == nullptr) return false;
  return !traits::has_offset || (q.offsets != nullptr && is_aligned(q.offsets));
}

/// Whether kernels can read memory at p directly; false for plain and pinned host memory.
QLITE_INLINE cudaError_t on_device(const void* p, bool& device) noexcept {
  cudaPointerAttributes attributes{};
  const cudaError_t status = cudaPointerGetAttributes(&attributes, p);
  device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return status;
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
