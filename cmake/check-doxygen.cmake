# Fails on what Doxygen wrote to its log: cmake -DLOG=<file> -P check-doxygen.cmake
#
# Every class, free function and macro needs its comment, and no comment may be wrong. A member whose class is
# documented may go without: rows() of a matrix needs no sentence.
file(STRINGS "${LOG}" lines)
list(FILTER lines EXCLUDE REGEX "Member .* of (class|struct|union) .* is not documented\\.$")
if(lines)
  list(JOIN lines "\n" lines)
  message(FATAL_ERROR "Doxygen:\n${lines}")
endif()
