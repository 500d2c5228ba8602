// Device memory, errors and the stream of the demo's GPU code.
#pragma once

#include <cublas_v2.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "cuda/linear.hpp"

namespace llm {
namespace gpu {

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}
inline void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuBLAS: ") + what + ": " + cublasGetStatusString(status));
}

template <class T>
class device_array {
 public:
  device_array() = default;
  explicit device_array(std::size_t count) : count_(count) {
    if (count == 0) return;
    const cudaError_t status = cudaMalloc(&data_, count * sizeof(T));
    if (status == cudaErrorMemoryAllocation)
      throw std::runtime_error("the GPU's memory is full: no " + std::to_string(count * sizeof(T)) + " bytes left");
    check(status, "cudaMalloc");
  }
  device_array(const T* host, std::size_t count) : device_array(count) {
    check(cudaMemcpy(data_, host, bytes(), cudaMemcpyHostToDevice), "copy to the device");
  }
  device_array(device_array&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  device_array& operator=(device_array&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~device_array() { cudaFree(data_); }

  T* data() const { return static_cast<T*>(data_); }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }

 private:
  void* data_ = nullptr;
  std::size_t count_ = 0;
};

/// Host memory that copies to and from the device need not stage.
template <class T>
class pinned_array {
 public:
  pinned_array() = default;
  explicit pinned_array(std::size_t count) : count_(count) {
    check(cudaMallocHost(&data_, count * sizeof(T)), "cudaMallocHost");
  }
  pinned_array(const pinned_array&) = delete;
  pinned_array& operator=(const pinned_array&) = delete;
  ~pinned_array() { cudaFreeHost(data_); }

  T* data() const { return static_cast<T*>(data_); }
  std::size_t size() const { return count_; }

 private:
  void* data_ = nullptr;
  std::size_t count_ = 0;
};

/// What products need besides their operands. `scratch` is as large as the largest product asks.
struct device_context {
  cudaStream_t stream = nullptr;
  cublasHandle_t cublas = nullptr;
  device_array<char> scratch, cublas_memory;

  device_context();
  device_context(const device_context&) = delete;
  device_context& operator=(const device_context&) = delete;
  ~device_context();
  void reserve(std::size_t bytes) {
    if (bytes > scratch.size()) scratch = device_array<char>(bytes);
  }
};

inline const __half* as_half(const qlite::float16* p) { return reinterpret_cast<const __half*>(p); }
inline __half* as_half(qlite::float16* p) { return reinterpret_cast<__half*>(p); }

}    // namespace gpu
}    // namespace llm
