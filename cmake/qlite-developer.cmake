# What only qlite's own tests, benchmarks and examples use. Consumers of the library never see this file.

if(PROJECT_IS_TOP_LEVEL)
  # A second build of the same source costs nothing: CI configures the tree several times.
  find_program(QLITE_CCACHE ccache)
  mark_as_advanced(QLITE_CCACHE)
  if(QLITE_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${QLITE_CCACHE}")
  endif()
  if(QLITE_CCACHE AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER "${QLITE_CCACHE}")
  endif()
  set(CMAKE_CXX_EXTENSIONS OFF)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND NOT CMAKE_CXX_FLAGS)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
endif()

# Warnings are errors, here and nowhere else: a consumer's compiler may know newer ones.
add_library(qlite_warnings INTERFACE)
target_compile_options(qlite_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror)

include(cmake/qlite-backends.cmake)

# What some headers need beyond xsimd: for a path whose stem names one, sets `libraries` to the targets that it links, or
# `missing` to the name of what was not found. Tests, benchmarks and the self-containment check share it.
find_package(Threads REQUIRED)
find_package(TBB CONFIG QUIET)
find_package(OpenMP QUIET COMPONENTS CXX)
function(qlite_optional_libraries path libraries missing)
  set(targets "")
  set(absent "")
  get_filename_component(stem "${path}" NAME_WE)
  foreach(row "tbb TBB::tbb" "openmp OpenMP::OpenMP_CXX" "eigen Eigen3::Eigen")
    string(REPLACE " " ";" row "${row}")
    list(GET row 0 word)
    list(GET row 1 target)
    if(stem MATCHES "(^|_)${word}(_|$)")
      if(TARGET "${target}")
        list(APPEND targets "${target}")
      else()
        set(absent "${target}")
      endif()
    endif()
  endforeach()
  set(${libraries} "${targets}" PARENT_SCOPE)
  set(${missing} "${absent}" PARENT_SCOPE)
endfunction()
