// Starting the programs of the demo.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "fixture.hpp"

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

}    // namespace llm_test
