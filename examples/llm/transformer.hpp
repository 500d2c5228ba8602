// The Llama architecture: token embedding, layers of attention and SwiGLU feed-forward with RMSNorm before each, and
// the output layer. `transformer` holds weights, `session` one running text.
#pragma once

#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "attention.hpp"
#include "linear.hpp"
#include "linear_weights.hpp"
#include "model_file.hpp"
#include "running_text.hpp"

namespace llm {

/// Told how far loading is, from 0 to `total` steps.
using load_progress = std::function<void(std::size_t done, std::size_t total)>;

/// Makes the linear layers of a model, each asked for once, in order: those of layer 0, of layer 1, ..., the output.
using linear_factory = std::function<linear(linear_id id)>;

/// Told the input [m, K] of a linear layer before each product. gate and up have the same one: it comes once, for gate.
using input_observer = std::function<void(linear_id id, qlite::matrix_view<const float> input)>;

/// The formats of a model's weights. The output layer has its own, as in most quantized models: it is as wide as the
/// vocabulary, its errors go straight into the logits, and in small models it may be a quarter of all weights.
struct model_format {
  weight_format layers;
  weight_format output;
};

struct layer_weights {
  std::vector<float> attention_norm, ffn_norm;
  linear qkv, attention_output, gate, up, down;
};

class transformer {
 public:
  /// Loads layer by layer; besides the weights, only a few megabytes are needed at a time. Embedding rows are read from
  /// the file when they are needed, which therefore stays open.
  transformer(std::shared_ptr<const model_file> file, const model_format& format, executor& threads,
              const load_progress& progress = {});
  /// The same with linear layers from elsewhere.
  transformer(std::shared_ptr<const model_file> file, const linear_factory& make, const load_progress& progress = {});

  /// Gives a layer other weights, of the same shape: for quantizing a model while inputs go through it.
  void replace(linear_id id, linear weights);

  const model_config& config() const { return file_->config(); }
  const model_file& file() const { return *file_; }
  const std::shared_ptr<const model_file>& shared_file() const { return file_; }
  /// Weights held in memory, and the bytes that they take: layers, norms and output; not the embedding rows.
  std::size_t weights() const { return weights_; }
  std::size_t bytes() const { return bytes_; }

  const std::vector<layer_weights>& layers() const { return layers_; }
  const std::vector<float>& output_norm() const { return output_norm_; }
  const linear& output() const { return output_; }

 private:
  linear count(linear layer);
  std::vector<float> load_vector(tensor_id id);

  std::shared_ptr<const model_file> file_;
  std::vector<layer_weights> layers_;
  std::vector<float> output_norm_;
  linear output_;
  std::size_t weights_ = 0, bytes_ = 0;
};

/// Attention and what it attends to.
template <class T>
struct cached_attention {
  kv_cache<T> cache;
  attention<T> attend;
};

class session final : public running_text {
 public:
  /// Room for `capacity` positions, of which up to `batch` are computed at once. `cached` is the type of keys and
  /// values.
  session(const transformer& model, std::size_t capacity, std::size_t batch, executor& threads, cached_as cached = {});

  std::size_t capacity() const override { return capacity_; }
  std::size_t batch() const override { return batch_; }
  std::size_t position() const override { return position_; }
  void reset() override { position_ = 0; }

  qlite::matrix_view<const float> forward(const token* tokens, std::size_t count) override;
  void logits(qlite::matrix_view<const float> hidden, qlite::matrix_view<float> out) override;
  const float* prompt(const token* tokens, std::size_t count) override;
  token next(const token* tokens, std::size_t count, sampler& choose) override;

  /// The products that `rows` tokens (at most batch()) need, and nothing else, on whatever the last text left behind:
  /// what remains of a step if attention, norms and choosing tokens take no time.
  void products(std::size_t rows);
  /// From now on, `observer` is told what goes into each linear layer but the output; an empty one ends that.
  void observe(input_observer observer) { observer_ = std::move(observer); }
  /// For going through a model layer by layer, many texts at a time: the hidden states [m, width] of a text's tokens
  /// before the first layer, one layer's work on them, in place, in its two halves, and the normalization before the
  /// output layer. The text begins at position 0 and has at most batch() tokens; the session's own text is lost.
  void embed(const token* tokens, qlite::matrix_view<float> hidden) const;
  void attend(std::size_t layer, qlite::matrix_view<float> hidden);
  void feed_forward(std::size_t layer, qlite::matrix_view<float> hidden);
  void finish(qlite::matrix_view<float> hidden);

 private:
  void normalize(qlite::matrix_view<const float> x, const std::vector<float>& weight, qlite::matrix_view<float> out);
  void attend(std::size_t index, std::size_t rows);
  void feed_forward(std::size_t index, std::size_t rows);
  void take(qlite::matrix_view<const float> hidden);
  void give(qlite::matrix_view<const float> from, qlite::matrix_view<float> hidden) const;
  qlite::matrix_view<float> rows_of(array<float>& buffer, std::size_t rows, std::size_t cols) const {
    return {buffer.data(), rows, cols};
  }

  const transformer& model_;
  executor& threads_;
  std::size_t capacity_, batch_, position_ = 0;
  std::variant<cached_attention<float>, cached_attention<qlite::bfloat16>> attention_;
  rotary_embedding rotary_;
  layer_input input_;
  array<float> hidden_, normalized_, qkv_, attended_, gate_, logits_;
  input_observer observer_;
};

}    // namespace llm
