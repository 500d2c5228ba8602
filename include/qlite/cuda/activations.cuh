// INT8 activations on the device: `dynamic<int8>(X)` and `fixed<int8>(X, scale)` of gemm/activation_types.hpp,
// quantized as part of a product or once for several. Codes and scales are those of the CPU, bit by bit.
#pragma once

#include <qlite/core/buffer.hpp>
#include <qlite/cuda/detail/check.cuh>
#include <qlite/cuda/detail/input_kernels.cuh>
#include <qlite/cuda/detail/operands.cuh>
#include <qlite/gemm/activation_types.hpp>

QLITE_CUDA_BEGIN_NAMESPACE

/// Activations [rows, cols] quantized already, in device memory of the caller; made by `quantize_activations`. Serves
/// every packed matrix with the same K and group size.
///
///   codes    [rows, code_stride]     signed bytes, 64 k a tile in the order that detail/operands.cuh gives
///   scales   [rows, scale_groups]    float
struct quantized_activations {
  const std::byte* codes = nullptr;
  const float* scales = nullptr;
  std::size_t rows = 0, cols = 0, code_stride = 0, scale_groups = 1, group = 0;
};

QLITE_CUDA_END_NAMESPACE

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

template <class X>
inline constexpr bool is_quantizing = false;
template <class C, class G, class T>
inline constexpr bool is_quantizing<dynamic_activations<C, G, T>> = true;
template <class C, class T>
inline constexpr bool is_quantizing<fixed_activations<C, T>> = true;

/// Pieces of a workspace that hold quantized activations.
template <class X>
QLITE_INLINE quantized_activations carve_codes(const X& x, const tile_layout& t, carver& memory) noexcept {
  quantized_activations q;
  q.rows = x.x.rows();
  q.cols = x.x.cols();
  q.code_stride = t.col_tiles * tile_cols;
  q.scale_groups = std::is_same_v<typename X::granularity, per_weight_group> && t.groups > 1 ? t.groups : 1;
  q.group = q.scale_groups > 1 ? t.group : 0;
  q.codes = memory.take<std::byte>(q.rows * q.code_stride);
  q.scales = memory.take<float>(q.rows * q.scale_groups);
  return q;
}

template <class T>
QLITE_INLINE bool takes_vectors(matrix_view<const T> x) noexcept {
  return is_aligned(x.data(), 16) && x.row_stride() * sizeof(T) % 16 == 0;
}

template <class C, class T>
QLITE_INLINE code_scale known_scale(const fixed_activations<C, T>& x) noexcept {
  return {x.scale, 1.0f / x.scale};
}
template <class C, class G, class T>
QLITE_INLINE code_scale known_scale(const dynamic_activations<C, G, T>&) noexcept {
  return {0.0f, 0.0f};
}

template <class X>
QLITE_INLINE bool is_input(const X& x) noexcept {
  return is_matrix(x.x);
}
template <class C, class T>
QLITE_INLINE bool is_input(const fixed_activations<C, T>& x) noexcept {
  return is_matrix(x.x) && x.scale > 0.0f && is_finite(x.scale) && is_finite(1.0f / x.scale);
}

template <class X>
inline cudaError_t launch_quantize(const X& x, const tile_layout& t, const quantized_activations& q,
                                   cudaStream_t stream) noexcept {
  static_assert(!std::is_same_v<typename X::granularity, per_tensor>,
                "qlite: on CUDA activations are quantized per token or per token and weight group");
  using element = std::remove_const_t<std::remove_pointer_t<decltype(x.x.data())>>;
  using value = device_type<element>;
  if (q.rows == 0) return cudaSuccess;
  const bool vectors = takes_vectors(x.x);
  const auto* const data = reinterpret_cast<const value*>(x.x.data());
  auto* const codes = const_cast<std::byte*>(q.codes);
  auto* const scales = const_cast<float*>(q.scales);
  if (q.scale_groups == 1)
    return launch_quantize_tokens(data, q.rows, q.cols, x.x.row_stride(), vectors, known_scale(x), codes, q.code_stride,
                                  scales, stream);
  return launch_quantize_groups(data, q.rows, q.cols, x.x.row_stride(), vectors, t.group, q.scale_groups, codes,
                                q.code_stride, scales, stream);
}

}    // namespace kernels

/// Bytes of device memory that quantize_activations needs.
template <class X, class Scheme>
inline std::size_t quantized_activations_bytes(const X& x, const packed_view<Scheme>& w) noexcept {
  static_assert(kernels::is_quantizing<X>,
                "qlite: quantize_activations takes dynamic<int8>(X) or fixed<int8>(X, scale)");
  detail::carver memory;
  static_cast<void>(kernels::carve_codes(x, detail::tiles_of(w.rows(), w.cols(), w.scheme()), memory));
  return memory.bytes();
}

/// Quantizes X once, into device memory of the caller, for several products with weights of the same K and group size
/// as `w`. `out` refers to that memory, and is valid in stream order. cudaErrorInvalidValue: shapes that do not fit,
/// null or misaligned X, too little memory, a scale that is not positive and finite.
template <class X, class Scheme>
inline cudaError_t quantize_activations(const X& x, const packed_view<Scheme>& w, workspace memory,
                                        quantized_activations& out, cudaStream_t stream) {
  const detail::tile_layout t = detail::tiles_of(w.rows(), w.cols(), w.scheme());
  const std::size_t bytes = quantized_activations_bytes(x, w);
  if (!t.valid || !kernels::is_input(x) || x.x.cols() != w.cols()) return cudaErrorInvalidValue;
  if (bytes != 0 && (memory.data == nullptr || memory.size < bytes)) return cudaErrorInvalidValue;
  detail::carver pieces(memory.data);
  out = kernels::carve_codes(x, t, pieces);
  return kernels::launch_quantize(x, t, out, stream);
}

QLITE_CUDA_END_FUNCTIONS
