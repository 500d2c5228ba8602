// Launches with a status. A build without code for the device at hand is a status too, never an output of zeros.
#pragma once

#include <qlite/cuda/detail/config.cuh>

#define QLITE_CUDA_RETURN_IF_ERROR(expression)                            \
  do {                                                                    \
    const cudaError_t qlite_status = (expression);                        \
    if (QLITE_UNLIKELY(qlite_status != cudaSuccess)) return qlite_status; \
  } while (false)

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// Blocks of 256 threads for `count` items, a grid-stride loop's.
QLITE_INLINE unsigned blocks_for(std::size_t count) noexcept {
  const std::size_t blocks = count / 256 + (count % 256 != 0);
  return static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
}

/// How a kernel is started beside its size.
struct launch_form {
  unsigned cluster = 1;     // blocks that form a cluster
  bool overlaps = false;    // begins while the kernel ahead still runs, and waits itself (ptx.cuh); sm_90 and newer
};

/// Starts a kernel in a form of its own; its status, not that of anything earlier.
template <class... Parameters, class... Arguments>
inline cudaError_t launch_in_form(launch_form form, void (*kernel)(Parameters...), std::size_t blocks, unsigned threads,
                                  std::size_t shared, cudaStream_t stream, const Arguments&... arguments) noexcept {
  if (blocks == 0) return cudaSuccess;
  if (blocks > 0x7fffffffu) return cudaErrorInvalidValue;
  if (shared > 48u * 1024u)
    QLITE_CUDA_RETURN_IF_ERROR(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  cudaLaunchAttribute attributes[2]{};
  config.attrs = attributes;
  if (form.cluster > 1) {
    cudaLaunchAttribute& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim.x = form.cluster;
    a.val.clusterDim.y = a.val.clusterDim.z = 1;
  }
  if (form.overlaps) {
    cudaLaunchAttribute& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

/// Starts a kernel.
template <class... Parameters, class... Arguments>
inline cudaError_t launch(void (*kernel)(Parameters...), std::size_t blocks, unsigned threads, std::size_t shared,
                          cudaStream_t stream, const Arguments&... arguments) noexcept {
  return launch_in_form({}, kernel, blocks, threads, shared, stream, arguments...);
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
