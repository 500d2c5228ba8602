// INT8 and INT4 layers on a GPU: where the engine meets qlite::cuda.
#pragma once

#include <qlite/cuda/gemm.cuh>

#include "cuda/device.cuh"

namespace llm {
namespace gpu {

/// What happens to an output before it is stored, as a function that qlite calls for each. One kernel serves all.
template <class T>
struct finish_output {
  then what;
  const T* y;
  std::size_t stride;
  __device__ float operator()(float value, std::size_t row, std::size_t column) const {
    switch (what) {
      case then::store:
        return value;
      case then::silu:
        return value / (1.0f + __expf(-value));
      case then::multiply:
        return value * static_cast<float>(y[row * stride + column]);
      case then::add:
        return value + static_cast<float>(y[row * stride + column]);
    }
    return value;
  }
};

template <class Scheme>
class quantized_linear final : public linear {
 public:
  explicit quantized_linear(const qlite::quantized_view<Scheme>& q)
      : rows_(q.rows()),
        cols_(q.cols()),
        scheme_(q.scheme()),
        memory_(qlite::cuda::packed_bytes<Scheme>(rows_, cols_, scheme_)) {
    if (memory_.size() == 0) {
      throw std::runtime_error("a matrix of " + std::to_string(rows_) + " x " + std::to_string(cols_) +
                               " in groups of " + std::to_string(q.group_size()) +
                               ", on a GPU groups are a multiple of 8 weights or whole rows");
    }
    check(qlite::cuda::pack<Scheme>(q, memory_.data(), memory_.size(), nullptr), "pack");
    check(cudaStreamSynchronize(nullptr), "pack");
  }

  std::size_t rows() const override { return rows_; }
  std::size_t cols() const override { return cols_; }
  std::size_t bytes() const override { return memory_.size(); }
  std::size_t scratch_bytes(std::size_t m) const override {
    return qlite::cuda::gemm_workspace_bytes(input(nullptr, m), weights());
  }
  bool fuses() const override { return true; }

  void multiply(const device_context& context, const qlite::float16* x, std::size_t m, qlite::float16* y,
                then what) const override {
    multiply_into(context, x, m, as_half(y), what);
  }
  void multiply(const device_context& context, const qlite::float16* x, std::size_t m, float* y,
                then what) const override {
    multiply_into(context, x, m, y, what);
  }

 private:
  qlite::matrix_view<const __half> input(const qlite::float16* x, std::size_t m) const {
    return {as_half(x), m, cols_};
  }
  qlite::cuda::packed_view<Scheme> weights() const { return {memory_.data(), rows_, cols_, scheme_}; }

  template <class T>
  void multiply_into(const device_context& context, const qlite::float16* x, std::size_t m, T* y, then what) const {
    const qlite::matrix_view<T> out{y, m, rows_};
    qlite::cuda::kernel_choice choice;
    choice.overlap = true;    // weights are written once, long before
    check(qlite::cuda::gemm(input(x, m), weights(), out, qlite::epilogue::map(finish_output<T>{what, y, rows_}),
                            {context.scratch.data(), context.scratch.size()}, choice, context.stream),
          "gemm");
  }

  std::size_t rows_, cols_;
  Scheme scheme_;
  device_array<char> memory_;
};

template <class Scheme>
std::unique_ptr<linear> make_quantized_linear(const qlite::quantized_view<Scheme>& q) {
  return std::make_unique<quantized_linear<Scheme>>(q);
}

}    // namespace gpu
}    // namespace llm

/// Compiles the layers of one scheme; few to a file, so that none takes long.
#define LLM_QUANTIZED_LINEAR(...) \
  template std::unique_ptr<llm::gpu::linear> llm::gpu::make_quantized_linear(const qlite::quantized_view<__VA_ARGS__>&)
