#include <algorithm>
#include <cstdio>

#include "engine.hpp"
#include "measure.hpp"
#include "progress.hpp"
#include "sampler.hpp"

namespace llm {
namespace {

struct candidate {
  report_row row;
  running_model model;
  std::vector<double> prompt_speeds, decode_speeds;
  std::vector<double> prompt_overheads, decode_overheads;    // over the time of products alone; on a CPU only
};

std::string generate(engine& e, running_text& s, const std::string& prompt, std::size_t count) {
  const std::vector<token> tokens = e.prompt_of(prompt, false);
  sampler greedy(0, 0);
  s.reset();
  std::vector<token> out;
  token next = s.next(tokens.data(), tokens.size(), greedy);
  while (out.size() < count && !e.tokens().is_end(next) && s.position() < s.capacity()) {
    out.push_back(next);
    next = s.next(&next, 1, greedy);
  }
  return e.tokens().decode(out);
}

/// `count` tokens to measure speeds with: a text, repeated if it is short.
std::vector<token> tokens_to_time(engine& e, const std::string& text, std::size_t count) {
  std::vector<token> tokens = e.prompt_of(text, false);
  if (tokens.empty()) tokens.push_back(0);
  const std::size_t period = tokens.size();
  tokens.resize(std::max<std::size_t>(count, 1));
  for (std::size_t i = period; i < tokens.size(); ++i) tokens[i] = tokens[i - period];
  return tokens;
}

void print_notes(const std::vector<candidate>& candidates, const std::vector<double>& bandwidths,
                 const compare_options& options, bool perplexity) {
  std::printf(
      "\nRatios and changes are against bf16 (the first row where it is missing). Speeds: medians of %zu rounds that "
      "take "
      "turns; a prompt of %zu tokens, %zu tokens decoded.\n"
      "Weights counted: all layers, norms and the output layer, with scales and padding. Embedding rows are "
      "looked up in the model file and not counted.\n",
      options.rounds, options.prompt_tokens, options.decode_tokens);
  bool flattered = false;
  for (const candidate& c : candidates) {
    flattered = flattered || c.row.flattered;
    std::printf("  %-5s %s; output layer: %s\n", c.row.precision.c_str(), c.row.description.c_str(),
                c.row.output.c_str());
  }
  if (flattered) {
    std::printf(
        "* flattered: the model file holds these weights on 16 levels per group already, so another 4 bits lose "
        "less than they would of the original weights%s.\n",
        perplexity ? " (perplexity and words alike)" : "");
  }
  for (const candidate& c : candidates) {
    if (c.prompt_overheads.empty()) continue;
    std::printf("%s: the prompt takes %.2f, a decoded token %.2f times as long as the products alone.\n",
                c.row.precision.c_str(), median(c.prompt_overheads), median(c.decode_overheads));
  }
  for (const candidate& c : candidates) {
    if (c.row.precision != "bf16" && c.row.precision != "fp32" && c.row.precision != "fp16") continue;
    // Each round's speed over the same round's bandwidth: both move with what else the machine does.
    std::vector<double> shares;
    for (std::size_t i = 0; i < bandwidths.size(); ++i)
      shares.push_back(c.decode_speeds[i] * static_cast<double>(c.model.bytes) / bandwidths[i]);
    std::printf("%s decoding reads weights at %.1f GB/s, %.0f %% of the %.1f GB/s that reading memory alone reaches.\n",
                c.row.precision.c_str(), median(c.decode_speeds) * static_cast<double>(c.model.bytes) * 1e-9,
                100 * median(shares), median(bandwidths) * 1e-9);
  }
}

}    // namespace

void compare_command(const common_options& common, const compare_options& options) {
  const std::string text = options.text.empty() ? std::string() : read_text(options.text);
  engine e(common);
  std::vector<candidate> candidates;
  for (const std::string& precision : options.precisions) {
    const model_format format = e.format_of(precision);
    candidate c;
    c.model = e.run(format);
    c.row.precision = precision;
    c.row.description = e.describe(format.layers);
    c.row.output = e.describe(format.output);
    c.row.bits_per_weight = 8.0 * static_cast<double>(c.model.bytes) / static_cast<double>(c.model.weights);
    c.row.megabytes = static_cast<double>(c.model.bytes) * 1e-6;
    c.row.flattered = format.layers.what == precision::int4 && e.stored_in(4);
    c.row.words = one_line(generate(e, *c.model.text, options.prompt, options.words), 60);
    candidates.push_back(std::move(c));
  }

  const std::size_t capacity = e.context();
  const auto prompt = tokens_to_time(e, text.empty() ? options.prompt : text.substr(0, 16 * options.prompt_tokens),
                                     std::min(options.prompt_tokens, capacity));
  const std::vector<token> start(
      prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(prompt.size(), 64)));
  const std::size_t decoded = std::min(options.decode_tokens, capacity - start.size());
  std::vector<double> bandwidths;
  const std::function<double()> probe = e.bandwidth_probe();
  progress_bar bar("timing");
  for (std::size_t round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      candidate& c = candidates[i];
      c.prompt_speeds.push_back(prompt_speed(*c.model.text, prompt));
      c.decode_speeds.push_back(decode_speed(*c.model.text, start, decoded));
      if (auto* const s = dynamic_cast<session*>(c.model.text.get())) {
        c.prompt_overheads.push_back(prompt_products_speed(*s, prompt.size()) / c.prompt_speeds.back());
        c.decode_overheads.push_back(decode_products_speed(*s, decoded) / c.decode_speeds.back());
      }
      bar.update(static_cast<double>(round * candidates.size() + i + 1) /
                 static_cast<double>(options.rounds * candidates.size()));
    }
    bandwidths.push_back(probe());
  }
  bar.finish(std::to_string(options.rounds) + " rounds");

  std::vector<report_row> rows;
  for (candidate& c : candidates) {
    c.row.prompt_speed = median(c.prompt_speeds);
    c.row.decode_speed = median(c.decode_speeds);
    if (!text.empty()) c.row.perplexity = perplexity_of(e, *c.model.text, c.row.precision, text);
    rows.push_back(c.row);
  }
  std::printf("\n%s\nprompt: %s\n\n%s", e.config().name.c_str(), options.prompt.c_str(), format_table(rows).c_str());
  print_notes(candidates, bandwidths, options, !text.empty());
}

}    // namespace llm
