// Packed weights in device memory. detail/layout.cuh draws the bytes.
#pragma once

#include <qlite/cuda/detail/layout.cuh>

QLITE_CUDA_BEGIN_NAMESPACE

/// Bytes of the packed form of a W [n, k]; 0 where there is nothing to store or `pack` would refuse the shape.
template <class Scheme>
QLITE_INLINE std::size_t packed_bytes(std::size_t n, std::size_t k, Scheme scheme = {}) noexcept {
  return detail::tiles_of(n, k, scheme).bytes;
}

/// Packed weights W [rows, cols] in device memory of the caller: what `pack` wrote and `gemm` reads. The memory is
/// aligned to 16 bytes (cudaMalloc's is) and holds packed_bytes of it.
template <class Scheme>
class packed_view {
 public:
  using scheme_type = Scheme;

  QLITE_INLINE packed_view() noexcept = default;
  QLITE_INLINE packed_view(const void* data, std::size_t n, std::size_t k, Scheme scheme = {}) noexcept
      : data_(static_cast<const std::byte*>(data)), rows_(n), cols_(k), scheme_(scheme) {}

  QLITE_INLINE const std::byte* data() const noexcept { return data_; }
  QLITE_INLINE std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE std::size_t cols() const noexcept { return cols_; }
  QLITE_INLINE Scheme scheme() const noexcept { return scheme_; }
  QLITE_INLINE std::size_t bytes() const noexcept { return packed_bytes(rows_, cols_, scheme_); }

 private:
  const std::byte* data_ = nullptr;
  std::size_t rows_ = 0, cols_ = 0;
  Scheme scheme_{};
};

/// The four arrays of a canonical form that is to be written, in host or device memory (all in the same).
template <class Scheme>
struct canonical_arrays {
  std::uint8_t* codes = nullptr;
  typename detail::scheme_traits<Scheme>::scale* scales = nullptr;
  std::uint8_t* zeros = nullptr;
  detail::offset_storage<Scheme>* offsets = nullptr;
};

QLITE_CUDA_END_NAMESPACE
