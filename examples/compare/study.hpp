// What the program finds out about one model: every candidate's memory, speed and accuracy, and what follows from it.
#pragma once

#include <string>
#include <vector>

#include <qlite/evaluate.hpp>
#include "candidate.hpp"
#include "commands.hpp"
#include "linear_weights.hpp"

namespace compare {

struct study_options {
  llm::common_options common;
  std::vector<std::string> candidates{
      "int8", "int8:gptq", "int4:rtn", "int4:hqq", "int4:awq", "int4:gptq", "int4:nl4:gptq+refine:qep"};
  std::string text;           ///< file to measure on
  std::string calibration;    ///< file to calibrate on; empty: the first third of `text`, the rest is measured on
  std::size_t calibration_tokens = 8192;    ///< at most
  std::size_t text_tokens = 4096;           ///< at most
  double budget_bits =
      0;    ///< of the mixed model's layers, bits a weight; 0: halfway between its candidates' extremes
  bool mixed = true;
  std::string prompt = llm::run_options().prompt;
  std::size_t words = 64;    ///< tokens generated greedily
  std::size_t prompt_tokens = 256;
  std::size_t decode_tokens = 32;
  std::size_t rounds = 5;
};

/// One candidate: a model held in one form, and what was measured with it.
struct finding {
  std::string name;
  std::string description;
  bool quantized = false;
  bool flattered = false;    ///< the file has no more levels than this form

  // Memory in bytes. `layers` by part; the rest as a whole.
  qlite::weight_memory layers;    ///< quantized linear layers; float ones count as codes
  std::size_t factors = 0;        ///< input scales of awq
  std::size_t output = 0;         ///< the output layer
  std::size_t norms = 0;
  std::size_t total = 0;              ///< all weights held in memory
  std::size_t cache_per_token = 0;    ///< keys and values
  double layer_bits = 0;              ///< bits a weight of the linear layers
  double quantize_seconds = 0;

  double prompt_speed = 0, decode_speed = 0;    ///< tokens a second
  double perplexity = 0;
  double change_error = 0;    ///< standard error of log(perplexity / float32's), from the differences token by token
  double divergence = 0, top1 = 0;    ///< mean KL from the float32 model in nats, share of equal first choices
  std::size_t same_tokens = 0;        ///< greedy tokens before the first that differs from the float32 model's
  std::string continuation;           ///< of the prompt
};

/// The error of one linear layer in each of the quantized candidates.
struct layer_finding {
  llm::linear_id id;
  std::vector<qlite::layer_option> options;    ///< in the order of study::layer_candidates
  std::size_t chosen = 0;                      ///< by the mixed model
};

struct study {
  std::string model, file;
  std::string text, calibration;
  std::size_t threads = 0;
  std::string backend;
  std::size_t layers = 0, width = 0, vocabulary = 0, linear_weights = 0, file_bytes = 0;
  std::size_t measured_tokens = 0, calibrated_tokens = 0, generated_tokens = 0;
  std::size_t rounds = 0, prompt_tokens = 0, decode_tokens = 0;
  std::string prompt;
  std::vector<finding> findings;    ///< fp32, bf16, the candidates, the mixed model
  std::vector<std::string> layer_candidates;
  std::vector<layer_finding> layer_findings;
  std::size_t mixed_budget = 0;    ///< bytes of the linear layers; 0: there is no mixed model
  double mixed_bound = 0;          ///< no assignment has less error
  bool compensated = false;        ///< a candidate makes up for the errors of earlier layers (qep)
  std::string recommendation, reason;
};

/// Does it all, with progress bars on stderr. Throws std::runtime_error or std::invalid_argument with one clear
/// sentence.
study run_study(const study_options& options);

}    // namespace compare
