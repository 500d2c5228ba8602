# cmake -DCOMPILER=<c++> -DSOURCE=<file> -DINCLUDES=<folder;...> -P check.cmake
file(STRINGS "${SOURCE}" expected REGEX "^// expected error: ")
if(NOT expected)
  message(FATAL_ERROR "${SOURCE}: no line '// expected error: <regular expression>'")
endif()
string(REGEX REPLACE "^// expected error: " "" expected "${expected}")

list(TRANSFORM INCLUDES PREPEND -I)
set(command "${COMPILER}" -std=c++17 -fsyntax-only ${INCLUDES} "${SOURCE}")

execute_process(COMMAND ${command} RESULT_VARIABLE result ERROR_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} does not compile without its mistake:\n${output}")
endif()

execute_process(COMMAND ${command} -DQLITE_TEST_MISTAKE RESULT_VARIABLE result ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "${SOURCE}: the mistake compiles")
endif()
if(NOT output MATCHES "${expected}")
  message(FATAL_ERROR "${SOURCE}: the message does not match '${expected}':\n${output}")
endif()
