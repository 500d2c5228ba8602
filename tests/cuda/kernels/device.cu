#include "cuda/kernels/device.cuh"

std::string qlite_test::device::reason_to_skip() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  return count == 0 ? "no GPU" : "";
}
std::string qlite_test::device::describe() {
  cudaDeviceProp p{};
  cudaGetDeviceProperties(&p, 0);
  return std::string(p.name) + ", sm_" + std::to_string(p.major) + std::to_string(p.minor);
}

// Built for the device at hand: a build for sm_80 alone has no clusters on any.
__global__ void architecture_probe() {}
__global__ void __launch_bounds__(QLITE_CUDA_HOPPER_BOUND) hopper_probe() {}
bool qlite_test::device::has_hopper() {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, hopper_probe) == cudaSuccess &&
         attributes.maxThreadsPerBlock >= static_cast<int>(qlite::cuda::kernels::hopper_threads);
}
bool qlite_test::device::has_clusters() {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, architecture_probe) == cudaSuccess && attributes.ptxVersion >= 90;
}
