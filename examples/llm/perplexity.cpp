#include "perplexity.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "memory.hpp"
#include "simd.hpp"
#include "utf8.hpp"

namespace llm {
namespace {

constexpr std::size_t block_bytes = 900, longest_join = 1200, longest_block = 1500;

/// Paragraphs: what lies between blank lines.
std::vector<std::string> paragraphs_of(const std::string& text) {
  std::vector<std::string> paragraphs;
  std::string current;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      if (!current.empty()) paragraphs.push_back(std::move(current));
      current.clear();
    } else {
      if (!current.empty()) current += '\n';
      current += line;
    }
    at = end + 1;
  }
  if (!current.empty()) paragraphs.push_back(std::move(current));
  return paragraphs;
}

}    // namespace

std::vector<std::string> cut_into_blocks(const std::string& text) {
  std::vector<std::string> blocks;
  std::string block;
  const auto finish = [&] {
    while (block.size() > longest_block) {    // cut at the last space or line end that fits, or else between characters
      std::size_t end = block.find_last_of(" \n", longest_block);
      if (end == std::string::npos || end == 0)
        for (end = longest_block; end > longest_block - 4 && utf8_length(block, end) == 0;) --end;
      blocks.push_back(block.substr(0, end));
      block.erase(0, end);
    }
    if (!block.empty()) blocks.push_back(std::move(block));
    block.clear();
  };
  for (const std::string& paragraph : paragraphs_of(text)) {
    if (!block.empty() && block.size() + 2 + paragraph.size() > longest_join) finish();
    if (!block.empty()) block += "\n\n";
    block += paragraph;
    if (block.size() >= block_bytes) finish();
  }
  finish();
  return blocks;
}

double perplexity_result::value() const {
  if (tokens == 0) return std::numeric_limits<double>::quiet_NaN();
  return std::exp(negative_log_likelihood / static_cast<double>(tokens));
}

double negative_log_likelihood(const float* logits, std::size_t count, token target) {
  const float largest = *std::max_element(logits, logits + count);
  const std::size_t whole = count / lanes * lanes;
  vec sums(0.0f);
  for (std::size_t i = 0; i < whole; i += lanes) sums += xsimd::exp(load(logits + i) - vec(largest));
  double sum = static_cast<double>(sum_of(sums));
  for (std::size_t i = whole; i < count; ++i) sum += std::exp(static_cast<double>(logits[i] - largest));
  return std::log(sum) - static_cast<double>(logits[target] - largest);
}

perplexity_result measure_perplexity(running_text& s, const model_config& config, const tokenizer& tokens,
                                     const std::vector<std::string>& blocks, executor& threads,
                                     const std::function<void(double, double)>& progress) {
  constexpr std::size_t rows_at_once = 32;    // logits are as wide as the vocabulary: not too many rows of them
  array<float> logits(rows_at_once * config.vocabulary);
  double losses[rows_at_once];
  perplexity_result result;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    std::vector<token> text = tokens.encode(blocks[b]);
    if (tokens.data().add_bos && tokens.data().bos >= 0) text.insert(text.begin(), tokens.data().bos);
    if (text.size() > s.capacity()) text.resize(s.capacity());
    s.reset();
    for (std::size_t first = 0; first + 1 < text.size();) {    // the last token predicts nothing that is known
      const std::size_t count = std::min(s.batch(), text.size() - 1 - first);
      const auto hidden = s.forward(text.data() + first, count);
      // logits() takes another input than forward() left behind; the hidden states stay as they are.
      for (std::size_t row = 0; row < count; row += rows_at_once) {
        const std::size_t rows = std::min(rows_at_once, count - row);
        s.logits({hidden.row(row), rows, config.width}, {logits.data(), rows, config.vocabulary});
        for_each_slice(threads, rows, [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r)
            losses[r] = negative_log_likelihood(logits.data() + r * config.vocabulary, config.vocabulary,
                                                text[first + row + r + 1]);
        });
        for (std::size_t r = 0; r < rows; ++r) result.negative_log_likelihood += losses[r];
        result.tokens += rows;
      }
      first += count;
    }
    if (progress) progress(static_cast<double>(b + 1) / static_cast<double>(blocks.size()), result.value());
  }
  return result;
}

}    // namespace llm
