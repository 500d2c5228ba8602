// Matrices as Hopper's copy engine knows them.
#pragma once

#include <qlite/cuda/detail/launch.cuh>

#include <cuda.h>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// A matrix of `rows` rows of `cols` elements, `row_bytes` apart, that is copied in boxes. Rows lie on 16-byte
/// boundaries. Swizzled: rows of a box have 128 bytes (rows_of_128_bytes).
struct boxed_matrix {
  const void* data;
  CUtensorMapDataType type;
  std::size_t cols, rows, row_bytes;
  std::uint32_t box_cols, box_rows;
  bool swizzled;
};

/// The map is made by the driver, whose function the runtime finds: programs need not link against it.
inline cudaError_t make_tensor_map(const boxed_matrix& m, CUtensorMap& map) noexcept {
  using encoder = CUresult(CUDAAPI*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                     const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                     CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static const auto encode = []() noexcept -> encoder {    // a constant of the process
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                                                cudaEnableDefault, &result);
#else
    const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
    return status == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<encoder>(found) : nullptr;
  }();
  if (encode == nullptr) return cudaErrorInsufficientDriver;
  const cuuint64_t sizes[2] = {m.cols, m.rows};
  const cuuint64_t strides[1] = {m.row_bytes};
  const cuuint32_t box[2] = {m.box_cols, m.box_rows}, steps[2] = {1, 1};
  const CUresult status =
      encode(&map, m.type, 2, const_cast<void*>(m.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             m.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
