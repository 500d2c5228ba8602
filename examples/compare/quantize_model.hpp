// Quantizes a model in all candidates' forms at once, layer by layer, on calibration texts.
#pragma once

#include <functional>
#include <vector>

#include "quantize_layer.hpp"
#include "transformer.hpp"

namespace compare {

/// All linear layers of a model, in the order of llm::linears_of, in one candidate's form.
struct quantized_layers {
  std::vector<quantized_layer> layers;
  double seconds = 0;    ///< that quantizing took
};

/// The texts go through `reference` layer by layer; what enters each linear layer calibrates it. Inputs are those of
/// the unquantized model, the same for every candidate. Besides the results, the memory is that of one layer and of the
/// texts' inputs to it, however many layers there are. Each text has at most the session's batch() tokens.
/// `progress` is told the share done.
std::vector<quantized_layers> quantize_model(const llm::transformer& reference, llm::session& running,
                                             const std::vector<std::vector<llm::token>>& texts,
                                             const std::vector<candidate>& candidates, llm::executor& threads,
                                             const std::function<void(double)>& progress);

}    // namespace compare
