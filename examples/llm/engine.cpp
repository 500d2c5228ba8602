#include "engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "cuda_text.hpp"
#include "measure.hpp"
#include "perplexity.hpp"
#include "progress.hpp"
#include "quantized_matrix.hpp"

namespace llm {
namespace {

std::size_t thread_count(std::size_t asked) {
  if (asked != 0) return asked;
  return std::max(1u, std::thread::hardware_concurrency());
}

std::string print_megabytes(std::size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) * 1e-6);
  return text;
}

/// Loads a model by make(progress), with a progress bar.
template <class Make>
auto with_progress(const model_format& format, Make&& make) {
  progress_bar bar("loading as " + name_of(format.layers.what));
  const auto begin = std::chrono::steady_clock::now();
  auto model = make(
      [&](std::size_t done, std::size_t total) { bar.update(static_cast<double>(done) / static_cast<double>(total)); });
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f s",
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  bar.finish(print_megabytes(model->bytes()) + " in " + seconds);
  return model;
}

}    // namespace

engine::engine(const common_options& options)
    : options_(options),
      threads_(thread_count(options.threads)),
      file_(open_model(options.model)),
      tokens_(file_->tokenizer()) {
  const model_config& c = config();
  std::fprintf(stderr, "%s: %zu layers, hidden size %zu, %zu heads (%zu key-value), vocabulary %zu, %s stored as %s\n",
               c.name.c_str(), c.layers, c.width, c.heads, c.kv_heads, c.vocabulary,
               print_megabytes(file_->bytes()).c_str(), file_->type_name({role::gate, 0}).c_str());
  if (options.where == device::cuda)
    std::fprintf(stderr, "on %s\n", cuda_device().c_str());
  else
    std::fprintf(stderr, "%zu threads, qlite backend %s\n", threads_.concurrency(), backend_name());
}

std::size_t engine::context() const { return std::min(options_.context, config().context); }

model_format engine::format_of(const std::string& precision) const {
  model_format format;
  format.layers = parse_format(precision, options_.format);
  // 4-bit models keep the output layer at more bits: llama.cpp's Q4 files have it in Q6_K, most GPTQ and AWQ ones in
  // 16 bits.
  const auto what = format.layers.what == llm::precision::int4 ? llm::precision::int8 : format.layers.what;
  // One row of logits per token is all that generating text needs, so there is little arithmetic per weight that is
  // read, and float activations cost little; the logits stay clear of the activations' rounding.
  format_options plain;
  plain.weight_only = true;
  const std::string output = options_.output == "auto" ? name_of(what) : options_.output;
  format.output = parse_format(output, plain);
  check_device(format.layers, precision, options_.where);
  check_device(format.output, output, options_.where);
  return format;
}

std::unique_ptr<transformer> engine::load(const model_format& format) {
  return with_progress(format, [&](const load_progress& progress) {
    return std::make_unique<transformer>(file_, format, threads_, progress);
  });
}

running_model engine::run(const model_format& format) {
  running_model running;
  if (options_.where == device::cuda) {
    auto text = with_progress(format, [&](const load_progress& progress) {
      return make_cuda_text(file_, format, context(), options_.batch, threads_, progress);
    });
    running.weights = text->weights();
    running.bytes = text->bytes();
    running.text = std::move(text);
  } else {
    const std::shared_ptr<const transformer> model = load(format);
    running.weights = model->weights();
    running.bytes = model->bytes();
    running.text = std::make_unique<session>(start(*model));
    running.model = model;
  }
  return running;
}

std::function<double()> engine::bandwidth_probe() {
  if (options_.where == device::cuda) return cuda_bandwidth_probe();
  auto probe = std::make_shared<llm::bandwidth_probe>(threads_);
  return [probe] { return probe->bytes_per_second(); };
}

session engine::start(const transformer& model) {
  return session(model, context(), options_.batch, threads_, options_.cache);
}

std::vector<token> engine::prompt_of(const std::string& text, bool chat) const {
  const tokenizer_data& data = tokens_.data();
  std::vector<token> prompt;
  if (chat) {
    if (!data.chat_markup)
      throw std::runtime_error(
          "--chat: the model does not say that it knows ChatML (<|im_start|> in its chat template)");
    prompt = tokens_.encode("<|im_start|>user\n" + text + "<|im_end|>\n<|im_start|>assistant\n", true);
  } else {
    prompt = tokens_.encode(text);
  }
  if (data.bos >= 0 && !chat && (data.add_bos || prompt.empty())) prompt.insert(prompt.begin(), data.bos);
  return prompt;
}

bool engine::stored_in(int bits) const {
  std::size_t few = 0;
  std::size_t all = 0;
  for (std::size_t i = 0; i < config().layers; ++i) {
    for (const role what :
         {role::query, role::key, role::value, role::attention_output, role::gate, role::up, role::down}) {
      const tensor_shape shape = shape_of(config(), what);
      all += shape.rows * shape.cols;
      if (file_->code_bits({what, i}) <= bits) few += shape.rows * shape.cols;
    }
  }
  return 2 * few > all;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) throw std::runtime_error(path + ": cannot be read, or is empty");
  return text.str();
}

double perplexity_of(engine& e, running_text& s, const std::string& label, const std::string& text) {
  progress_bar bar("perplexity " + label);
  const auto result = measure_perplexity(s, e.config(), e.tokens(), cut_into_blocks(text), e.threads(),
                                         [&](double share, double so_far) {
                                           char note[32];
                                           std::snprintf(note, sizeof note, "%.3f", so_far);
                                           bar.update(share, note);
                                         });
  char note[64];
  std::snprintf(note, sizeof note, "%.4f over %zu tokens", result.value(), result.tokens);
  bar.finish(note);
  return result.value();
}

}    // namespace llm
