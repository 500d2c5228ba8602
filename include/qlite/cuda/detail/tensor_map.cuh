// Matrices as Hopper's copy engine knows them.
#pragma once

#include <qlite/cuda/detail/launch.cuh>

#include <cuda.h>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// `matrices` matrices of `rows` rows of `cols` elements, which are copied in boxes; rows are row_bytes apart, matrices
/// matrix_bytes. All lie on 16-byte boundaries.
struct boxed_matrices {
  const void* data;
  CUtensorMapDataType type;
  std::size_t cols, rows, matrices, row_bytes, matrix_bytes;
  std::uint32_t box_cols, box_rows, box_matrices;
  CUtensorMapSwizzle swizzle;
};

/// The map is made by the driver, whose function the runtime finds: programs need not link against it.
inline cudaError_t make_tensor_map(const boxed_matrices& m, CUtensorMap& map) noexcept {
  using encoder = CUresult(CUDAAPI*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                     const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                     CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static const auto encode = []() noexcept -> encoder {    // a constant of the process
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
    return status == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<encoder>(found) : nullptr;
  }();
  if (encode == nullptr) return cudaErrorInsufficientDriver;
  const cuuint64_t sizes[3] = {m.cols, m.rows, m.matrices};
  const cuuint64_t strides[2] = {m.row_bytes, m.matrix_bytes};
  const cuuint32_t box[3] = {m.box_cols, m.box_rows, m.box_matrices}, steps[3] = {1, 1, 1};
  const CUresult status = encode(&map, m.type, m.matrices > 1 || m.box_matrices > 1 ? 3 : 2, const_cast<void*>(m.data),
                                 sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, m.swizzle,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
