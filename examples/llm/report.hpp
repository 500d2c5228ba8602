// The comparison of precisions, as a table.
#pragma once

#include <string>
#include <vector>

#include "transformer.hpp"

namespace llm {

/// One row: a model held in one format, and what was measured with it. Figures that were not measured are 0.
struct report_row {
  std::string precision;      ///< name_of(...)
  std::string description;    ///< of the layers' format
  std::string output;         ///< of the output layer's format
  double bits_per_weight = 0;
  double megabytes = 0;       ///< 10^6 bytes of weights
  double prompt_speed = 0;    ///< tokens per second
  double decode_speed = 0;    ///< tokens per second
  double perplexity = 0;
  std::string words;         ///< the first ones generated
  bool flattered = false;    ///< the model file had no more levels than this format: marked in the table
};

/// The table: one line per row, with ratios to the bf16 row (the first row if there is none) behind the figures.
std::string format_table(const std::vector<report_row>& rows);

/// Text on one line, at most `width` characters, whole words where possible.
std::string one_line(const std::string& text, std::size_t width);

}    // namespace llm
