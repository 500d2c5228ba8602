#include "study.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "engine.hpp"
#include "measure.hpp"
#include "perplexity.hpp"
#include "progress.hpp"
#include "quantize_model.hpp"
#include "recommend.hpp"
#include "report.hpp"
#include "sampler.hpp"

namespace ql = qlite;

namespace compare {
namespace {

using texts = std::vector<std::vector<llm::token>>;

/// A model of the comparison, with what is measured on it.
struct runner {
  finding result;
  std::unique_ptr<llm::transformer> model;
  std::unique_ptr<llm::session> running;
  ql::perplexity likelihood, change;    // change: each token's difference from the float32 model
  ql::logit_metrics logits;
  std::vector<double> prompt_speeds, decode_speeds;
  std::vector<llm::token> greedy;
};

/// Blocks of a text as tokens, each with begin of text where the model wants it, at most `most` tokens in all.
texts tokenize(const llm::engine& e, const std::vector<std::string>& blocks, std::size_t longest, std::size_t most) {
  texts all;
  std::size_t tokens = 0;
  for (const std::string& block : blocks) {
    std::vector<llm::token> text = e.prompt_of(block, false);
    if (text.size() > longest) text.resize(longest);
    if (tokens + text.size() > most) text.resize(most - tokens);
    if (text.size() < 2) continue;
    tokens += text.size();
    all.push_back(std::move(text));
  }
  return all;
}

std::size_t count(const texts& all) {
  std::size_t tokens = 0;
  for (const auto& text : all) tokens += text.size();
  return tokens;
}

/// The texts to calibrate and to measure on, never the same blocks.
void read_texts(const study_options& options, const llm::engine& e, texts& calibration, texts& measured) {
  const std::size_t longest = std::min(e.context(), options.common.batch);
  std::vector<std::string> blocks = llm::cut_into_blocks(llm::read_text(options.text)), to_calibrate;
  if (options.calibration.empty()) {
    const auto third = static_cast<std::ptrdiff_t>(blocks.size() / 3);
    to_calibrate.assign(blocks.begin(), blocks.begin() + third);
    blocks.erase(blocks.begin(), blocks.begin() + third);
  } else {
    to_calibrate = llm::cut_into_blocks(llm::read_text(options.calibration));
  }
  calibration = tokenize(e, to_calibrate, longest, options.calibration_tokens);
  measured = tokenize(e, blocks, longest, options.text_tokens);
  if (calibration.empty())
    throw std::runtime_error((options.calibration.empty()
                                  ? options.text + ": its first third has nothing to calibrate on"
                                  : options.calibration + ": there is nothing to calibrate on") +
                             " (blocks of text end at blank lines)");
  if (measured.empty()) throw std::runtime_error(options.text + ": there is nothing to measure on");
}

/// The 16-bit model's description is the engine's; a quantized one says its method too.
std::string description_of(const candidate& c) {
  std::string text = llm::describe(c.format);
  const std::size_t comma = text.find(", ");
  if (!c.quantized() || comma == std::string::npos) return text;
  const char* const methods[] = {"",     "round to nearest",      "MSE clip",     "HQQ", "AWQ",
                                 "GPTQ", "AWQ's scales and GPTQ", "GPTQ, refined"};
  const std::size_t activations = text.find(", ", comma + 2);
  return text.substr(0, comma) + ", " + methods[static_cast<std::size_t>(c.how)] +
         (c.compensated ? ", earlier layers' errors made up for" : "") + text.substr(activations);
}

/// The index of a linear layer among llm::linears_of.
std::size_t index_of(llm::linear_id id) { return 5 * id.layer + static_cast<std::size_t>(id.what); }

class study_runner {
 public:
  explicit study_runner(const study_options& options) : options_(options), engine_(options.common) {
    for (const std::string& name : options.candidates) candidates_.push_back(parse_candidate(name));
    read_texts(options, engine_, calibration_, measured_);
  }

  study run() {
    describe_setting();
    add_float("fp32");
    add_float("bf16");
    quantize();
    if (options_.mixed) mix();
    measure_accuracy();
    generate();
    measure_speed();
    for (runner& r : runners_) result_.findings.push_back(std::move(r.result));
    recommend(result_);
    return std::move(result_);
  }

 private:
  void describe_setting();
  void add_float(const std::string& name);
  void quantize();
  void mix();
  void measure_accuracy();
  void generate();
  void measure_speed();
  void add(finding result, std::unique_ptr<llm::transformer> model);
  std::unique_ptr<llm::transformer> model_of(const quantized_layers& q);
  std::vector<candidate> quantized_candidates() const {
    std::vector<candidate> all;
    for (const candidate& c : candidates_)
      if (c.quantized()) all.push_back(c);
    return all;
  }

