// A kind of product of the library, for any scheme and form of activations.
#pragma once

#include <qlite/cuda/gemm.cuh>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/kind.hpp"

namespace qlite_bench {

inline void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

template <class T>
class device_array {
 public:
  explicit device_array(std::size_t count) : count_(count) {
    require(cudaMalloc(&data_, count * sizeof(T) + 256), "cudaMalloc");
  }
  device_array(const device_array&) = delete;
  device_array& operator=(const device_array&) = delete;
  ~device_array() { cudaFree(data_); }
  T* data() const { return static_cast<T*>(data_); }
  std::size_t bytes() const { return count_ * sizeof(T); }

 private:
  void* data_ = nullptr;
  std::size_t count_;
};

__device__ inline std::uint32_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>(x >> 20);
}
static __global__ void fill_bytes(std::uint8_t* p, std::size_t n) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x)
    p[i] = static_cast<std::uint8_t>(mixed(i * 0x9e3779b97f4a7c15u + 1));
}
/// Multiples of 1 / 128 in [-1, 1): the same numbers in float16 and bfloat16.
template <class T>
__global__ void fill_values(T* p, std::size_t n, float scale, float shift) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x)
    p[i] = static_cast<T>(scale * ((static_cast<float>(mixed(i * 0x9e3779b97f4a7c15u + 7) % 256) - 128.0f) / 128.0f) +
                          shift);
}
template <class T>
__global__ void fill_scales(T* p, std::size_t n) {    // 2^-7 ... 2^-5 in 16 steps
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x)
    p[i] = static_cast<T>(0.0078125f + static_cast<float>(mixed(i + 99) % 16) / 1024.0f);
}

/// ||y - x w^T||^2 and ||x w^T||^2 over rows [first, last), a block for each row and 256 columns of y.
template <class TX, class TY>
__global__ void compare(const TX* x, const float* w, const TY* y, std::size_t first, std::size_t last, std::size_t n,
                        std::size_t k, double* sums) {
  const std::size_t row = first + blockIdx.y, col = std::size_t{blockIdx.x} * 8 + threadIdx.x / 32;
  if (row >= last || col >= n) return;
  double sum = 0;
  for (std::size_t i = threadIdx.x % 32; i < k; i += 32)
    sum += static_cast<double>(static_cast<float>(x[row * k + i])) * static_cast<double>(w[col * k + i]);
  for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
  if (threadIdx.x % 32 != 0) return;
  const double d = static_cast<double>(static_cast<float>(y[row * n + col])) - sum;
  atomicAdd(sums, d * d);
  atomicAdd(sums + 1, sum * sum);
}
template <class T>
__global__ void count_nan(const T* y, std::size_t n, double* count) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x)
    if (isnan(static_cast<float>(y[i]))) atomicAdd(count, 1.0);
}

/// Of Y [m, n] in memory, against X and float weights.
template <class TX, class TY>
double relative_error(const TX* x, const float* w, const TY* y, std::size_t m, std::size_t n, std::size_t k,
                      cudaStream_t stream) {
  device_array<double> sums(3);
  cudaMemsetAsync(sums.data(), 0, 24, stream);
  const auto part = [&](std::size_t first, std::size_t last) {
    compare<<<dim3(static_cast<unsigned>((n + 7) / 8), static_cast<unsigned>(last - first)), 256, 0, stream>>>(
        x, w, y, first, last, n, k, sums.data());
  };
  if (m <= 32) {
    part(0, m);
  } else {
    part(0, 16);
    part(m - 16, m);
  }
  count_nan<<<1024, 256, 0, stream>>>(y, m * n, sums.data() + 2);
  double host[3];
  require(cudaMemcpyAsync(host, sums.data(), 24, cudaMemcpyDeviceToHost, stream), "copy of sums");
  require(cudaStreamSynchronize(stream), "reference");
  return host[2] != 0 ? NAN : std::sqrt(host[0] / host[1]);
}

enum class activations { plain, prepared, quantizing };

template <class Scheme, class T, activations Form>
class product final : public kind {
 public:
  using traits = qlite::detail::scheme_traits<Scheme>;
  using scale = std::conditional_t<std::is_same_v<typename traits::scale, float>, float, __half>;

