# qlite::cuda: qlite::qlite and the CUDA runtime, for the .cuh headers. Only where there is something to compile
# (include/qlite/cuda) and something to compile it with.
include(CheckLanguage)

if(NOT EXISTS "${PROJECT_SOURCE_DIR}/include/qlite/cuda")
  return()
endif()

set(qlite_cuda_default OFF)
if(PROJECT_IS_TOP_LEVEL)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(qlite_cuda_default ON)
  endif()
endif()
option(QLITE_CUDA "Define qlite::cuda and build what needs nvcc" ${qlite_cuda_default})

if(QLITE_CUDA)
  if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real" CACHE STRING "Architectures that qlite's own programs are built for")
  endif()
  # CMake 3.25 knows no C++20 for nvcc 13 and drops CMAKE_CUDA_STANDARD 20 without a word; C++17 is what qlite needs.
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  add_library(qlite_cuda INTERFACE)
  add_library(qlite::cuda ALIAS qlite_cuda)
  target_link_libraries(qlite_cuda INTERFACE qlite::qlite CUDA::cudart)
endif()
