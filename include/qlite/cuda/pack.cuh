// From the canonical form to the packed form of the GPU, and back. detail/layout.cuh draws the bytes.
#pragma once

#include <qlite/cuda/detail/check.cuh>
#include <qlite/cuda/detail/pack_kernels.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// Device memory for the length of a call that may stage and block.
class staging {
 public:
  staging() noexcept = default;
  staging(const staging&) = delete;
  staging& operator=(const staging&) = delete;
  ~staging() {
    if (data_ != nullptr) static_cast<void>(cudaFree(data_));
  }
  cudaError_t allocate(std::size_t size) noexcept { return cudaMalloc(&data_, size == 0 ? 1 : size); }
  std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

/// Where the four arrays lie in one block of device memory.
template <class Scheme>
struct staged_arrays {
  std::size_t scales_at, zeros_at, offsets_at, bytes;
  QLITE_INLINE explicit staged_arrays(const canonical_layout<Scheme>& shape) noexcept
      : scales_at(round_up(shape.code_bytes(), packed_part)),
        zeros_at(scales_at + round_up(shape.scale_bytes(), packed_part)),
        offsets_at(zeros_at + round_up(shape.zero_bytes(), packed_part)),
        bytes(offsets_at + shape.offset_bytes()) {}
  QLITE_INLINE canonical_arrays<Scheme> in(std::byte* p) const noexcept {
    using traits = scheme_traits<Scheme>;
    return {reinterpret_cast<std::uint8_t*>(p), reinterpret_cast<typename traits::scale*>(p + scales_at),
            reinterpret_cast<std::uint8_t*>(p + zeros_at), reinterpret_cast<offset_storage<Scheme>*>(p + offsets_at)};
  }
};

template <class Scheme>
inline cudaError_t copy_arrays(const canonical_layout<Scheme>& shape, const canonical_arrays<Scheme>& to,
                               const canonical_arrays<Scheme>& from, cudaMemcpyKind kind,
                               cudaStream_t stream) noexcept {
  const auto copy = [&](void* d, const void* s, std::size_t n) {
    return n == 0 ? cudaSuccess : cudaMemcpyAsync(d, s, n, kind, stream);
  };
  QLITE_CUDA_RETURN_IF_ERROR(copy(to.codes, from.codes, shape.code_bytes()));
  QLITE_CUDA_RETURN_IF_ERROR(copy(to.scales, from.scales, shape.scale_bytes()));
  QLITE_CUDA_RETURN_IF_ERROR(copy(to.zeros, from.zeros, shape.zero_bytes()));
  return copy(to.offsets, from.offsets, shape.offset_bytes());
}

/// Scales, zero points and offsets by their bits: uint16 or uint32.
template <class T>
using bits_of = std::conditional_t<sizeof(T) == 2, std::uint16_t, std::uint32_t>;

template <class Scheme>
inline cudaError_t launch_pack(const canonical_layout<Scheme>& shape, const canonical_arrays<Scheme>& q, std::byte* to,
                               cudaStream_t stream) noexcept {
  using traits = scheme_traits<Scheme>;
  const tile_layout t = tiles_of(shape.rows(), shape.cols(), shape.scheme());
  if (t.bytes == 0) return cudaSuccess;
  const canonical_pointers from{
      q.codes, q.scales, q.zeros, q.offsets, shape.code_row_bytes(), shape.zero_row_bytes(), traits::one_scale};
  QLITE_CUDA_RETURN_IF_ERROR(launch(pack_codes<traits::bits>, blocks_for(t.row_tiles * t.col_tiles * t.tile_bytes / 4),
                                    256, 0, stream, from, t, reinterpret_cast<std::uint32_t*>(to)));
  return launch(pack_numbers<bits_of<typename traits::scale>, bits_of<offset_storage<Scheme>>, traits::bits,
                             traits::has_zero_point, traits::has_offset>,
                blocks_for(t.row_tiles * tile_rows * t.groups), 256, 0, stream, from, t, to);
}

}    // namespace kernels

/// Packs W. `q` is in host memory, or in device memory (all four arrays), where it must be on the current device;
/// `memory` is device memory of at least packed_bytes<Scheme>(n, k, scheme), aligned to 16 bytes.
///
/// From device memory: launches, allocates nothing. From host memory: a load-time call that stages and blocks.
/// cudaErrorInvalidValue: null or misaligned arrays, too little memory, a group size that is no multiple of 8 (and
/// smaller than K), 2^30 rows or columns and more.
template <class Scheme>
inline cudaError_t pack(const quantized_view<Scheme>& q, void* memory, std::size_t bytes, cudaStream_t stream) {
  using traits = detail::scheme_traits<Scheme>;
  static_assert(detail::static_group_size<typename traits::granularity> % 8 == 0 || traits::dynamic_group,
                "qlite: on CUDA the group size is a multiple of 8");
  const auto& shape = q.shape();
  const detail::tile_layout t = detail::tiles_of(shape.rows(), shape.cols(), shape.scheme());
  const canonical_arrays<Scheme> from{
      const_cast<std::uint8_t*>(q.codes()), const_cast<typename traits::scale*>(q.scales()),
      const_cast<std::uint8_t*>(q.zeros()), const_cast<detail::offset_storage<Scheme>*>(q.offsets())};
  if (!t.valid || !kernels::are_arrays(shape, from)) return cudaErrorInvalidValue;
  if (t.bytes == 0) return cudaSuccess;
  if (memory == nullptr || bytes < t.bytes || !kernels::is_aligned(static_cast<std::byte*>(memory), 16))
    return cudaErrorInvalidValue;
  auto* const to = static_cast<std::byte*>(memory);
  bool device = false;
  QLITE_CUDA_RETURN_IF_ERROR(kernels::on_device(q.codes(), device));
  if (device) return kernels::launch_pack(shape, from, to, stream);

  const kernels::staged_arrays<Scheme> places(shape);
  kernels::staging block;
  QLITE_CUDA_RETURN_IF_ERROR(block.allocate(places.bytes));
  const canonical_arrays<Scheme> staged = places.in(block.data());
  QLITE_CUDA_RETURN_IF_ERROR(kernels::copy_arrays(shape, staged, from, cudaMemcpyHostToDevice, stream));
  QLITE_CUDA_RETURN_IF_ERROR(kernels::launch_pack(shape, staged, to, stream));
  return cudaStreamSynchronize(stream);
}

