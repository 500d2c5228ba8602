// Models in GGUF files (architecture "llama"). Names and keys: ggml's docs/gguf.md and llama.cpp's
// gguf-py/constants.py.
#include <qlite/interop/gguf.hpp>
#include <stdexcept>

#include "model_file.hpp"

namespace gguf = qlite::gguf;

namespace llm {
namespace {

/// A tensor's name without "blk.<layer>." and ".weight".
const char* stem_of(role what) {
  switch (what) {
    case role::embedding:
      return "token_embd";
    case role::output_norm:
      return "output_norm";
    case role::output:
      return "output";
    case role::attention_norm:
      return "attn_norm";
    case role::query:
      return "attn_q";
    case role::key:
      return "attn_k";
    case role::value:
      return "attn_v";
    case role::attention_output:
      return "attn_output";
    case role::ffn_norm:
      return "ffn_norm";
    case role::gate:
      return "ffn_gate";
    case role::up:
      return "ffn_up";
    case role::down:
      return "ffn_down";
  }
  return "";
}

/// Bits of a weight's code, or 0 for types that qlite does not decode.
int code_bits_of(gguf::tensor_type type) {
  switch (type) {
    case gguf::tensor_type::f32:
      return 32;
    case gguf::tensor_type::f16:
    case gguf::tensor_type::bf16:
      return 16;
    case gguf::tensor_type::q8_0:
      return 8;
    case gguf::tensor_type::q6_k:
      return 6;
    case gguf::tensor_type::q5_k:
      return 5;
    case gguf::tensor_type::q4_0:
    case gguf::tensor_type::q4_1:
    case gguf::tensor_type::q4_k:
      return 4;
    default:
      return 0;
  }
}

class gguf_model final : public model_file {
 public:
  explicit gguf_model(const std::string& path) : path_(path), file_(path.c_str()) {
    read_config();
    check_config(config_);
    check_biases();
    check_tensors(*this, path_, "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K or Q6_K");
  }

  const model_config& config() const override { return config_; }
  tokenizer_data tokenizer() const override;
  bool has(tensor_id id) const override { return file_.find(name(id)) != nullptr; }
  tensor_shape stored_shape(tensor_id id) const override {
    const gguf::tensor_info& tensor = file_.tensor(name(id));
    return {tensor.rows(), tensor.cols()};
  }
  std::string name(tensor_id id) const override {
    const bool global = id.what == role::embedding || id.what == role::output_norm || id.what == role::output;
    return (global ? "" : "blk." + std::to_string(id.layer) + ".") + stem_of(id.what) + ".weight";
  }
  std::string type_name(tensor_id id) const override { return gguf::format_of(file_.tensor(name(id)).type).name; }
  int code_bits(tensor_id id) const override { return code_bits_of(file_.tensor(name(id)).type); }
  void read_rows(tensor_id id, std::size_t first, qlite::matrix_view<float> out) const override {
    const gguf::tensor_info& tensor = file_.tensor(name(id));
    gguf::rows_to_float(tensor, file_.data(tensor), first, out);
  }
  std::size_t bytes() const override { return file_.bytes().size(); }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(path_ + ": " + what); }
  std::size_t number(const char* key) const {
    return static_cast<std::size_t>(file_.get_u64(std::string("llama.") + key));
  }
  std::size_t number_or(const char* key, std::size_t otherwise) const {
    return static_cast<std::size_t>(file_.get_u64_or(std::string("llama.") + key, otherwise));
  }
  void read_config();
  void check_biases() const;
  void read_vocabulary(tokenizer_data& data) const;
  void read_words(tokenizer_data& data) const;

