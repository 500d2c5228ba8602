# Builds the Conan package and its consumer, without a remote:
#   cmake -DSOURCE=<qlite> -DFOLDER=<scratch> -DXSIMD_VERSION=<version> -P conan.cmake
# xsimd is the one that this machine has (a platform requirement), as for a distribution's package.
# Without a conan on the path, one is installed from PyPI beside the scratch folder.
find_program(CONAN conan HINTS "${FOLDER}-python/bin")
find_program(PYTHON python3)
if(NOT CONAN AND PYTHON)
  execute_process(COMMAND "${PYTHON}" -m venv "${FOLDER}-python" OUTPUT_QUIET ERROR_QUIET)
  execute_process(COMMAND "${FOLDER}-python/bin/pip" install --quiet "conan>=2,<3" OUTPUT_QUIET ERROR_QUIET)
  find_program(CONAN conan HINTS "${FOLDER}-python/bin")
endif()
if(NOT CONAN)
  message(STATUS "skipped: conan 2 was not found, nor could pip install it (PyPI: conan)")
  return()
endif()
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
set(ENV{CONAN_HOME} "${FOLDER}/home")
set(ENV{CXX} "${COMPILER}")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\n${output}")
  endif()
endfunction()

run("${CONAN}" profile detect)
file(APPEND "${FOLDER}/home/profiles/default" "\n[platform_requires]\nxsimd/${XSIMD_VERSION}\n")
run("${CONAN}" create "${SOURCE}" --no-remote --test-folder "${CMAKE_CURRENT_LIST_DIR}/conan"
    -c "tools.cmake.cmake_layout:test_folder=${FOLDER}/consumer")
