#include "commands.hpp"

#include <chrono>
#include <cstdio>
#include <stdexcept>

#include "engine.hpp"
#include "sampler.hpp"

namespace llm {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}    // namespace

void run_command(const common_options& common, const run_options& options) {
  engine e(common);
  const model_format format = e.format_of(options.precision);
  const running_model model = e.run(format);
  running_text& s = *model.text;
  sampler choose(options.temperature, options.seed);
  const std::vector<token> prompt = e.prompt_of(options.prompt, options.chat);
  if (prompt.empty()) throw std::runtime_error("the prompt is empty, and this model has no begin-of-text token");
  if (prompt.size() > s.capacity()) {
    throw std::runtime_error("the prompt has " + std::to_string(prompt.size()) + " tokens, more than the " +
                             std::to_string(s.capacity()) + " positions of the context (--context)");
  }

  const auto prompt_begin = std::chrono::steady_clock::now();
  token next = s.next(prompt.data(), prompt.size(), choose);
  const double prompt_seconds = seconds_since(prompt_begin);

  if (!options.chat) std::fwrite(options.prompt.data(), 1, options.prompt.size(), stdout);
  std::size_t generated = 0;
  const auto decode_begin = std::chrono::steady_clock::now();
  while (generated < options.tokens && !e.tokens().is_end(next) && s.position() < s.capacity()) {
    const std::string piece = e.tokens().decode(next, generated == 0 && options.prompt.empty());
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
    next = s.next(&next, 1, choose);
    ++generated;
  }
  const double decode_seconds = seconds_since(decode_begin);
  std::fputc('\n', stdout);
  std::fprintf(stderr, "%s; prompt: %zu tokens, %.1f tok/s; decoding: %zu tokens, %.1f tok/s\n",
               e.describe(format.layers).c_str(), prompt.size(), static_cast<double>(prompt.size()) / prompt_seconds,
               generated, generated == 0 ? 0.0 : static_cast<double>(generated) / decode_seconds);
}

void perplexity_command(const common_options& common, const std::vector<std::string>& precisions,
                        const std::string& text) {
  const std::string content = read_text(text);
  engine e(common);
  for (const std::string& precision : precisions) {
    const model_format format = e.format_of(precision);
    const running_model model = e.run(format);
    const double value = perplexity_of(e, *model.text, precision, content);
    std::printf("%-5s perplexity %.4f  (%s; output layer: %s)\n", precision.c_str(), value,
                e.describe(format.layers).c_str(), e.describe(format.output).c_str());
    std::fflush(stdout);
  }
}

}    // namespace llm
