#include "report.hpp"

#include <algorithm>
#include <cstdio>

#include "utf8.hpp"

namespace llm {
namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[64];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

/// "123.4 (1.50x)"; the ratio is left out for the row that others are compared with.
std::string with_ratio(double value, double reference, bool is_reference) {
  if (value <= 0) return "-";
  std::string text = print(value < 100 ? "%.1f" : "%.0f", value);
  text += is_reference || reference <= 0 ? std::string("        ") : print(" (%.2fx)", value / reference);
  return text;
}

/// "12.345 (+0.12 %)"
std::string with_change(double value, double reference, bool is_reference) {
  if (!(value > 0)) return "-";
  std::string text = print("%.3f", value);
  text += is_reference || !(reference > 0) ? std::string("           ")
                                           : print(" (%+.2f %%)", 100 * (value / reference - 1));
  return text;
}

/// Columns of a text on a terminal: its characters.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

}    // namespace

std::string one_line(const std::string& text, std::size_t width) {
  std::string line;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (!space)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  if (width_of(line) <= width) return line;
  std::size_t end = 0;
  for (std::size_t columns = 0; columns < width; ++columns) end += std::max<std::size_t>(utf8_length(line, end), 1);
  const std::size_t word = line.rfind(' ', end);
  return line.substr(0, word == std::string::npos || word == 0 ? end : word);
}

std::string format_table(const std::vector<report_row>& rows) {
  if (rows.empty()) return {};
  const auto bf16 = std::find_if(rows.begin(), rows.end(), [](const report_row& r) { return r.precision == "bf16"; });
  const report_row& reference = bf16 == rows.end() ? rows.front() : *bf16;
  std::vector<std::vector<std::string>> cells{
      {"precision", "bits/weight", "MB", "prompt tok/s", "decode tok/s", "perplexity", "first words"}};
  for (const report_row& row : rows) {
    const bool self = &row == &reference;
    cells.push_back({row.precision + (row.flattered ? " *" : "  "), print("%.2f", row.bits_per_weight),
                     with_ratio(row.megabytes, reference.megabytes, self),
                     with_ratio(row.prompt_speed, reference.prompt_speed, self),
                     with_ratio(row.decode_speed, reference.decode_speed, self),
                     with_change(row.perplexity, reference.perplexity, self) + (row.flattered ? "*" : " "), row.words});
  }
  std::vector<std::size_t> width(cells[0].size());
  for (const auto& line : cells)
    for (std::size_t i = 0; i < line.size(); ++i) width[i] = std::max(width[i], width_of(line[i]));
  std::string table;
  for (std::size_t l = 0; l < cells.size(); ++l) {
    for (std::size_t i = 0; i < cells[l].size(); ++i) {
      const std::string padding(width[i] - width_of(cells[l][i]), ' ');
      const bool text = i == 0 || i + 1 == cells[l].size();    // words to the left, figures to the right
      table += text ? cells[l][i] + (i == 0 ? padding : std::string()) : padding + cells[l][i];
      table += i + 1 == cells[l].size() ? "\n" : "  ";
    }
    if (l > 0) continue;
    for (std::size_t i = 0; i < width.size(); ++i)
      table += std::string(width[i], '-') + (i + 1 == width.size() ? "\n" : "  ");
  }
  return table;
}

}    // namespace llm
