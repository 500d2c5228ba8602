// Perplexity: exp of the mean negative log-likelihood of a text's tokens (Jelinek et al., 1977).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config.hpp"
#include "executor.hpp"
#include "running_text.hpp"

namespace llm {

/// Cuts a text at blank lines into blocks of about 900 bytes: paragraphs are joined until a block has that many, a
/// paragraph that would make it longer than 1,200 begins the next, and what is longer than 1,500 bytes is cut between
/// words into several blocks.
std::vector<std::string> cut_into_blocks(const std::string& text);

struct perplexity_result {
  double negative_log_likelihood = 0;    ///< sum over the scored tokens, in nats
  std::size_t tokens = 0;                ///< scored tokens
  double value() const;                  ///< NaN where nothing was scored
};

/// Scores each block for itself. It begins with the model's begin-of-text token where the model was trained with one;
/// else the first token of a block is given and not scored. A block longer than the session's capacity is cut there.
/// `progress` gets the share done, 0 to 1, and the perplexity so far.
perplexity_result measure_perplexity(running_text& s, const model_config& config, const tokenizer& tokens,
                                     const std::vector<std::string>& blocks, executor& threads,
                                     const std::function<void(double, double)>& progress = {});

/// The negative log-likelihood of `target` under softmax(logits).
double negative_log_likelihood(const float* logits, std::size_t count, token target);

}    // namespace llm
