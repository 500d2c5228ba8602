# Functions that turn sources into ctest tests. A test that cannot run here exits with qlite_skip_code and says why.
set(qlite_skip_code 77)

# Catch2 2 and 3 differ in their headers (tests/support/catch.hpp) and their target.
find_package(Catch2 CONFIG QUIET)
if(NOT Catch2_FOUND)
  message(FATAL_ERROR "qlite's tests need Catch2 2.13 or 3: install it (Debian: catch2), or set -DQLITE_BUILD_TESTS=OFF.")
endif()
add_library(qlite_test_base INTERFACE)
target_include_directories(qlite_test_base INTERFACE "${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(qlite_test_base INTERFACE qlite::qlite qlite_warnings Catch2::Catch2 Threads::Threads)

# The test runner, compiled once: Catch2's own code is the slowest part of a test's build.
add_library(qlite_test_runner OBJECT "${PROJECT_SOURCE_DIR}/tests/support/runner.cpp")
target_include_directories(qlite_test_runner PRIVATE "${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(qlite_test_runner PRIVATE Catch2::Catch2)
target_compile_features(qlite_test_runner PRIVATE cxx_std_17)
target_compile_options(qlite_test_runner PRIVATE -O0)

set(QLITE_TEST_SCALAR_FLAGS "" CACHE STRING "Further flags for all tests but those of the vector backends (checks that take minutes to compile into unrolled kernels, say)")

# qlite_add_test(<name> SOURCES <file>... [FLAGS <flag>...] [BACKEND <name>] [LIBRARIES <target>...])
#
# Builds one program and registers it as the ctest test <name>. With BACKEND the sources are compiled with the flags of
# that row of the backend table and with QLITE_TEST_BACKEND defined as its tag, and the test skips where the CPU lacks
# the instructions.
function(qlite_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "BACKEND" "SOURCES;FLAGS;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "qlite_add_test(${name}): SOURCES is needed, and nothing but FLAGS, BACKEND and LIBRARIES beside it")
  endif()
  foreach(source IN LISTS arg_SOURCES)
    qlite_optional_libraries("${source}" libraries missing)
    if(missing)
      message(STATUS "qlite: test ${name} is left out: ${missing} was not found")
      return()
    endif()
    list(APPEND arg_LIBRARIES ${libraries})
  endforeach()

  string(MAKE_C_IDENTIFIER "test_${name}" target)
  # main and the runner come first, and from targets of their own: they are compiled without the backend's flags, so
  # that the check for the CPU runs before any instruction that the CPU may lack.
  add_executable(${target} $<TARGET_OBJECTS:qlite_test_main_${arg_BACKEND}> $<TARGET_OBJECTS:qlite_test_runner>
                           ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE qlite_test_base ${arg_LIBRARIES})
  target_compile_options(${target} PRIVATE ${arg_FLAGS})
  if(arg_BACKEND)
    target_compile_options(${target} PRIVATE ${QLITE_BACKEND_${arg_BACKEND}_FLAGS})
    target_compile_definitions(${target} PRIVATE QLITE_TEST_BACKEND=qlite::${QLITE_BACKEND_${arg_BACKEND}_TAG})
  endif()
  if(NOT arg_BACKEND OR arg_BACKEND STREQUAL "scalar")
    separate_arguments(scalar_flags UNIX_COMMAND "${QLITE_TEST_SCALAR_FLAGS}")
    target_compile_options(${target} PRIVATE ${scalar_flags})
  endif()
  add_test(NAME ${name} COMMAND ${target})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE ${qlite_skip_code} TIMEOUT 600)
endfunction()

set(QLITE_TEST_BACKENDS "" CACHE STRING "Backends to test, of cmake/qlite-backends.cmake; empty for all")
set(qlite_tested_backends ${QLITE_BACKENDS})
if(QLITE_TEST_BACKENDS)
  foreach(backend IN LISTS QLITE_BACKENDS)
    if(NOT backend IN_LIST QLITE_TEST_BACKENDS)
      list(REMOVE_ITEM qlite_tested_backends ${backend})
    endif()
  endforeach()
endif()

# qlite_add_backend_test(<name> <source> [FLAGS <flag>...] [LIBRARIES <target>...]): the source once per backend, as
# <name>.<backend>; for fewer of them where the source has a line `// Backends: scalar, avx2, ...`, because the others
# would run the same code. `// Backends: every` are all, those included that share most of another's code.
function(qlite_add_backend_test name source)
  set(wanted ${qlite_tested_backends})
  list(REMOVE_ITEM wanted ${qlite_partial_backends})
  file(STRINGS "${source}" line REGEX "^// Backends: " LIMIT_COUNT 1)
  if(line)
    string(REPLACE "// Backends: " "" wanted "${line}")
    string(REGEX REPLACE ", *" ";" wanted "${wanted}")
    if(wanted STREQUAL "every")
      set(wanted ${qlite_tested_backends})
    endif()
  endif()
  foreach(backend IN LISTS qlite_tested_backends)
    if(backend IN_LIST wanted)
      qlite_add_test(${name}.${backend} SOURCES "${source}" BACKEND ${backend} ${ARGN})
    endif()
  endforeach()
endfunction()

# qlite_add_test_folder(<folder> [LIBRARIES <target>...]): a test, or one per backend, from each source of a folder.
# fuzz_<stem>.cpp holds a libFuzzer entry point and becomes a program of that name (qlite_add_fuzzer).
function(qlite_add_test_folder folder)
  get_filename_component(folder_name "${folder}" NAME)
  file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.cpp")
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    file(STRINGS "${source}" backend_lines REGEX "QLITE_TEST_BACKEND" LIMIT_COUNT 1)
    # Whether the source names a backend may change with the next edit.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
    if(stem MATCHES "^fuzz_")
      qlite_add_fuzzer(${stem} "${source}")
    elseif(backend_lines)
      qlite_add_backend_test(${folder_name}/${stem} "${source}" ${ARGN})
    else()
      qlite_add_test(${folder_name}/${stem} SOURCES "${source}" ${ARGN})
    endif()
  endforeach()
endfunction()

# qlite_add_fuzzer(<name> <source>): a program that searches for inputs that crash, where the compiler has libFuzzer
# (clang). It is no test: run it by hand for as long as you like.
function(qlite_add_fuzzer name source)
  set(CMAKE_REQUIRED_FLAGS -fsanitize=fuzzer)
  set(CMAKE_REQUIRED_QUIET ON)
  check_cxx_source_compiles(
    "#include <cstddef>
     #include <cstdint>
     extern \"C\" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }" QLITE_COMPILER_HAS_FUZZER)
  if(QLITE_COMPILER_HAS_FUZZER)
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE qlite::qlite qlite_warnings)
    target_compile_options(${name} PRIVATE -g -fsanitize=fuzzer,address,undefined)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  endif()
endfunction()

# The entry points: one without a backend, one for each.
foreach(backend IN ITEMS "" ${QLITE_BACKENDS})
  add_library(qlite_test_main_${backend} OBJECT "${PROJECT_SOURCE_DIR}/tests/support/main.cpp")
  target_link_libraries(qlite_test_main_${backend} PRIVATE qlite_test_base)
  set_target_properties(qlite_test_main_${backend} PROPERTIES EXCLUDE_FROM_ALL ON)
  if(backend)
    target_compile_definitions(qlite_test_main_${backend}
                               PRIVATE QLITE_TEST_REQUIRES=qlite::${QLITE_BACKEND_${backend}_REQUIRES})
  endif()
endforeach()
