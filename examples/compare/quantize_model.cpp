#include "quantize_model.hpp"

#include <chrono>

namespace compare {
namespace {

using llm::part;

/// The inputs of one layer's products, of all texts.
struct layer_inputs {
  llm::array<float> qkv, attention_output, gate, down;

  layer_inputs(const llm::model_config& c, std::size_t tokens)
      : qkv(tokens * c.width),
        attention_output(tokens * c.query_width()),
        gate(tokens * c.width),
        down(tokens * c.ffn_width) {}

  llm::array<float>& of(part what) {
    switch (what) {
      case part::attention_output:
        return attention_output;
      case part::gate:
      case part::up:
        return gate;
      case part::down:
        return down;
      default:
        return qkv;
    }
  }
};

}    // namespace

std::vector<quantized_layers> quantize_model(const llm::transformer& reference, llm::session& running,
                                             const std::vector<std::vector<llm::token>>& texts,
                                             const std::vector<candidate>& candidates, llm::executor& threads,
                                             const std::function<void(double)>& progress) {
  const llm::model_config& c = reference.config();
  std::size_t tokens = 0;
  for (const auto& text : texts) tokens += text.size();
  llm::array<float> hidden(tokens * c.width);
  layer_inputs inputs(c, tokens);
  std::vector<quantized_layers> results(candidates.size());
  const auto view_of = [&](llm::array<float>& buffer, std::size_t first, std::size_t rows, std::size_t cols) {
    return qlite::matrix_view<float>{buffer.data() + first * cols, rows, cols};
  };
  std::size_t first = 0;
  for (const auto& text : texts) {
    running.embed(text.data(), view_of(hidden, first, text.size(), c.width));
    first += text.size();
  }

  const std::size_t steps = c.layers * 5 * candidates.size();
  std::size_t done = 0;
  for (std::size_t i = 0; i < c.layers; ++i) {
    first = 0;
    running.observe([&](llm::linear_id id, qlite::matrix_view<const float> x) {
      float* const to = inputs.of(id.what).data() + first * x.cols();
      for (std::size_t r = 0; r < x.rows(); ++r) std::copy_n(x.row(r), x.cols(), to + r * x.cols());
    });
    for (const auto& text : texts) {
      running.run_layer(i, view_of(hidden, first, text.size(), c.width));
      first += text.size();
    }
    running.observe({});

    for (const part what : {part::qkv, part::attention_output, part::gate, part::up, part::down}) {
      const llm::tensor_shape shape = llm::shape_of(c, what);
      const llm::row_reader read = llm::reader_of(reference.file(), {what, i});
      llm::array<float> weights(shape.rows * shape.cols);
      llm::for_each_slice(threads, shape.rows, [&](std::size_t begin, std::size_t end) {
        read(begin, {weights.data() + begin * shape.cols, end - begin, shape.cols});
      });
      const layer_data data({weights.data(), shape.rows, shape.cols}, {inputs.of(what).data(), tokens, shape.cols},
                            threads);
      for (std::size_t k = 0; k < candidates.size(); ++k) {
        const auto begin = std::chrono::steady_clock::now();
        results[k].layers.push_back(quantize_layer(data, candidates[k]));
        results[k].seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        progress(static_cast<double>(++done) / static_cast<double>(steps));
      }
    }
  }
  return results;
}

}    // namespace compare
