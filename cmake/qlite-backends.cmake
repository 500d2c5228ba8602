# The instruction sets that tests and benchmarks are built for, each with the flags that its backend asks for.
#
# `requires` is the tag whose instructions a CPU must have to run what was built: `generic_avx2` is the portable backend
# in a translation unit that allows more than the baseline.
#
#   name         | processor | backend tag       | requires          | flags
set(qlite_backend_table
  "scalar       | any       | cpu::scalar       | cpu::scalar       |"
  "generic      | any       | cpu::generic      | cpu::generic      |"
  "generic_avx2 | x86_64    | cpu::generic      | cpu::avx2         | -mavx2 -mfma -mf16c"
  "avx2         | x86_64    | cpu::avx2         | cpu::avx2         | -mavx2 -mfma -mf16c"
  "avx_vnni     | x86_64    | cpu::avx_vnni     | cpu::avx_vnni     | -mavx2 -mfma -mf16c -mavxvnni"
  "avx512       | x86_64    | cpu::avx512       | cpu::avx512       | -march=x86-64-v4"
  "avx512_vnni  | x86_64    | cpu::avx512_vnni  | cpu::avx512_vnni  | -march=x86-64-v4 -mavx512vnni"
  "avx512_bf16  | x86_64    | cpu::avx512_bf16  | cpu::avx512_bf16  | -march=x86-64-v4 -mavx512vnni -mavx512bf16"
  "neon_dotprod | aarch64   | cpu::neon_dotprod | cpu::neon_dotprod | -march=armv8.2-a+dotprod+fp16"
  "neon_i8mm    | aarch64   | cpu::neon_i8mm    | cpu::neon_i8mm    | -march=armv8.2-a+dotprod+i8mm+fp16")

# Backends with the kernels of another but for a few: only tests that name them, or every backend, are
# built for them.
set(qlite_partial_backends avx512_bf16)

include(CheckCXXSourceCompiles)

# QLITE_BACKENDS: the rows of this target processor whose flags the compiler knows;
# QLITE_BACKEND_<name>_TAG, QLITE_BACKEND_<name>_REQUIRES and QLITE_BACKEND_<name>_FLAGS: their columns.
set(QLITE_BACKENDS "")
foreach(row IN LISTS qlite_backend_table)
  string(REPLACE " " "" columns "${row}")
  string(REPLACE "|" ";" columns "${columns}")
  list(GET columns 0 name)
  list(GET columns 1 processor)
  list(GET columns 2 tag)
  list(GET columns 3 requires)
  string(REGEX REPLACE "^.*\\| *" "" flags "${row}")
  string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" target_processor)
  string(REGEX REPLACE "^amd64$" "x86_64" target_processor "${target_processor}")
  string(REGEX REPLACE "^arm64$" "aarch64" target_processor "${target_processor}")
  if(NOT processor STREQUAL "any" AND NOT processor STREQUAL target_processor)
    continue()
  endif()
  set(CMAKE_REQUIRED_FLAGS "${flags}")
  check_cxx_source_compiles("int main() { return 0; }" QLITE_COMPILER_KNOWS_${name})
  unset(CMAKE_REQUIRED_FLAGS)
  if(NOT QLITE_COMPILER_KNOWS_${name})
    message(STATUS "qlite: backend ${name} is not tested: the compiler does not know '${flags}'")
    continue()
  endif()
  separate_arguments(flags UNIX_COMMAND "${flags}")
  if(name MATCHES "^avx512" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 finds the deliberately undefined `__Y` of its own AVX-512 headers uninitialized.
    list(APPEND flags -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  list(APPEND QLITE_BACKENDS "${name}")
  set(QLITE_BACKEND_${name}_TAG "${tag}")
  set(QLITE_BACKEND_${name}_REQUIRES "${requires}")
  set(QLITE_BACKEND_${name}_FLAGS "${flags}")
endforeach()
