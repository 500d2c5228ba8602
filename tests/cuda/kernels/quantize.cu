#include <qlite/cuda/quantize.cuh>

#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;

namespace qlite_test {
namespace device {

template <class Scheme, class T>
int quantize(Scheme scheme, const T* w, std::size_t stride, qlite::quantized_matrix<Scheme>& out, int& fault) {
  stream s;
  const std::size_t bytes = extent<T>(out.rows(), out.cols(), stride);
  memory weights(bytes), faults(sizeof(std::int32_t));
  device_arrays<Scheme> a(out.shape());
  cudaMemcpy(weights.data(), w, bytes, cudaMemcpyHostToDevice);
  QLITE_TEST_RETURN_IF_ERROR(cudaDeviceSynchronize());
  const qlite::matrix_view<const T> view{weights.at<T>(), out.rows(), out.cols(), stride};
  QLITE_TEST_RETURN_IF_ERROR(
      qlite::cuda::quantize(scheme, view, qlite::rtn{}, a.arrays(), faults.at<std::int32_t>(), s));
  QLITE_TEST_RETURN_IF_ERROR(cudaStreamSynchronize(s));
  cudaMemcpy(&fault, faults.data(), sizeof fault, cudaMemcpyDeviceToHost);
  cudaMemcpy(out.codes(), a.codes.data(), out.shape().code_bytes(), cudaMemcpyDeviceToHost);
  cudaMemcpy(out.scales(), a.scales.data(), out.shape().scale_bytes(), cudaMemcpyDeviceToHost);
  cudaMemcpy(out.zeros(), a.zeros.data(), out.shape().zero_bytes(), cudaMemcpyDeviceToHost);
  return static_cast<int>(
      cudaMemcpy(out.offsets(), a.offsets.data(), out.shape().offset_bytes(), cudaMemcpyDeviceToHost));
}

template <class Scheme, class T>
int quantize_activations(const T* x, std::size_t m, std::size_t k, std::size_t stride, std::size_t group,
                         std::vector<std::int8_t>& codes, std::vector<float>& scales) {
  stream s;
  const std::size_t bytes = extent<T>(m, k, stride);
  memory values(bytes);
  cudaMemcpy(values.data(), x, bytes, cudaMemcpyHostToDevice);
  Scheme scheme{};
  scheme.granularity.size = group;
  memory weights(qlite::cuda::packed_bytes<Scheme>(1, k, scheme));
  const qlite::cuda::packed_view<Scheme> w{weights.data(), 1, k, scheme};
  const auto form = qlite::dynamic<qlite::int8>(qlite::matrix_view<const T>{values.at<T>(), m, k, stride});
  const std::size_t size = qlite::cuda::quantized_activations_bytes(form, w);
  memory space(size);
  qlite::cuda::quantized_activations q;
  QLITE_TEST_RETURN_IF_ERROR(cudaDeviceSynchronize());
  QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::quantize_activations(form, w, qlite::workspace{space.data(), size}, q, s));
  QLITE_TEST_RETURN_IF_ERROR(cudaStreamSynchronize(s));
  std::vector<std::int8_t> raw(m * q.code_stride);
  cudaMemcpy(raw.data(), q.codes, raw.size(), cudaMemcpyDeviceToHost);
  codes.resize(m * k);
  const std::size_t byte_of_j[4] = {0, 2, 1, 3};
  for (std::size_t i = 0; i < m * k; ++i) {
    const std::size_t c = i % k, t = c / 8 % 4, h = c / 32 % 2, e = c / 4 % 2;
    codes[i] = raw[i / k * q.code_stride + c / 64 * 64 + 16 * t + 8 * h + 4 * e + byte_of_j[c % 4]];
  }
  scales.resize(m * q.scale_groups);
  return static_cast<int>(cudaMemcpy(scales.data(), q.scales, scales.size() * sizeof(float), cudaMemcpyDeviceToHost));
}

#define QLITE_TEST_QUANTIZE(scheme_, type) \
  template int quantize<scheme_, type>(scheme_, const type*, std::size_t, qlite::quantized_matrix<scheme_>&, int&);
QLITE_TEST_QUANTIZE(grouped<qlite::int4>, float)
QLITE_TEST_QUANTIZE(grouped<qlite::int4>, qlite::float16)
QLITE_TEST_QUANTIZE(grouped_asymmetric<qlite::int4>, float)
QLITE_TEST_QUANTIZE(grouped_offset<qlite::int4>, float)
QLITE_TEST_QUANTIZE(channel_float<qlite::int4>, float)
QLITE_TEST_QUANTIZE(channel_offset<qlite::int4>, qlite::bfloat16)
QLITE_TEST_QUANTIZE(tensor<qlite::int4>, float)
QLITE_TEST_QUANTIZE(grouped<qlite::int8>, float)
QLITE_TEST_QUANTIZE(grouped_asymmetric<qlite::int8>, float)
QLITE_TEST_QUANTIZE(grouped_offset<qlite::int8>, float)
QLITE_TEST_QUANTIZE(channel_asymmetric<qlite::int8>, qlite::bfloat16)
QLITE_TEST_QUANTIZE(channel_offset<qlite::int8>, float)
QLITE_TEST_QUANTIZE(tensor<qlite::int8>, float)

#define QLITE_TEST_ACTIVATIONS(type)                                                                                \
  template int quantize_activations<grouped<qlite::int8>, type>(const type*, std::size_t, std::size_t, std::size_t, \
                                                                std::size_t, std::vector<std::int8_t>&,             \
                                                                std::vector<float>&);
QLITE_TEST_ACTIVATIONS(float)
QLITE_TEST_ACTIVATIONS(qlite::float16)
QLITE_TEST_ACTIVATIONS(qlite::bfloat16)

}    // namespace device
}    // namespace qlite_test