  product(std::size_t n, std::size_t k, std::size_t most_rows, std::size_t rotate_bytes)
      : n_(n),
        k_(k),
        bytes_(qlite::cuda::packed_bytes<Scheme>(n, k)),
        step_((bytes_ + 511) / 256 * 256),
        copies_(static_cast<int>((rotate_bytes + bytes_ - 1) / bytes_ < 2 ? 2 : (rotate_bytes + bytes_ - 1) / bytes_)),
        weights_(static_cast<std::size_t>(copies_) * step_),
        x_(most_rows * k),
        y_(most_rows * n),
        memory_(Form == activations::plain ? 256 : most_rows * (k + 64) + 4 * most_rows * (k / 32 + 1) + 256) {
    const qlite::canonical_layout<Scheme> shape(n, k);
    device_array<std::uint8_t> codes(shape.code_bytes()), zeros(shape.zero_bytes());
    device_array<scale> scales(shape.scale_count());
    fill_bytes<<<1024, 256>>>(codes.data(), shape.code_bytes());
    fill_bytes<<<1024, 256>>>(zeros.data(), shape.zero_bytes());
    fill_scales<<<1024, 256>>>(scales.data(), shape.scale_count());
    fill_values<<<1024, 256>>>(x_.data(), most_rows * k, 1.0f, 0.0f);
    const qlite::quantized_view<Scheme> q{shape, codes.data(),
                                          reinterpret_cast<const typename traits::scale*>(scales.data()), zeros.data()};
    require(qlite::cuda::pack<Scheme>(q, weights_.data(), bytes_, nullptr), "pack");
    for (int i = 1; i < copies_; ++i)
      require(cudaMemcpyAsync(weights_.data() + static_cast<std::size_t>(i) * step_, weights_.data(), bytes_,
                              cudaMemcpyDeviceToDevice),
              "copy");
    require(cudaDeviceSynchronize(), "set-up");
  }
  std::size_t weight_bytes() const override { return bytes_; }
  int copies() const override { return copies_; }

  cudaError_t run(std::size_t m, int i, const cut& c, cudaStream_t stream) override {
    const qlite::cuda::packed_view<Scheme> w{weights_.data() + static_cast<std::size_t>(i) * step_, n_, k_};
    const qlite::matrix_view<const T> x{x_.data(), m, k_};
    const qlite::matrix_view<T> y{y_.data(), m, n_};
    qlite::cuda::kernel_choice choice;
    choice.family = static_cast<qlite::cuda::kernel_family>(c.family);
    choice.row_tiles = static_cast<std::uint8_t>(c.row_tiles);
    choice.token_tiles = static_cast<std::uint8_t>(c.token_tiles);
    choice.warps = static_cast<std::uint8_t>(c.warps);
    choice.cluster = static_cast<std::uint8_t>(c.cluster);
    choice.overlap = c.overlap;
    const qlite::workspace memory{memory_.data(), memory_.bytes()};
    const qlite::epilogue::none none{};
    if constexpr (Form == activations::plain) {
      return qlite::cuda::gemm(x, w, y, none, memory, choice, stream);
    } else if constexpr (Form == activations::quantizing) {
      return qlite::cuda::gemm(qlite::dynamic<qlite::int8>(x), w, y, none, memory, choice, stream);
    } else {
      if (m != prepared_.rows)
        require(qlite::cuda::quantize_activations(qlite::dynamic<qlite::int8>(x), w, memory, prepared_, nullptr),
                "quantize");
      if (m != prepared_rows_) require(cudaDeviceSynchronize(), "quantize");
      prepared_rows_ = m;
      return qlite::cuda::gemm(prepared_, w, y, none, {}, choice, stream);
    }
  }
  double error(std::size_t m, const cut& c, cudaStream_t stream) override {
    require(cudaMemsetAsync(y_.data(), 0xff, m * n_ * sizeof(T), stream), "poison");
    if (run(m, 0, c, stream) != cudaSuccess) return NAN;
    device_array<float> dense(n_ * k_);
    require(qlite::cuda::dequantize(qlite::cuda::packed_view<Scheme>{weights_.data(), n_, k_},
                                    qlite::matrix_view<float>{dense.data(), n_, k_}, stream),
            "dequantize");
    return relative_error(x_.data(), dense.data(), y_.data(), m, n_, k_, stream);
  }

 private:
  std::size_t n_, k_, bytes_, step_;
  int copies_;
  device_array<std::byte> weights_;
  device_array<T> x_, y_;
  device_array<std::byte> memory_;
  qlite::cuda::quantized_activations prepared_;
  std::size_t prepared_rows_ = 0;
};

}    // namespace qlite_bench

#define QLITE_BENCH_KIND(name, scheme_, type, form)                                                    \
  std::unique_ptr<qlite_bench::kind> qlite_bench::name(std::size_t n, std::size_t k, std::size_t rows, \
                                                       std::size_t rotate) {                           \
    return std::unique_ptr<kind>(new product<scheme_, type, activations::form>(n, k, rows, rotate));   \
  }
