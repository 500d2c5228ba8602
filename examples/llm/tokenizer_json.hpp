#pragma once

#include <string>

#include "tokenizer.hpp"

namespace llm {

/// Reads tokenizer.json (Hugging Face tokenizers, model type BPE) and, where it is there, tokenizer_config.json from a
/// folder. Throws std::runtime_error naming what is missing or unsupported.
tokenizer_data read_tokenizer_json(const std::string& folder);

}    // namespace llm