  study_options options_;
  llm::engine engine_;
  std::vector<candidate> candidates_;
  texts calibration_, measured_;
  std::vector<runner> runners_;
  std::vector<quantized_layers> quantized_;    // of quantized_candidates()
  llm::linear output8_;                        // INT8, rounded to nearest: shared by all that do not calibrate it
  study result_;
};

void study_runner::describe_setting() {
  const llm::model_config& c = engine_.config();
  result_.model = c.name;
  result_.file = options_.common.model;
  result_.text = options_.text;
  result_.calibration = options_.calibration.empty() ? options_.text + " (first third)" : options_.calibration;
  result_.threads = engine_.threads().concurrency();
  result_.backend = llm::backend_name();
  result_.layers = c.layers;
  result_.width = c.width;
  result_.vocabulary = c.vocabulary;
  result_.file_bytes = engine_.file().bytes();
  for (const llm::linear_id id : llm::linears_of(c)) {
    const llm::tensor_shape shape = llm::shape_of(c, id.what);
    result_.linear_weights += shape.rows * shape.cols;
  }
  result_.calibrated_tokens = count(calibration_);
  result_.generated_tokens = options_.words;
  result_.prompt = options_.prompt;
}

void study_runner::add(finding f, std::unique_ptr<llm::transformer> model) {
  const llm::model_config& c = engine_.config();
  f.total = model->bytes();
  f.output = model->output().bytes();
  f.norms = (2 * c.layers + 1) * c.width * sizeof(float);
  f.layer_bits = 8.0 * static_cast<double>(f.total - f.output - f.norms) / static_cast<double>(result_.linear_weights);
  f.cache_per_token = ql::kv_cache_shape(c.layers, c.kv_heads, c.head_dim, 32).bytes_per_token();
  runner r;
  r.result = std::move(f);
  r.model = std::move(model);
  r.running = std::make_unique<llm::session>(engine_.start(*r.model));
  runners_.push_back(std::move(r));
}

void study_runner::add_float(const std::string& name) {
  const llm::model_format format = engine_.format_of(name);
  finding f;
  f.name = name;
  f.description = llm::describe(format.layers);
  auto model = engine_.load(format);
  f.layers.codes = result_.linear_weights * (name == "bf16" ? 2 : 4);
  add(std::move(f), std::move(model));
}

std::unique_ptr<llm::transformer> study_runner::model_of(const quantized_layers& q) {
  return std::make_unique<llm::transformer>(runners_[0].model->shared_file(), [&](llm::linear_id id) {
    if (id.what != llm::part::output) return q.layers[index_of(id)].linear();
    return q.output.weights == nullptr ? output8_ : q.output.linear();
  });
}

void study_runner::quantize() {
  const std::vector<candidate> all = quantized_candidates();
  llm::progress_bar bar("calibrating and quantizing " + std::to_string(all.size()) + " candidates");
  const llm::model_format with_output = engine_.format_of("int4");
  quantized_ = quantize_model(*runners_[0].model, *runners_[0].running, calibration_, {all.begin(), all.end()},
                              with_output.output, engine_.threads(), [&](double share) { bar.update(share); });
  bar.finish(std::to_string(result_.calibrated_tokens) + " tokens");

  const llm::tensor_shape shape = llm::shape_of(engine_.config(), llm::part::output);
  output8_ = llm::linear(shape.rows, shape.cols, with_output.output,
                         llm::reader_of(engine_.file(), {llm::part::output, 0}), engine_.threads());
  for (std::size_t k = 0; k < all.size(); ++k) {
    finding f;
    f.name = all[k].name;
    f.description = description_of(all[k]);
    f.quantized = true;
    f.flattered = all[k].format.what == llm::precision::int4 && engine_.stored_in(4);
    f.quantize_seconds = quantized_[k].seconds;
    for (const quantized_layer& layer : quantized_[k].layers) {
      f.layers += layer.memory;
      if (layer.factors != nullptr) f.factors += layer.factors->size() * sizeof(float);
    }
    add(std::move(f), model_of(quantized_[k]));
  }
  for (const candidate& c : all) {
    result_.layer_candidates.push_back(c.name);
    result_.compensated = result_.compensated || c.compensated;
  }
  for (const llm::linear_id id : llm::linears_of(engine_.config())) {
    layer_finding f;
    f.id = id;
    for (const quantized_layers& q : quantized_) f.options.push_back(q.layers[index_of(id)].cost);
    result_.layer_findings.push_back(std::move(f));
  }
}

void study_runner::mix() {
  const std::vector<candidate> all = quantized_candidates();
  if (all.size() < 2) return;
  std::vector<ql::layer_option> options;
  std::size_t smallest = 0, largest = 0;
  for (const layer_finding& layer : result_.layer_findings) {
    options.insert(options.end(), layer.options.begin(), layer.options.end());
    const auto fewer = [](const ql::layer_option& a, const ql::layer_option& b) { return a.bytes < b.bytes; };
    smallest += std::min_element(layer.options.begin(), layer.options.end(), fewer)->bytes;
    largest += std::max_element(layer.options.begin(), layer.options.end(), fewer)->bytes;
  }
  // A quarter of the way from the smallest to the largest: few layers get the larger form, if the budget is not given.
  std::size_t budget = smallest + (largest - smallest) / 4;
  if (options_.budget_bits > 0) {
    budget = static_cast<std::size_t>(options_.budget_bits / 8 * static_cast<double>(result_.linear_weights));
    if (budget < smallest) {
      char message[160];
      std::snprintf(
          message, sizeof message, "--budget: %.3f bits a weight, expected at least %.3f (the smallest candidate)",
          options_.budget_bits, 8.0 * static_cast<double>(smallest) / static_cast<double>(result_.linear_weights));
      throw std::runtime_error(message);
    }
  }
  std::vector<std::size_t> chosen(result_.layer_findings.size());
  const auto summary = ql::assign_under_bytes({options.data(), chosen.size(), all.size()}, budget, chosen.data());
  result_.mixed_budget = budget;
  result_.mixed_bound = summary.lower_bound;
  finding f;
  f.name = "mixed";
  f.quantized = true;
  std::vector<std::size_t> counts(all.size());
  bool compensated = false, by_hessian = false;
  quantized_layers mixed;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const quantized_layers& from = quantized_[chosen[i]];
    compensated = compensated || all[chosen[i]].compensated;
    by_hessian = by_hessian || all[chosen[i]].by_hessian();
    mixed.layers.push_back(from.layers[i]);
    if (from.output.weights != nullptr) mixed.output = from.output;
  }
  for (const quantized_layers& q : quantized_) f.quantize_seconds += q.seconds;
  if (compensated) {    // what a layer has to make up for depends on the choices for the others; then all of them do
    llm::progress_bar bar("quantizing the mixed model");
    std::vector<candidate> own = all;
    for (candidate& c : own) c.compensated = true;
    const layer_plan plan([&](llm::linear_id id) -> const candidate& { return own[chosen[index_of(id)]]; }, true,
                          by_hessian);
    mixed = std::move(quantize_model(*runners_[0].model, *runners_[0].running, calibration_, {plan},
                                     engine_.format_of("int4").output, engine_.threads(),
                                     [&](double share) { bar.update(share); })
                          .front());
    bar.finish("");
    f.quantize_seconds += mixed.seconds;
  }
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const quantized_layer& layer = mixed.layers[i];
    result_.layer_findings[i].chosen = chosen[i];
    ++counts[chosen[i]];
    f.layers += layer.memory;
    if (layer.factors != nullptr) f.factors += layer.factors->size() * sizeof(float);
    f.flattered = f.flattered || (all[chosen[i]].format.what == llm::precision::int4 && engine_.stored_in(4));
  }
  for (std::size_t k = 0; k < all.size(); ++k)
    if (counts[k] > 0)
      f.description += (f.description.empty() ? "" : ", ") + std::to_string(counts[k]) + " layers " + all[k].name;
  if (compensated) f.description += "; all make up for the errors of earlier layers";
  add(std::move(f), model_of(mixed));
}

