// What the program does, without its command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format.hpp"
#include "report.hpp"

namespace llm {

/// Options that all commands share.
struct common_options {
  std::string model;    ///< a .gguf file or a Hugging Face folder
  device where = device::cpu;
  std::size_t threads = 0;       ///< 0: all of the machine's
  std::size_t context = 1024;    ///< positions, at most those of the model
  std::size_t batch = 256;       ///< tokens of a prompt that are computed at once
  cached_as cache = cached_as::automatic;
  std::string output = "auto";    ///< precision of the output layer; auto: that of the layers, but int8 for int4
  format_options format;
};

struct run_options {
  std::string precision = "int4";
  std::string prompt = "The most important thing to know about the sea is";
  std::size_t tokens = 128;
  float temperature = 0;
  std::uint64_t seed = 1;
  bool chat = false;
};

struct compare_options {
  std::vector<std::string> precisions{"fp32", "bf16", "int8", "int4"};
  std::string prompt = run_options().prompt;
  std::string text;          ///< file to measure perplexity over; empty: not measured
  std::size_t words = 24;    ///< tokens to generate
  std::size_t prompt_tokens = 256;
  std::size_t decode_tokens = 32;
  std::size_t rounds = 7;
};

/// Generates text on stdout, speeds on stderr.
void run_command(const common_options& common, const run_options& options);

/// Prints the perplexity of a text file in one or more precisions.
void perplexity_command(const common_options& common, const std::vector<std::string>& precisions,
                        const std::string& text);

/// Prints the table of all precisions.
void compare_command(const common_options& common, const compare_options& options);

}    // namespace llm
