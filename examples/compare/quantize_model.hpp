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
  quantized_layer
      output;            ///< the output layer in INT8, where a candidate calibrates it; without weights: it does not
  double seconds = 0;    ///< that quantizing took
};

/// Which candidate each linear layer of a model takes.
struct layer_plan {
  std::function<const candidate&(llm::linear_id)> of;
  bool compensated = false;    ///< one of them is
  bool by_hessian = false;     ///< one of them is

  /// The same for all.
  explicit layer_plan(const candidate& one)
      : of([one](llm::linear_id) -> const candidate& { return one; }),
        compensated(one.compensated),
        by_hessian(one.by_hessian()) {}
  /// A choice for each.
  layer_plan(std::function<const candidate&(llm::linear_id)> choice, bool any_compensated, bool any_by_hessian)
      : of(std::move(choice)), compensated(any_compensated), by_hessian(any_by_hessian) {}
};

/// The texts go through `reference` layer by layer; what enters each linear layer calibrates it. Inputs are those of
/// the unquantized model, but where a plan has a compensated candidate: there they are those of that plan's own model,
/// quantized so far, and go through it three times. Besides the results, the memory is that of one layer and of the
/// texts' inputs to it, and the texts' hidden states for each compensated plan, however many layers there are. Each
/// text has at most the session's batch() tokens. `output` is the form of the output layer for plans with GPTQ.
/// `progress` is told the share done.
std::vector<quantized_layers> quantize_model(const llm::transformer& reference, llm::session& running,
                                             const std::vector<std::vector<llm::token>>& texts,
                                             const std::vector<layer_plan>& plans, const llm::weight_format& output,
                                             llm::executor& threads, const std::function<void(double)>& progress);

}    // namespace compare