void study_runner::measure_accuracy() {
  const llm::model_config& c = engine_.config();
  constexpr std::size_t rows_at_once = 128;    // logits are as wide as the vocabulary
  llm::array<float> reference, logits(rows_at_once * c.vocabulary);
  llm::progress_bar bar("perplexity and divergence");
  std::size_t done = 0;
  const std::size_t tasks = engine_.threads().concurrency();
  for (const auto& text : measured_) {
    const std::size_t rows = text.size() - 1;    // the last token predicts nothing that is known
    result_.measured_tokens += rows;
    reference.require(rows * c.vocabulary);
    std::vector<double> original(rows);    // the float32 model's likelihoods
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      runner& r = runners_[i];
      r.running->reset();
      const auto hidden = r.running->forward(text.data(), rows);
      for (std::size_t first = 0; first < rows; first += rows_at_once) {
        const std::size_t n = std::min(rows_at_once, rows - first);
        float* const from_float = reference.data() + first * c.vocabulary;
        float* const own = i == 0 ? from_float : logits.data();
        r.running->logits({hidden.row(first), n, c.width}, {own, n, c.vocabulary});
        std::vector<ql::perplexity> likelihoods(tasks), changes(tasks);
        std::vector<ql::logit_metrics> metrics(tasks);
        engine_.threads().parallel_for(tasks, [&](std::size_t task) {
          for (std::size_t row = n * task / tasks; row < n * (task + 1) / tasks; ++row) {
            const std::size_t at = row * c.vocabulary;
            const auto target = static_cast<std::size_t>(text[first + row + 1]);
            const double nats = ql::negative_log_likelihood(own + at, c.vocabulary, target);
            if (i == 0) original[first + row] = nats;
            likelihoods[task].observe(nats);
            changes[task].observe(nats - original[first + row]);
            if (i != 0)
              ql::observe(metrics[task], ql::matrix_view<const float>{from_float + at, 1, c.vocabulary},
                          ql::matrix_view<const float>{own + at, 1, c.vocabulary});
          }
        });
        for (std::size_t task = 0; task < tasks; ++task) {
          r.likelihood.merge(likelihoods[task]);
          r.change.merge(changes[task]);
          r.logits.merge(metrics[task]);
        }
      }
      bar.update(static_cast<double>(++done) / static_cast<double>(measured_.size() * runners_.size()));
    }
  }
  bar.finish(std::to_string(result_.measured_tokens) + " tokens");
  for (runner& r : runners_) {
    r.result.perplexity = r.likelihood.value();
    r.result.change_error = r.change.standard_error();
    r.result.divergence = r.logits.mean_divergence();
    r.result.top1 = r.logits.top1_agreement();
    if (!std::isfinite(r.result.perplexity))
      throw std::runtime_error(r.result.name + ": the model's logits are not finite");
  }
}

