// The functions of device.hpp.
#pragma once

#include <qlite/cuda/gemm.cuh>

#include "cuda/device.hpp"

namespace qlite_test {
namespace device {

#define QLITE_TEST_RETURN_IF_ERROR(expression)                    \
  do {                                                            \
    const cudaError_t status_ = (expression);                     \
    if (status_ != cudaSuccess) return static_cast<int>(status_); \
  } while (false)

// Device memory filled with ones (NaN in every type of float), freed with its owner.
class memory {
 public:
  explicit memory(std::size_t bytes) : size_(bytes) {
    if (cudaMalloc(&data_, bytes + 256) != cudaSuccess) data_ = nullptr;
    if (data_ == nullptr) return;
    cudaMemset(data_, 0xff, bytes + 256);
    cudaDeviceSynchronize();    // the streams that use it do not wait for the default one
  }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  ~memory() { cudaFree(data_); }
  template <class T>
  T* at(std::size_t elements = 0) {
    return static_cast<T*>(data_) + elements;
  }
  void* data() { return data_; }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

class stream {
 public:
  stream() { cudaStreamCreateWithFlags(&s_, cudaStreamNonBlocking); }
  ~stream() { cudaStreamDestroy(s_); }
  operator cudaStream_t() const { return s_; }

 private:
  cudaStream_t s_ = nullptr;
};

// Runs f(stream), or captures it into a graph that is replayed twice.
template <class F>
int run_maybe_captured(bool graph, cudaStream_t s, F&& f) {
  if (!graph) {
    QLITE_TEST_RETURN_IF_ERROR(f(s));
    return static_cast<int>(cudaStreamSynchronize(s));
  }
  cudaGraph_t captured;
  cudaGraphExec_t executable;
  QLITE_TEST_RETURN_IF_ERROR(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  const cudaError_t status = f(s);
  QLITE_TEST_RETURN_IF_ERROR(cudaStreamEndCapture(s, &captured));
  QLITE_TEST_RETURN_IF_ERROR(status);
  QLITE_TEST_RETURN_IF_ERROR(cudaGraphInstantiate(&executable, captured, 0));
  for (int i = 0; i < 2; ++i) QLITE_TEST_RETURN_IF_ERROR(cudaGraphLaunch(executable, s));
  const cudaError_t end = cudaStreamSynchronize(s);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(captured);
  return static_cast<int>(end);
}

template <class T>
std::size_t extent(std::size_t rows, std::size_t cols, std::size_t stride) {
  return rows == 0 ? 0 : ((rows - 1) * stride + cols) * sizeof(T);
}

template <class Scheme, class X, class TY, class Epilogue>
int multiply(const X& x, const qlite::cuda::packed_view<Scheme>& w, qlite::matrix_view<TY> y, const Epilogue& e,
             const request& r, cudaStream_t s) {
  const std::size_t bytes = qlite::cuda::gemm_workspace_bytes(x, w);
  memory scratch(bytes + 1);
  qlite::workspace space{scratch.at<char>(1), bytes};
  if (r.short_workspace && bytes != 0) --space.size;
  qlite::cuda::kernel_choice c;
  c.family = static_cast<qlite::cuda::kernel_family>(r.kernel.family);
  c.row_tiles = static_cast<std::uint8_t>(r.kernel.row_tiles);
  c.token_tiles = static_cast<std::uint8_t>(r.kernel.token_tiles);
  c.warps = static_cast<std::uint8_t>(r.kernel.warps);
  c.cluster = static_cast<std::uint8_t>(r.kernel.cluster);
  return run_maybe_captured(r.graph, s, [&](cudaStream_t to) { return qlite::cuda::gemm(x, w, y, e, space, c, to); });
}

// Sends X and Y, calls f(x view, packed, y view, stream), brings Y back.
template <class Scheme, class TX, class TY, class F>
int with_operands(const qlite::quantized_view<Scheme>& q, const request& r, F&& f) {
  stream s;
  memory packed(qlite::cuda::packed_bytes<Scheme>(q.rows(), q.cols(), q.scheme()));
  QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::pack<Scheme>(q, packed.data(), packed.size(), s));
  const std::size_t x_bytes = extent<TX>(r.m, r.k, r.x_stride), y_bytes = extent<TY>(r.m, r.n, r.y_stride);
  memory x(x_bytes), y(y_bytes);
  QLITE_TEST_RETURN_IF_ERROR(cudaMemcpy(x.at<TX>(r.x_shift), r.x, x_bytes, cudaMemcpyHostToDevice));
  QLITE_TEST_RETURN_IF_ERROR(cudaMemcpy(y.at<TY>(r.y_shift), r.y, y_bytes, cudaMemcpyHostToDevice));
  QLITE_TEST_RETURN_IF_ERROR(cudaDeviceSynchronize());
  const qlite::cuda::packed_view<Scheme> w{packed.data(), q.rows(), q.cols(), q.scheme()};
  const qlite::matrix_view<const TX> xv{x.at<TX>(r.x_shift), r.m, r.k, r.x_stride};
  const qlite::matrix_view<TY> yv{y.at<TY>(r.y_shift), r.m, r.n, r.y_stride};
  if (const int status = f(xv, w, yv, s)) return status;
  return static_cast<int>(cudaMemcpy(r.y, y.at<TY>(r.y_shift), y_bytes, cudaMemcpyDeviceToHost));
}

// Integer: forms with INT8 activations, else the plain one. A kernel is instantiated only where a test wants it.
template <bool Integer, class Scheme, class TX, class TY>
int product_of(const qlite::quantized_view<Scheme>& q, const request& r) {
  return with_operands<Scheme, TX, TY>(q, r, [&](auto x, const auto& w, auto y, cudaStream_t s) {
    const qlite::epilogue::none none{};
    if constexpr (!Integer) {
      return multiply(x, w, y, none, r, s);
    } else {
      switch (r.x_form) {
        case form::dynamic:
          return multiply(qlite::dynamic<qlite::int8>(x), w, y, none, r, s);
        case form::dynamic_token:
          return multiply(qlite::dynamic<qlite::int8, qlite::per_token>(x), w, y, none, r, s);
        case form::fixed:
          return multiply(qlite::fixed<qlite::int8>(x, r.fixed_scale), w, y, none, r, s);
        default: {
          const auto form = qlite::dynamic<qlite::int8>(x);
          const std::size_t bytes = qlite::cuda::quantized_activations_bytes(form, w);
          memory codes(bytes + 1);
          qlite::cuda::quantized_activations out;
          QLITE_TEST_RETURN_IF_ERROR(
              qlite::cuda::quantize_activations(form, w, qlite::workspace{codes.at<char>(1), bytes}, out, s));
          return multiply(out, w, y, none, r, s);
        }
      }
    }
  });
}

// The canonical arrays in device memory.
template <class Scheme>
struct device_arrays {
  using traits = qlite::detail::scheme_traits<Scheme>;
  memory codes, scales, zeros, offsets;
  explicit device_arrays(const qlite::canonical_layout<Scheme>& shape)
      : codes(shape.code_bytes()),
        scales(shape.scale_bytes()),
        zeros(shape.zero_bytes()),
        offsets(shape.offset_bytes()) {}
  qlite::cuda::canonical_arrays<Scheme> arrays() {
    return {codes.at<std::uint8_t>(), scales.at<typename traits::scale>(), zeros.at<std::uint8_t>(),
            offsets.at<qlite::detail::offset_storage<Scheme>>()};
  }
  qlite::quantized_view<Scheme> view(const qlite::canonical_layout<Scheme>& shape) {
    const auto a = arrays();
    return {shape, a.codes, a.scales, a.zeros, a.offsets};
  }
};

template <class Scheme>
int pack(const qlite::quantized_view<Scheme>& q, bool from_device, std::vector<std::uint8_t>& packed) {
  stream s;
  memory to(qlite::cuda::packed_bytes<Scheme>(q.rows(), q.cols(), q.scheme()));
  if (from_device) {
    device_arrays<Scheme> a(q.shape());
    cudaMemcpy(a.codes.data(), q.codes(), q.shape().code_bytes(), cudaMemcpyHostToDevice);
    cudaMemcpy(a.scales.data(), q.scales(), q.shape().scale_bytes(), cudaMemcpyHostToDevice);
    cudaMemcpy(a.zeros.data(), q.zeros(), q.shape().zero_bytes(), cudaMemcpyHostToDevice);
    cudaMemcpy(a.offsets.data(), q.offsets(), q.shape().offset_bytes(), cudaMemcpyHostToDevice);
    QLITE_TEST_RETURN_IF_ERROR(cudaDeviceSynchronize());
    QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::pack<Scheme>(a.view(q.shape()), to.data(), to.size(), s));
    QLITE_TEST_RETURN_IF_ERROR(cudaStreamSynchronize(s));
  } else {
    QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::pack<Scheme>(q, to.data(), to.size(), s));
  }
  packed.resize(to.size());
  return static_cast<int>(cudaMemcpy(packed.data(), to.data(), to.size(), cudaMemcpyDeviceToHost));
}

template <class Scheme>
int round_trip(const qlite::quantized_view<Scheme>& q, bool to_device, qlite::quantized_matrix<Scheme>& back) {
  stream s;
  memory to(qlite::cuda::packed_bytes<Scheme>(q.rows(), q.cols(), q.scheme()));
  QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::pack<Scheme>(q, to.data(), to.size(), s));
  const qlite::cuda::packed_view<Scheme> w{to.data(), q.rows(), q.cols(), q.scheme()};
  if (!to_device) return static_cast<int>(qlite::cuda::unpack(w, back, s));
  device_arrays<Scheme> a(q.shape());
  QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::unpack(w, a.arrays(), s));
  QLITE_TEST_RETURN_IF_ERROR(cudaStreamSynchronize(s));
  cudaMemcpy(back.codes(), a.codes.data(), q.shape().code_bytes(), cudaMemcpyDeviceToHost);
  cudaMemcpy(back.scales(), a.scales.data(), q.shape().scale_bytes(), cudaMemcpyDeviceToHost);
  cudaMemcpy(back.zeros(), a.zeros.data(), q.shape().zero_bytes(), cudaMemcpyDeviceToHost);
  return static_cast<int>(
      cudaMemcpy(back.offsets(), a.offsets.data(), q.shape().offset_bytes(), cudaMemcpyDeviceToHost));
}

