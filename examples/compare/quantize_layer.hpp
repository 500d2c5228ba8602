// Where the program meets qlite's methods: one layer's weights and inputs in, packed weights and their error out.
#pragma once

#include <memory>
#include <qlite/evaluate.hpp>
#include <vector>

#include "candidate.hpp"
#include "linear.hpp"

namespace compare {

/// What is known of a linear layer while it is quantized.
class layer_data {
 public:
  /// Weights [outputs, inputs], and the inputs of the layer on the calibration data [tokens, inputs], which both stay
  /// the caller's.
  layer_data(qlite::matrix_view<const float> weights, qlite::matrix_view<const float> inputs, llm::executor& threads);
  ~layer_data();
  layer_data(const layer_data&) = delete;
  layer_data& operator=(const layer_data&) = delete;

  qlite::matrix_view<const float> weights() const { return weights_; }
  qlite::matrix_view<const float> inputs() const { return inputs_; }
  llm::executor& threads() const { return threads_; }

  /// Statistics of the inputs, gathered when the first method asks for them.
  struct statistics;
  const statistics& gathered() const;

 private:
  qlite::matrix_view<const float> weights_, inputs_;
  llm::executor& threads_;
  mutable std::unique_ptr<statistics> statistics_;
};

/// A layer in one of the candidates' forms.
struct quantized_layer {
  std::shared_ptr<const llm::quantized_matrix> weights;
  std::shared_ptr<const std::vector<float>> factors;    ///< of the inputs (awq); null: none
  qlite::layer_option cost;       ///< packed bytes, and the noise of the outputs relative to their power
  qlite::weight_memory memory;    ///< the bytes by part

  llm::linear linear() const { return llm::linear(weights, factors); }
};

/// Quantizes a layer; the error is measured on some of its inputs.
quantized_layer quantize_layer(const layer_data& data, const candidate& c);

}    // namespace compare