void study_runner::generate() {
  const std::vector<llm::token> prompt = engine_.prompt_of(options_.prompt, false);
  if (prompt.empty()) throw std::runtime_error("the prompt is empty, and this model has no begin-of-text token");
  for (runner& r : runners_) {
    llm::sampler greedy(0, 0);
    r.running->reset();
    llm::token next = greedy.next(r.running->prompt(prompt.data(), prompt.size()), engine_.config().vocabulary);
    while (r.greedy.size() < options_.words && !engine_.tokens().is_end(next) &&
           r.running->position() < r.running->capacity()) {
      r.greedy.push_back(next);
      next = greedy.next(r.running->prompt(&next, 1), engine_.config().vocabulary);
    }
    r.result.continuation = engine_.tokens().decode(r.greedy);
    const auto& original = runners_[0].greedy;
    const std::size_t shorter = std::min(original.size(), r.greedy.size());
    while (r.result.same_tokens < shorter && original[r.result.same_tokens] == r.greedy[r.result.same_tokens])
      ++r.result.same_tokens;
  }
  result_.generated_tokens = runners_[0].greedy.size();
}

void study_runner::measure_speed() {
  std::vector<llm::token> prompt;
  for (const auto& text : measured_) prompt.insert(prompt.end(), text.begin(), text.end());
  const std::size_t capacity = engine_.context();
  while (prompt.size() < options_.prompt_tokens) prompt.insert(prompt.end(), prompt.begin(), prompt.end());
  prompt.resize(std::max<std::size_t>(1, std::min(options_.prompt_tokens, capacity - 1)));
  const std::vector<llm::token> start(
      prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(prompt.size(), 64)));
  const std::size_t decoded = std::min(options_.decode_tokens, capacity - start.size());
  result_.rounds = options_.rounds;
  result_.prompt_tokens = prompt.size();
  result_.decode_tokens = decoded;
  llm::progress_bar bar("timing");
  for (std::size_t round = 0; round < options_.rounds; ++round)
    for (std::size_t i = 0; i < runners_.size(); ++i) {    // in turn: the machine may be busier at times
      runner& r = runners_[i];
      r.prompt_speeds.push_back(llm::prompt_speed(*r.running, prompt));
      r.decode_speeds.push_back(llm::decode_speed(*r.running, start, decoded));
      bar.update(static_cast<double>(round * runners_.size() + i + 1) /
                 static_cast<double>(options_.rounds * runners_.size()));
    }
  bar.finish(std::to_string(options_.rounds) + " rounds");
  for (runner& r : runners_) {
    r.result.prompt_speed = llm::median(r.prompt_speeds);
    r.result.decode_speed = llm::median(r.decode_speeds);
  }
}

}    // namespace

study run_study(const study_options& options) { return study_runner(options).run(); }

}    // namespace compare
