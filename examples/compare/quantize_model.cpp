#include "quantize_model.hpp"

#include <algorithm>
#include <chrono>
#include <qlite/quantize.hpp>

namespace ql = qlite;

namespace compare {
namespace {

using llm::part;
using texts = std::vector<std::vector<llm::token>>;

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

/// The texts on their way through a model, all at the same layer.
class stream {
 public:
  stream(llm::session& running, const texts& all, const llm::model_config& config)
      : running_(running), texts_(all), width_(config.width) {
    for (const auto& text : all) tokens_ += text.size();
    hidden_ = llm::array<float>(tokens_ * width_);
    for_each([&](const auto& text, qlite::matrix_view<float> hidden) { running_.embed(text.data(), hidden); });
  }

  std::size_t tokens() const { return tokens_; }
  ql::matrix_view<const float> hidden() const { return {hidden_.data(), tokens_, width_}; }

  void attend(std::size_t layer) { pass(layer, &llm::session::attend, hidden_); }
  void feed_forward(std::size_t layer) { pass(layer, &llm::session::feed_forward, hidden_); }
  /// The same while the inputs of products are collected.
  void attend(std::size_t layer, layer_inputs& to) {
    observed(to, [&] { attend(layer); });
  }
  void feed_forward(std::size_t layer, layer_inputs& to) {
    observed(to, [&] { feed_forward(layer); });
  }
  /// Only collects: the texts stay where they are.
  void look_into_attend(std::size_t layer, layer_inputs& to) { look(layer, &llm::session::attend, to); }
  void look_into_feed_forward(std::size_t layer, layer_inputs& to) { look(layer, &llm::session::feed_forward, to); }
  /// The inputs of the output layer, in place of the hidden states.
  void finish() {
    for_each([&](const auto&, qlite::matrix_view<float> hidden) { running_.finish(hidden); });
  }

 private:
  using half = void (llm::session::*)(std::size_t, ql::matrix_view<float>);

  template <class F>
  void for_each(const F& f) {
    for_each(hidden_, f);
  }
  template <class F>
  void for_each(llm::array<float>& hidden, const F& f) {
    std::size_t first = 0;
    for (const auto& text : texts_) {
      at_ = first;
      f(text, ql::matrix_view<float>{hidden.data() + first * width_, text.size(), width_});
      first += text.size();
    }
  }
  void pass(std::size_t layer, half run, llm::array<float>& hidden) {
    for_each(hidden, [&](const auto&, ql::matrix_view<float> h) { (running_.*run)(layer, h); });
  }
  template <class F>
  void observed(layer_inputs& to, const F& f) {
    running_.observe([&](llm::linear_id id, ql::matrix_view<const float> x) {
      float* const rows = to.of(id.what).data() + at_ * x.cols();
      for (std::size_t r = 0; r < x.rows(); ++r) std::copy_n(x.row(r), x.cols(), rows + r * x.cols());
    });
    f();
    running_.observe({});
  }
  void look(std::size_t layer, half run, layer_inputs& to) {
    copy_.require(tokens_ * width_);
    std::copy_n(hidden_.data(), tokens_ * width_, copy_.data());
    observed(to, [&] { pass(layer, run, copy_); });
  }

  llm::session& running_;
  const texts& texts_;
  std::size_t width_, tokens_ = 0, at_ = 0;
  llm::array<float> hidden_, copy_;
};

/// The weights of a linear layer as floats.
llm::array<float> weights_of(const llm::model_file& file, llm::linear_id id, llm::executor& threads) {
  const llm::tensor_shape shape = llm::shape_of(file.config(), id.what);
  const llm::row_reader read = llm::reader_of(file, id);
  llm::array<float> weights(shape.rows * shape.cols);
  llm::for_each_slice(threads, shape.rows, [&](std::size_t begin, std::size_t end) {
    read(begin, {weights.data() + begin * shape.cols, end - begin, shape.cols});
  });
  return weights;
}

/// A model whose layers are quantized one after the other, while the texts go through what there is of it.
class growing_model {
 public:
  growing_model(const llm::transformer& reference, const llm::session& like, const texts& all, llm::executor& threads)
      : model_(reference.shared_file(),
               [&](llm::linear_id id) {    // shared until they are replaced
                 const llm::layer_weights& layer = reference.layers()[id.layer];
                 const llm::linear* const parts[] = {&layer.qkv,  &layer.attention_output, &layer.gate, &layer.up,
                                                     &layer.down, &reference.output()};
                 return *parts[static_cast<std::size_t>(id.what)];
               }),
        running_(model_, like.batch(), like.batch(), threads, llm::cached_as::float32),
        at_(running_, all, model_.config()),
        threads_(threads) {}

  stream& at() { return at_; }

