#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "output.hpp"
#include "report.hpp"

namespace compare {
namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  if constexpr (sizeof...(args) == 0) {
    return format;
  } else {
    char text[160];
    std::snprintf(text, sizeof text, format, args...);
    return text;
  }
}

}    // namespace

std::string table_of(const study& s) {
  const finding& reference = s.findings[0];
  std::vector<std::vector<std::string>> cells{
      {"candidate", "MB", "bits", "prompt tok/s", "decode tok/s", "perplexity", "KL, nats", "top-1", "same tokens"}};
  for (const finding& f : s.findings) {
    const bool self = &f == &reference;
    cells.push_back({f.name + (f.flattered ? " *" : ""),
                     print(f.total < 10000000 ? "%.2f" : "%.1f", static_cast<double>(f.total) * 1e-6),
                     print("%.2f", f.layer_bits), print("%.0f", f.prompt_speed), print("%.1f", f.decode_speed),
                     print("%.3f", f.perplexity) +
                         (self ? ""
                               : print(" (%+.2f +- %.2f %%)", 100 * (f.perplexity / reference.perplexity - 1),
                                       100 * f.change_error)),
                     self ? "-" : print("%.5f", f.divergence), self ? "-" : print("%.1f %%", 100 * f.top1),
                     self ? "-" : print("%zu of %zu", f.same_tokens, s.generated_tokens)});
  }
  std::vector<std::size_t> width(cells[0].size());
  for (const auto& line : cells)
    for (std::size_t i = 0; i < line.size(); ++i) width[i] = std::max(width[i], line[i].size());
  std::string text = s.model + "\n\n";
  for (std::size_t l = 0; l < cells.size(); ++l) {
    for (std::size_t i = 0; i < cells[l].size(); ++i) {
      const std::string padding(width[i] - cells[l][i].size(), ' ');
      text += (i == 0 ? cells[l][i] + padding : padding + cells[l][i]) + (i + 1 == cells[l].size() ? "\n" : "  ");
    }
    if (l != 0) continue;
    for (std::size_t i = 0; i < width.size(); ++i)
      text += std::string(width[i], '-') + (i + 1 == width.size() ? "\n" : "  ");
  }
  text += print(
      "\nMB: all weights held, scales, padding and the output layer included. bits: of a weight of the linear "
      "layers. ");
  text += print("Changes of perplexity: with the standard error of %zu tokens' differences; ", s.measured_tokens);
  text += "KL and top-1 are against fp32. same tokens: greedy text before it first differs from fp32's.\n";
  text += print("Speeds: medians of %zu rounds in turn, a prompt of %zu tokens, %zu tokens decoded; %zu threads, %s.\n",
                s.rounds, s.prompt_tokens, s.decode_tokens, s.threads, s.backend.c_str());
  for (const finding& f : s.findings) text += "  " + f.name + ": " + f.description + "\n";
  if (std::any_of(s.findings.begin(), s.findings.end(), [](const finding& f) { return f.flattered; }))
    text +=
        "* flattered: the file holds these weights on 16 levels per group already, so another 4 bits lose less than "
        "they would of the original weights.\n";
  text += "\nRecommended: " + s.recommendation + ". " + s.reason + "\n";
  return text;
}

void check_writable(const std::string& path) {
  if (!std::ofstream(path, std::ios::binary | std::ios::app)) throw std::runtime_error(path + ": cannot be written");
}

void write_file(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << content) || !file.flush()) throw std::runtime_error(path + ": cannot be written");
}

}    // namespace compare
