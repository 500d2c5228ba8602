# C++ in the documentation is compiled. The Markdown files are the only source: each fenced `cpp` block carries a mark in
# the line before it,
#
#   <!-- program: NAME -->    a whole program, which becomes a test of its own
#   <!-- snippet: NAME -->    a part of one, which a source of this folder includes as "snippets/NAME.inc"
#
# and a block without a mark, a name used twice or a snippet that nobody includes ends the configuration with an error.

# Writes the blocks of a Markdown file to <folder>/NAME.cpp and <folder>/snippets/NAME.inc and appends their names to the
# variables qlite_programs and qlite_snippets of the caller.
function(qlite_extract_snippets file folder)
  file(READ "${file}" text)
  # Lists and brackets mean something to CMake: none may be left while the text is taken apart line by line.
  set(fence "```cpp\n")
  string(LENGTH "${fence}" fence_length)
  while(TRUE)
    string(FIND "${text}" "${fence}" at)
    if(at EQUAL -1)
      break()
    endif()
    string(SUBSTRING "${text}" 0 ${at} before)
    math(EXPR at "${at} + ${fence_length}")
    string(SUBSTRING "${text}" ${at} -1 text)
    string(FIND "${text}" "\n```\n" end)
    if(end EQUAL -1)
      message(FATAL_ERROR "${file}: a cpp block without an end")
    endif()
    math(EXPR code_length "${end} + 1")
    string(SUBSTRING "${text}" 0 ${code_length} code)
    string(SUBSTRING "${text}" ${end} -1 text)
    if(NOT before MATCHES "<!-- (program|snippet): ([a-z0-9_]+) -->\n$")
      message(FATAL_ERROR "${file}: a cpp block without a mark (tests/docs/snippets.cmake); it begins with\n${code}")
    endif()
    set(kind "${CMAKE_MATCH_1}")
    set(name "${CMAKE_MATCH_2}")
    if(name IN_LIST qlite_programs OR name IN_LIST qlite_snippets)
      message(FATAL_ERROR "${file}: the name ${name} is taken")
    endif()
    list(APPEND qlite_${kind}s "${name}")
    if(kind STREQUAL "program")
      set(output "${folder}/${name}.cpp")
    else()
      set(output "${folder}/snippets/${name}.inc")
    endif()
    file(CONFIGURE OUTPUT "${output}" CONTENT "${code}" @ONLY) # leaves an equal file alone
  endwhile()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  set(qlite_programs "${qlite_programs}" PARENT_SCOPE)
  set(qlite_snippets "${qlite_snippets}" PARENT_SCOPE)
endfunction()
