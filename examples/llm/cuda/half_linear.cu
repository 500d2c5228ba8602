// The float16 baseline, by cuBLAS.
#include "cuda/device.cuh"

namespace llm {
namespace gpu {
namespace {

class half_matrix final : public half_linear {
 public:
  half_matrix(std::size_t rows, std::size_t cols) : rows_(rows), cols_(cols), values_(rows * cols) {}

  std::size_t rows() const override { return rows_; }
  std::size_t cols() const override { return cols_; }
  std::size_t bytes() const override { return values_.bytes(); }
  std::size_t scratch_bytes(std::size_t) const override { return 0; }
  bool fuses() const override { return false; }
  void set_rows(std::size_t first, const qlite::float16* values, std::size_t rows) override {
    check(cudaMemcpy(values_.data() + first * cols_, values, rows * cols_ * sizeof(__half), cudaMemcpyHostToDevice),
          "copy of weights");
  }
  qlite::float16* data() override { return reinterpret_cast<qlite::float16*>(values_.data()); }

  void multiply(const device_context& context, const qlite::float16* x, std::size_t m, qlite::float16* y,
                then what) const override {
    if (what != then::store) throw std::runtime_error("float16 layers store, or add to float32");
    product(context, x, m, y, CUDA_R_16F, 0.0f);
  }
  void multiply(const device_context& context, const qlite::float16* x, std::size_t m, float* y,
                then what) const override {
    if (what != then::store && what != then::add) throw std::runtime_error("float16 layers store, or add to float32");
    product(context, x, m, y, CUDA_R_32F, what == then::add ? 1.0f : 0.0f);
  }

 private:
  /// Y = X W^T + beta Y: with the columns of cuBLAS for our rows, Y^T = W X^T.
  void product(const device_context& context, const void* x, std::size_t m, void* y, cudaDataType type,
               float beta) const {
    const float one = 1.0f;
    const auto n = static_cast<int>(rows_), k = static_cast<int>(cols_);
    check(cublasGemmEx(context.cublas, CUBLAS_OP_T, CUBLAS_OP_N, n, static_cast<int>(m), k, &one, values_.data(),
                       CUDA_R_16F, k, x, CUDA_R_16F, k, &beta, y, type, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
          "product");
  }

  std::size_t rows_, cols_;
  device_array<__half> values_;
};

}    // namespace

std::unique_ptr<half_linear> make_half_linear(std::size_t rows, std::size_t cols) {
  return std::make_unique<half_matrix>(rows, cols);
}

}    // namespace gpu
}    // namespace llm
