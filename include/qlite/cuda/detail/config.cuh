// Namespaces and attributes of the CUDA backend.
//
// Types live in qlite::cuda and are the same in every translation unit. Functions and kernels live in an inline
// namespace that names the flags of the translation unit (core/config.hpp says why) and the architectures it is
// compiled for: objects compiled for different ones each register their own kernels, and the linker must not keep one
// set of launchers for both. The idea of the second half is CUB's (cub/util_namespace.cuh).
#pragma once

#include <qlite/core/config.hpp>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#if !defined(__CUDACC__)
#error "qlite/cuda needs nvcc: include it from a .cu file"
#endif

#define QLITE_CUDA_DETAIL_NAME_(a, b, c, d, e, f, g, h, i, j, k, l, ...) \
  sm_##a##_##b##_##c##_##d##_##e##_##f##_##g##_##h##_##i##_##j##_##k##_##l
#define QLITE_CUDA_DETAIL_NAME(...) QLITE_CUDA_DETAIL_NAME_(__VA_ARGS__, , , , , , , , , , , , , )
#if defined(__CUDA_ARCH_LIST__)
#define QLITE_CUDA_ARCHITECTURES QLITE_CUDA_DETAIL_NAME(__CUDA_ARCH_LIST__)
#else
#define QLITE_CUDA_ARCHITECTURES sm_unknown
#endif

#define QLITE_CUDA_BEGIN_FUNCTIONS  \
  namespace qlite {                 \
  inline namespace v0 {             \
  namespace cuda {                  \
  inline namespace QLITE_FLAG_SET { \
  inline namespace QLITE_CUDA_ARCHITECTURES {
#define QLITE_CUDA_END_FUNCTIONS \
  }                              \
  }                              \
  }                              \
  }                              \
  }

#define QLITE_CUDA_BEGIN_NAMESPACE \
  namespace qlite {                \
  inline namespace v0 {            \
  namespace cuda {
#define QLITE_CUDA_END_NAMESPACE \
  }                              \
  }                              \
  }

#define QLITE_DEVICE __device__ __forceinline__

/// The backend for NVIDIA GPUs. docs/cuda.md shows the way through it.
namespace qlite {
inline namespace v0 {
namespace cuda {
inline namespace QLITE_FLAG_SET {
inline namespace QLITE_CUDA_ARCHITECTURES {
/// Device code and launchers; not part of the interface.
namespace kernels {
using namespace ::qlite::v0::detail;    // NOLINT: one namespace in two halves
}
}    // namespace QLITE_CUDA_ARCHITECTURES
}    // namespace QLITE_FLAG_SET
}    // namespace cuda
}    // namespace v0
}    // namespace qlite
