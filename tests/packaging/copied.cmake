# Copies include/ and compiles the consumer with one line, in each language mode:
#   cmake -DSOURCE=<qlite> -DFOLDER=<scratch> -DCOMPILER=<c++> -DXSIMD_INCLUDES=<folder;...> -P copied.cmake
file(REMOVE_RECURSE "${FOLDER}")
file(COPY "${SOURCE}/include" DESTINATION "${FOLDER}")

list(TRANSFORM XSIMD_INCLUDES PREPEND -I)
foreach(flags IN ITEMS -std=c++17 -std=c++20 "-std=c++17 -fno-exceptions -fno-rtti")
  separate_arguments(flags)
  execute_process(COMMAND "${COMPILER}" ${flags} -Iinclude ${XSIMD_INCLUDES} "${CMAKE_CURRENT_LIST_DIR}/consumer.cpp"
                          -o consumer
                  WORKING_DIRECTORY "${FOLDER}" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND "${FOLDER}/consumer" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
