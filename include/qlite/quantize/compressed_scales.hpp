// Double quantization: scales are numbers too, and in small groups there are many of them.
#pragma once

#include <qlite/quantize/dequantize.hpp>
#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/rtn.hpp>

QLITE_BEGIN_NAMESPACE

/// The scheme of quantized scales: 8 bits each, 256 of them with a scale and an offset of their own in float.
using compressed_scales_scheme = scheme<int8, per_group<256>, offset<float>, float>;

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS

/// The scales of q as a quantized matrix [1, number of scales]: QLoRA's second quantization (Dettmers and others 2023,
/// section 3), which takes blocks of 64 weights from 32 to 8.25 bits for a scale. There the mean is subtracted and the
/// rest has a floating-point code of 8 bits; here the codes are evenly spaced over the range of their block. Each scale
/// is off by at most half of (largest - smallest of its block) / 255, but for the rounding of that number and of the
/// result. Errors: as quantize.
template <class Scheme>
quantized_matrix<compressed_scales_scheme> compress_scales(const quantized_view<Scheme>& q) {
  static_assert(std::is_same_v<typename Scheme::scale_type, float>,
                "qlite: compress_scales is for scales in float; those in float16 are short already");
  impl::check_quantized("q", q);
  return quantize<compressed_scales_scheme>(matrix_view<const float>{q.scales(), 1, q.shape().scale_count()}, rtn{});
}
/// The same for a matrix that owns its memory.
template <class Scheme>
quantized_matrix<compressed_scales_scheme> compress_scales(const quantized_matrix<Scheme>& q) {
  return compress_scales(q.view());
}

/// Writes the scales that `compressed` stands for into q, whose codes stay as they are. Errors: another number of them.
template <class Scheme>
void restore_scales(const quantized_view<compressed_scales_scheme>& compressed, quantized_matrix<Scheme>& q) {
  static_assert(std::is_same_v<typename Scheme::scale_type, float>, "qlite: restore_scales is for scales in float");
  dequantize(compressed, matrix_view<float>{q.scales(), 1, q.shape().scale_count()});
}
/// The same for scales that own their memory.
template <class Scheme>
void restore_scales(const quantized_matrix<compressed_scales_scheme>& compressed, quantized_matrix<Scheme>& q) {
  restore_scales(compressed.view(), q);
}

QLITE_END_FUNCTIONS
