// The Llama architecture on a GPU: the weights of a model, the keys and values of one or more texts, and the step that
// computes some rows (tokens) of them. It knows nothing of files and tokenizers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config.hpp"
#include "cuda/linear.hpp"

namespace llm {
namespace gpu {

struct decoder_layer {
  std::vector<float> attention_norm, ffn_norm;
  std::unique_ptr<linear> qkv, attention_output, gate, up, down;
};

/// Where a row stands: which text it belongs to, and at what position.
struct place {
  std::uint32_t text, position;
};

class decoder {
 public:
  /// Room for `texts` texts of `capacity` positions; steps of at most `batch` rows.
  decoder(const model_config& config, std::size_t texts, std::size_t capacity, std::size_t batch);
  ~decoder();
  decoder(const decoder&) = delete;
  decoder& operator=(const decoder&) = delete;

  /// Layers are added in order, then the output layer.
  void add(decoder_layer layer);
  void set_output(const std::vector<float>& norm, std::unique_ptr<linear> weights);

  /// Bytes of weights and norms; of cached keys and values.
  std::size_t weight_bytes() const;
  std::size_t cache_bytes() const;
  std::size_t batch() const;

  /// What a step reads, in host memory: a row's embedding [batch, width] and place [batch].
  float* hidden();
  place* places();

  /// Computes the first `rows` rows: stores their keys and values, which later rows of the same text may see, and
  /// leaves their normalized last hidden states in the device's memory.
  void run(std::size_t rows);
  /// Waits until what was asked for is done.
  void wait();
  /// The hidden states that run left, [rows, width]; waits for them. Valid until the next call.
  const qlite::float16* normalized(std::size_t rows);
  /// Logits [vocabulary] of row `row` of what run left; waits. Valid until the next call.
  const float* logits(std::size_t row);
  /// Logits [rows, vocabulary] of hidden states [rows, width], all in host memory; waits.
  void logits(const qlite::float16* hidden, std::size_t rows, float* out);
  /// The likeliest token after row `row` of what run left (the first of equals); waits.
  std::int32_t likeliest(std::size_t row);

  /// run(rows) and the likeliest token after each row, as one CUDA graph that is captured on the first call for so many
  /// rows. Waits; the tokens [rows] are valid until the next call.
  const std::int32_t* step(std::size_t rows);
  /// The same without waiting, `count` times; returns the milliseconds that the device took. For measuring.
  double time_steps(std::size_t rows, std::size_t count);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// The name of the GPU. Throws std::runtime_error where there is none, or none that can be used.
std::string device_name();

/// What measures how many bytes of device memory plain reads get in a second.
std::function<double()> bandwidth_probe();

}    // namespace gpu
}    // namespace llm
