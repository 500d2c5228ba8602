# `docs`: the reference of the public interface, by Doxygen. A warning is an error (check-doxygen.cmake says which).
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  message(STATUS "qlite: no docs target: Doxygen was not found (Debian: doxygen)")
  return()
endif()

file(GLOB pages CONFIGURE_DEPENDS *.md docs/*.md benchmarks/*.md examples/*.md)
set(QLITE_DOCS_INPUT "\"${PROJECT_SOURCE_DIR}/include/qlite\"")
foreach(page IN LISTS pages)
  string(APPEND QLITE_DOCS_INPUT " \"${page}\"")
endforeach()
configure_file(docs/Doxyfile.in Doxyfile @ONLY)
add_custom_target(docs COMMAND "${DOXYGEN_EXECUTABLE}" "${PROJECT_BINARY_DIR}/Doxyfile"
                  COMMAND "${CMAKE_COMMAND}" "-DLOG=${PROJECT_BINARY_DIR}/doxygen.log"
                          -P "${PROJECT_SOURCE_DIR}/cmake/check-doxygen.cmake"
                  VERBATIM
                  COMMENT "Writing the reference to ${PROJECT_BINARY_DIR}/docs/html")