template <class Scheme, class T>
int dequantize(const qlite::quantized_view<Scheme>& q, T* out) {
  stream s;
  memory to(qlite::cuda::packed_bytes<Scheme>(q.rows(), q.cols(), q.scheme()));
  memory numbers(q.rows() * q.cols() * sizeof(T));
  QLITE_TEST_RETURN_IF_ERROR(qlite::cuda::pack<Scheme>(q, to.data(), to.size(), s));
  QLITE_TEST_RETURN_IF_ERROR(
      qlite::cuda::dequantize(qlite::cuda::packed_view<Scheme>{to.data(), q.rows(), q.cols(), q.scheme()},
                              qlite::matrix_view<T>{numbers.at<T>(), q.rows(), q.cols()}, s));
  QLITE_TEST_RETURN_IF_ERROR(cudaStreamSynchronize(s));
  return static_cast<int>(cudaMemcpy(out, numbers.data(), q.rows() * q.cols() * sizeof(T), cudaMemcpyDeviceToHost));
}

}    // namespace device
}    // namespace qlite_test

#define QLITE_TEST_PRODUCT(integer, scheme_, tx, ty)                                                            \
  template <>                                                                                                   \
  int qlite_test::device::product<scheme_, tx, ty>(const qlite::quantized_view<scheme_>& q, const request& r) { \
    return product_of<integer, scheme_, tx, ty>(q, r);                                                          \
  }
#define QLITE_TEST_PACK(scheme_)                                                                    \
  template int qlite_test::device::pack<scheme_>(const qlite::quantized_view<scheme_>&, bool,       \
                                                 std::vector<std::uint8_t>&);                       \
  template int qlite_test::device::round_trip<scheme_>(const qlite::quantized_view<scheme_>&, bool, \
                                                       qlite::quantized_matrix<scheme_>&);          \
  template int qlite_test::device::dequantize<scheme_, float>(const qlite::quantized_view<scheme_>&, float*);
