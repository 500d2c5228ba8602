// Quantization on the device: weights by round to nearest, activations to INT8 (activations.cuh). Codes, scales, zero
// points and offsets are those of the host, bit by bit.
#pragma once

#include <qlite/cuda/activations.cuh>
#include <qlite/cuda/detail/quantize_kernels.cuh>
#include <qlite/cuda/pack.cuh>
#include <qlite/quantize/rtn.hpp>

QLITE_CUDA_BEGIN_FUNCTIONS

/// Quantizes W [N, K] (float, float16 or bfloat16, in device memory) by round to nearest with the default rules into
/// the canonical form, in device memory; `pack` takes it from there.
///
/// `faults`: one int32 in device memory. After the launch is done it holds 0 if all is well, else the sum of 1 (a
/// weight is NaN or infinite), 2 (a scale overflows its type) and 4 (an offset does): a launch cannot throw, but
/// nothing goes wrong silently. Launches, allocates nothing. cudaErrorInvalidValue: shapes that do not fit, null or
/// misaligned arrays. With per_tensor one block reads all of W.
template <class Scheme, class T>
inline cudaError_t quantize(Scheme scheme, matrix_view<const T> w, rtn, const canonical_arrays<Scheme>& out,
                            std::int32_t* faults, cudaStream_t stream) {
  using traits = detail::scheme_traits<Scheme>;
  using value = kernels::device_type<T>;
  static_assert(detail::is_element<T>, "qlite: quantize takes a matrix of float, float16 or bfloat16");
  static_assert(!traits::has_codebook, "qlite: on CUDA weights are quantized to int8 and int4; nf4 and nl4 on the CPU");
  const canonical_layout<Scheme> shape(w.rows(), w.cols(), scheme);
  const detail::tile_layout t = detail::tiles_of(w.rows(), w.cols(), scheme);
  if (!t.valid || !kernels::is_matrix(w) || !kernels::are_arrays(shape, out)) return cudaErrorInvalidValue;
  if (faults == nullptr || !kernels::is_aligned(faults)) return cudaErrorInvalidValue;
  QLITE_CUDA_RETURN_IF_ERROR(cudaMemsetAsync(faults, 0, sizeof(std::int32_t), stream));
  if (w.empty()) return cudaSuccess;
  const unsigned threads = traits::one_scale ? 1024 : t.group <= 64 ? 32 : t.group <= 256 ? 64 : 256;
  const std::size_t items = shape.scale_rows() * ((t.groups + 1) / 2);
  return kernels::launch(kernels::quantize_weights<Scheme, value>, items < 1048576 ? items : 1048576, threads, 0,
                         stream, reinterpret_cast<const value*>(w.data()), w.rows(), w.cols(), w.row_stride(),
                         shape.group_size() < w.cols() ? shape.group_size() : w.cols(), t.groups, out,
                         shape.code_row_bytes(), shape.zero_row_bytes(), faults);
}

/// The same for a scheme that its type describes.
template <class Scheme, class T>
inline cudaError_t quantize(matrix_view<T> w, rtn method, const canonical_arrays<Scheme>& out, std::int32_t* faults,
                            cudaStream_t stream) {
  return quantize(Scheme{}, matrix_view<const std::remove_const_t<T>>(w), method, out, faults, stream);
}

QLITE_CUDA_END_FUNCTIONS
