// The linear layers of a model and where their weights come from: one tensor, or several, one below the other.
#pragma once

#include <string>
#include <vector>

#include "model_file.hpp"
#include "row_pieces.hpp"

namespace llm {

/// The products of a layer, in order, and that of the output.
enum class part {
  qkv,    ///< query, key and value rows, one below the other: one product instead of three
  attention_output,
  gate,
  up,
  down,
  output
};

/// One of a model's linear layers; `layer` is 0 for the output.
struct linear_id {
  part what = part::qkv;
  std::size_t layer = 0;
};

/// "qkv", "attention_output", "gate", "up", "down" or "output".
const char* name_of(part what);

/// The five of each layer, layer by layer; without the output.
std::vector<linear_id> linears_of(const model_config& config);

/// Outputs and inputs.
tensor_shape shape_of(const model_config& config, part what);

/// Reads its rows. The file must outlive the reader.
row_reader reader_of(const model_file& file, linear_id id);

}    // namespace llm