  /// Quantizes a layer on inputs [tokens, K] of this model, whose counterparts in the original are `original`; for
  /// layers that write to the residual stream, `residual` is the original's; empty: there is none.
  quantized_layer quantize(llm::linear_id id, const candidate& c, ql::matrix_view<const float> original,
                           ql::matrix_view<const float> inputs, ql::matrix_view<const float> residual) {
    const llm::tensor_shape shape = llm::shape_of(model_.config(), id.what);
    llm::array<float> weights = weights_of(model_.file(), id, threads_);
    const ql::matrix_view<float> W{weights.data(), shape.rows, shape.cols};
    if (c.compensated) {
      ql::hessian H(shape.cols);
      ql::drift of_inputs(shape.cols, shape.cols), of_residual;
      H.observe(inputs, threads_);
      of_inputs.observe(original, inputs, inputs, threads_);
      ql::compensated<> method(H, of_inputs);
      if (!residual.empty()) {
        of_residual = ql::drift(shape.rows, shape.cols);
        of_residual.observe(residual, at_.hidden(), inputs, threads_);
        method.residual = &of_residual;
      }
      ql::compensate(W, method, W, threads_);
    }
    quantized_layer layer = quantize_layer(layer_data(W, inputs, threads_), c);
    model_.replace(id, layer.linear());
    return layer;
  }

 private:
  llm::transformer model_;
  llm::session running_;
  stream at_;
  llm::executor& threads_;
};

/// Adds the time that it lives to `seconds`.
class stopwatch {
 public:
  explicit stopwatch(double& seconds) : seconds_(seconds), begin_(std::chrono::steady_clock::now()) {}
  ~stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point begin_;
};

}    // namespace

std::vector<quantized_layers> quantize_model(const llm::transformer& reference, llm::session& running, const texts& all,
                                             const std::vector<layer_plan>& plans, const llm::weight_format& output,
                                             llm::executor& threads, const std::function<void(double)>& progress) {
  const llm::model_config& c = reference.config();
  stream at(running, all, c);
  const std::size_t tokens = at.tokens();
  layer_inputs inputs(c, tokens), drifted(c, tokens);
  llm::array<float> before(tokens * c.width), middle(tokens * c.width);    // the residual stream
  std::vector<quantized_layers> results(plans.size());
  std::vector<std::unique_ptr<growing_model>> growing(plans.size());
  for (std::size_t k = 0; k < plans.size(); ++k)
    if (plans[k].compensated) growing[k] = std::make_unique<growing_model>(reference, running, all, threads);

  const auto rows_of = [&](llm::array<float>& x, std::size_t cols) {
    return ql::matrix_view<const float>{x.data(), tokens, cols};
  };
  const std::size_t steps = c.layers * 5 * plans.size();
  std::size_t done = 0;
  const auto step = [&] { progress(static_cast<double>(++done) / static_cast<double>(steps)); };

  for (std::size_t i = 0; i < c.layers; ++i) {
    std::copy_n(at.hidden().data(), tokens * c.width, before.data());
    at.attend(i, inputs);
    std::copy_n(at.hidden().data(), tokens * c.width, middle.data());
    at.feed_forward(i, inputs);

    for (const part what : {part::qkv, part::attention_output, part::gate, part::up, part::down}) {
      const llm::tensor_shape shape = llm::shape_of(c, what);
      const llm::array<float> weights = weights_of(reference.file(), {what, i}, threads);
      const layer_data data({weights.data(), shape.rows, shape.cols}, rows_of(inputs.of(what), shape.cols), threads);
      for (std::size_t k = 0; k < plans.size(); ++k) {
        if (growing[k] != nullptr) continue;
        const stopwatch time(results[k].seconds);
        results[k].layers.push_back(quantize_layer(data, plans[k].of({what, i})));
        step();
      }
    }

    for (std::size_t k = 0; k < plans.size(); ++k) {
      if (growing[k] == nullptr) continue;
      const stopwatch time(results[k].seconds);
      growing_model& model = *growing[k];
      const auto quantize = [&](part what, ql::matrix_view<const float> residual) {
        const std::size_t cols = llm::shape_of(c, what).cols;
        results[k].layers.push_back(model.quantize({what, i}, plans[k].of({what, i}), rows_of(inputs.of(what), cols),
                                                   rows_of(drifted.of(what), cols), residual));
        step();
      };
      model.at().look_into_attend(i, drifted);
      quantize(part::qkv, {});
      model.at().look_into_attend(i, drifted);
      quantize(part::attention_output, rows_of(before, c.width));
      model.at().attend(i);
      model.at().look_into_feed_forward(i, drifted);
      quantize(part::gate, {});
      quantize(part::up, {});
      model.at().look_into_feed_forward(i, drifted);
      quantize(part::down, rows_of(middle, c.width));
      model.at().feed_forward(i);
    }
  }

  candidate of_output;
  of_output.format = output;
  of_output.how = method::gptq;
  const llm::tensor_shape shape = llm::shape_of(c, part::output);
  quantized_layer shared;    // by the plans without compensation
  at.finish();
  for (std::size_t k = 0; k < plans.size(); ++k) {
    if (!plans[k].by_hessian) continue;
    const stopwatch time(results[k].seconds);
    of_output.compensated = growing[k] != nullptr;
    if (growing[k] != nullptr) {
      growing[k]->at().finish();
      results[k].output =
          growing[k]->quantize({part::output, 0}, of_output, at.hidden(), growing[k]->at().hidden(), {});
      continue;
    }
    if (shared.weights == nullptr) {
      const llm::array<float> weights = weights_of(reference.file(), {part::output, 0}, threads);
      shared = quantize_layer(layer_data({weights.data(), shape.rows, shape.cols}, at.hidden(), threads), of_output);
    }
    results[k].output = shared;
  }
  return results;
}

}    // namespace compare
