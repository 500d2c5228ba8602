# Debian's aarch64 cross compiler; what it builds runs under user-mode qemu.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

# -cpu max has dot product, i8mm and half-precision arithmetic.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu)

# Libraries of the target only; header-only packages (Eigen, Catch2) lie in the host's prefix.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

# xsimd is header-only too, but Debian files its config under the host's architecture, where a cross build does not look.
if(NOT DEFINED xsimd_DIR)
  file(GLOB qlite_host_xsimd /usr/lib/*/cmake/xsimd)
  if(qlite_host_xsimd)
    list(GET qlite_host_xsimd 0 qlite_host_xsimd)
    set(xsimd_DIR "${qlite_host_xsimd}" CACHE PATH "The host's xsimd package config")
  endif()
endif()