/// The same for a matrix that owns its memory.
template <class Scheme>
inline cudaError_t pack(const quantized_matrix<Scheme>& q, void* memory, std::size_t bytes, cudaStream_t stream) {
  return pack<Scheme>(q.view(), memory, bytes, stream);
}

/// The inverse of `pack`, bit by bit: writes the canonical arrays of W, in host memory (stages and blocks) or in device
/// memory (launches). Odd last nibbles are 0. Errors as `pack`.
template <class Scheme>
inline cudaError_t unpack(const packed_view<Scheme>& w, const canonical_arrays<Scheme>& q, cudaStream_t stream) {
  using traits = detail::scheme_traits<Scheme>;
  using kernels::bits_of;
  const canonical_layout<Scheme> shape(w.rows(), w.cols(), w.scheme());
  const detail::tile_layout t = detail::tiles_of(w.rows(), w.cols(), w.scheme());
  if (!kernels::is_packed(w) || !kernels::are_arrays(shape, q)) return cudaErrorInvalidValue;
  if (t.bytes == 0) return cudaSuccess;
  bool device = false;
  QLITE_CUDA_RETURN_IF_ERROR(kernels::on_device(q.codes, device));
  canonical_arrays<Scheme> to = q;
  kernels::staging block;
  if (!device) {
    const kernels::staged_arrays<Scheme> places(shape);
    QLITE_CUDA_RETURN_IF_ERROR(block.allocate(places.bytes));
    to = places.in(block.data());
  }
  QLITE_CUDA_RETURN_IF_ERROR(kernels::launch(kernels::unpack_codes<traits::bits>,
                                             kernels::blocks_for(shape.code_bytes()), 256, 0, stream, w.data(), t,
                                             to.codes, shape.code_row_bytes()));
  using scale = bits_of<typename traits::scale>;
  using offset = bits_of<detail::offset_storage<Scheme>>;
  QLITE_CUDA_RETURN_IF_ERROR(kernels::launch(
      kernels::unpack_numbers<scale, offset, traits::bits, traits::has_zero_point, traits::has_offset>,
      kernels::blocks_for(shape.scale_rows()), 256, 0, stream, w.data(), t, shape.scale_rows(),
      reinterpret_cast<scale*>(to.scales), to.zeros, shape.zero_row_bytes(), reinterpret_cast<offset*>(to.offsets)));
  if (device) return cudaSuccess;
  QLITE_CUDA_RETURN_IF_ERROR(kernels::copy_arrays(shape, q, to, cudaMemcpyDeviceToHost, stream));
  return cudaStreamSynchronize(stream);
}

/// Into a matrix of the host with the shape and scheme of W.
template <class Scheme>
inline cudaError_t unpack(const packed_view<Scheme>& w, quantized_matrix<Scheme>& q, cudaStream_t stream) {
  if (q.rows() != w.rows() || q.cols() != w.cols() ||
      q.group_size() != canonical_layout<Scheme>(w.rows(), w.cols(), w.scheme()).group_size())
    return cudaErrorInvalidValue;
  return unpack(w, canonical_arrays<Scheme>{q.codes(), q.scales(), q.zeros(), q.offsets()}, stream);
}

/// The numbers that W stands for, as qlite::dequantize gives them, into `out` [N, K] in device memory (float, float16,
/// bfloat16 or CUDA's names for them). cudaErrorInvalidValue: shapes that do not fit, null or misaligned data.
template <class Scheme, class T>
inline cudaError_t dequantize(const packed_view<Scheme>& w, matrix_view<T> out, cudaStream_t stream) {
  using traits = detail::scheme_traits<Scheme>;
  using value = kernels::device_type<T>;
  const detail::tile_layout t = detail::tiles_of(w.rows(), w.cols(), w.scheme());
  if (!kernels::is_packed(w) || !kernels::is_matrix(out) || out.rows() != w.rows() || out.cols() != w.cols())
    return cudaErrorInvalidValue;
  if (out.empty()) return cudaSuccess;
  return kernels::launch(
      kernels::dequantize_tiles<value, kernels::device_type<typename traits::scale>,
                                kernels::device_type<detail::offset_storage<Scheme>>,
                                std::conditional_t<traits::has_codebook, typename traits::code, void>, traits::bits,
                                traits::has_zero_point, traits::has_offset>,
      kernels::blocks_for(w.rows() * w.cols()), 256, 0, stream, w.data(), t, traits::stored_bias,
      reinterpret_cast<value*>(out.data()), out.row_stride());
}

QLITE_CUDA_END_FUNCTIONS
