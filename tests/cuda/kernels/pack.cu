#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;

QLITE_TEST_PACK(grouped<qlite::int4>)
QLITE_TEST_PACK(grouped_asymmetric<qlite::int4>)
QLITE_TEST_PACK(grouped_offset<qlite::int4>)
QLITE_TEST_PACK(channel_float<qlite::int4>)
QLITE_TEST_PACK(channel_asymmetric<qlite::int4>)
QLITE_TEST_PACK(channel_offset<qlite::int4>)
QLITE_TEST_PACK(tensor<qlite::int4>)
QLITE_TEST_PACK(grouped<qlite::int8>)
QLITE_TEST_PACK(grouped_asymmetric<qlite::int8>)
QLITE_TEST_PACK(grouped_offset<qlite::int8>)
QLITE_TEST_PACK(channel_float<qlite::int8>)
QLITE_TEST_PACK(channel_asymmetric<qlite::int8>)
QLITE_TEST_PACK(channel_offset<qlite::int8>)
QLITE_TEST_PACK(tensor<qlite::int8>)

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