  std::string path_;
  gguf::file file_;
  model_config config_;
};

void gguf_model::read_config() {
  const std::string architecture(file_.get_string("general.architecture"));
  if (architecture != "llama") fail("unsupported architecture \"" + architecture + "\", expected \"llama\"");
  config_.name = std::string(file_.get_string_or("general.name", "unnamed model"));
  config_.layers = number("block_count");
  config_.width = number("embedding_length");
  config_.ffn_width = number("feed_forward_length");
  config_.heads = number("attention.head_count");
  config_.kv_heads = number_or("attention.head_count_kv", config_.heads);
  config_.head_dim = number_or("attention.key_length", config_.heads == 0 ? 0 : config_.width / config_.heads);
  config_.context = number("context_length");
  config_.norm_epsilon = static_cast<float>(file_.get_f64_or("llama.attention.layer_norm_rms_epsilon", 1e-5));
  config_.rope_theta = static_cast<float>(file_.get_f64_or("llama.rope.freq_base", 10000.0));
  config_.pairs = rope_pairs::adjacent;
  const gguf::tensor_info* const embedding = file_.find("token_embd.weight");
  if (embedding == nullptr) fail("tensor \"token_embd.weight\" is missing");
  config_.vocabulary = embedding->rows();

  const std::string scaling(file_.get_string_or("llama.rope.scaling.type", "none"));
  const bool scaled = (scaling != "none" && file_.get_f64_or("llama.rope.scaling.factor", 1.0) != 1.0) ||
                      file_.get_f64_or("llama.rope.scale_linear", 1.0) != 1.0 ||
                      file_.find("rope_freqs.weight") != nullptr;
  if (scaled) fail("unsupported model: its rotary embeddings are scaled (" + scaling + ")");
  if (number_or("rope.dimension_count", config_.head_dim) != config_.head_dim)
    fail("unsupported model: only a part of each head is rotated");
  if (number_or("attention.value_length", config_.head_dim) != config_.head_dim)
    fail("unsupported model: keys and values differ in size");
  if (number_or("expert_count", 0) != 0) fail("unsupported model: mixture of experts");
}

void gguf_model::check_biases() const {
  for (std::size_t i = 0; i < config_.layers; ++i) {
    for (const char* stem : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
      const std::string bias = "blk." + std::to_string(i) + "." + stem + ".bias";
      if (file_.find(bias) != nullptr) fail("unsupported model: it has biases (\"" + bias + "\")");
    }
  }
}

tokenizer_data gguf_model::tokenizer() const {
  const std::string kind(file_.get_string_or("tokenizer.ggml.model", ""));
  if (kind.empty()) fail("the file has no tokenizer (metadata \"tokenizer.ggml.model\")");
  if (kind != "gpt2" && kind != "llama") fail("unsupported tokenizer \"" + kind + "\", expected \"gpt2\" or \"llama\"");
  tokenizer_data data;
  data.symbols = kind == "gpt2" ? symbol_kind::byte_level : symbol_kind::sentence;
  read_vocabulary(data);
  read_words(data);
  const bool sentence = data.symbols == symbol_kind::sentence;
  data.space_prefix = file_.get_bool_or("tokenizer.ggml.add_space_prefix", sentence);
  data.add_bos = file_.get_bool_or("tokenizer.ggml.add_bos_token", sentence);
  data.bos = static_cast<token>(file_.get_i64_or("tokenizer.ggml.bos_token_id", -1));
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const auto end = static_cast<token>(file_.get_i64_or(key, -1));
    if (end >= 0) data.ends.push_back(end);
  }
  data.chat_markup = file_.get_string_or("tokenizer.chat_template", "").find("<|im_start|>") != std::string_view::npos;
  return data;
}

void gguf_model::read_vocabulary(tokenizer_data& data) const {
  for (const std::string_view text : file_.get_string_array("tokenizer.ggml.tokens")) data.tokens.emplace_back(text);
  if (data.tokens.size() > config_.vocabulary) {
    fail("the tokenizer has " + std::to_string(data.tokens.size()) + " tokens, the model knows " +
         std::to_string(config_.vocabulary));
  }
  data.kinds.assign(data.tokens.size(), token_kind::normal);
  if (file_.find_value("tokenizer.ggml.token_type") == nullptr) return;
  const gguf::number_array types = file_.get_number_array("tokenizer.ggml.token_type");
  for (std::size_t i = 0; i < types.size() && i < data.kinds.size(); ++i) {
    switch (types.i64(i)) {    // llama.cpp's llama_token_type
      case 2:
        data.kinds[i] = token_kind::unknown;
        break;
      case 3:
        data.kinds[i] = token_kind::control;
        break;
      case 4:
        data.kinds[i] = token_kind::user_defined;
        break;
      case 6:
        data.kinds[i] = token_kind::byte;
        break;
      default:
        break;
    }
  }
}

void gguf_model::read_words(tokenizer_data& data) const {
  if (data.symbols == symbol_kind::sentence) {
    const gguf::number_array scores = file_.get_number_array("tokenizer.ggml.scores");
    for (std::size_t i = 0; i < scores.size(); ++i) data.scores.push_back(static_cast<float>(scores.f64(i)));
    return;
  }
  for (const std::string_view pair : file_.get_string_array("tokenizer.ggml.merges")) {
    const std::size_t space = pair.find(' ', 1);    // symbols have no spaces, but the first may be anything else
    if (space == std::string_view::npos) fail("merge \"" + std::string(pair) + "\" is no pair of tokens");
    data.merges.emplace_back(pair.substr(0, space), pair.substr(space + 1));
  }
  const std::string words(file_.get_string_or("tokenizer.ggml.pre", ""));
  const std::string contractions = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  const std::string spaces = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (words == "smollm" || words == "starcoder" || words == "refact") {
    data.patterns = {R"(\p{N})", gpt2_pattern};
  } else if (words == "gpt-2" || words == "olmo" || words == "phi-2") {
    data.patterns = {gpt2_pattern};
  } else if (words == "llama-bpe" || words == "llama3") {
    data.patterns = {contractions + R"(\p{N}{1,3})" + spaces};
    data.whole_words = true;
  } else if (words == "qwen2") {
    data.patterns = {contractions + R"(\p{N})" + spaces};
  } else {
    fail("unsupported pre-tokenizer \"" + words + "\" (metadata \"tokenizer.ggml.pre\"), expected smollm, gpt-2, " +
         "llama-bpe or qwen2");
  }
}

}    // namespace

std::shared_ptr<const model_file> open_gguf(const std::string& path) { return std::make_shared<gguf_model>(path); }

}    // namespace llm
