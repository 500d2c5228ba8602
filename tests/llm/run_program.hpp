// Starting the programs of the demo.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "fixture.hpp"
#include "support/catch.hpp"

namespace llm_test {

struct outcome {
  int exit_code;
  std::string out, err;
};

inline std::string contents_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// Runs `program` with arguments as a shell reads them.
inline outcome run_program(const std::string& program, const std::string& arguments) {
  const temporary_folder folder;
  const std::string command = "'" + program + "' " + arguments + " >" + (folder / "out") + " 2>" + (folder / "err");
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents_of(folder / "out"), contents_of(folder / "err")};
}

// One line on stderr that names the program and says why, nothing else, and exit code 1.
inline void check_refused(const outcome& result, const std::string& program, const std::string& because) {
  CAPTURE(result.err);
  CHECK(result.exit_code == 1);
  CHECK(result.out.empty());
  CHECK_THAT(result.err, ContainsSubstring(because));
  const std::size_t line = result.err.rfind(program + ": ");
  REQUIRE(line != std::string::npos);
  CHECK(result.err.find('\n', line) == result.err.size() - 1);
}

inline std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

}    // namespace llm_test
