// Hyperparameters of a Llama-architecture model.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>

namespace llm {

/// Which elements of a head rotary position embedding turns together (Su et al., "RoFormer", 2021). The same model
/// has its query and key rows in another order in each convention.
enum class rope_pairs {
  adjacent,    ///< (2i, 2i + 1): the original LLaMA code, GGUF's "llama" architecture, llama2.c
  halves       ///< (i, i + head_dim / 2): Hugging Face's LlamaForCausalLM
};

struct model_config {
  std::string name;
  std::size_t layers = 0;
  std::size_t width = 0;        ///< elements of a token's hidden state
  std::size_t ffn_width = 0;    ///< elements between gate/up and down
  std::size_t heads = 0;        ///< query heads
  std::size_t kv_heads = 0;     ///< key and value heads; divides `heads` (grouped-query attention)
  std::size_t head_dim = 0;     ///< elements of a head
  std::size_t vocabulary = 0;
  std::size_t context = 0;    ///< most positions the model was trained for
  float norm_epsilon = 1e-5f;
  float rope_theta = 10000.0f;
  rope_pairs pairs = rope_pairs::adjacent;

  std::size_t query_width() const { return heads * head_dim; }
  std::size_t kv_width() const { return kv_heads * head_dim; }
};

/// By how much a position more turns the i-th pair of a head, in radians.
inline double rotary_frequency(const model_config& config, std::size_t i) {
  return std::pow(static_cast<double>(config.rope_theta),
                  -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
}

/// Throws std::runtime_error naming the first field that no Llama model can have.
void check_config(const model_config& config);

}    // namespace llm
