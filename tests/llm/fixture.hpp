// A tiny Llama model with random weights, made by the tests: as numbers, as GGUF and as a Hugging Face folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <qlite/interop/gguf.hpp>
#include <qlite/quantize.hpp>
#include <string>
#include <vector>

#include "config.hpp"
#include "model_file.hpp"
#include "support/property.hpp"

namespace llm_test {

using qlite_test::random_source;

struct matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<float> values;    // [rows, cols]
  const float* row(std::size_t r) const { return values.data() + r * cols; }
};

// Weights by role and layer, in Hugging Face's order of rows (rotary pairs are halves of a head).
struct tiny_model {
  llm::model_config config;
  bool tied = true;
  std::map<std::pair<llm::role, std::size_t>, matrix> tensors;

  const matrix& at(llm::role what, std::size_t layer = 0) const { return tensors.at({what, layer}); }
  const matrix& output() const { return at(tied ? llm::role::embedding : llm::role::output); }
};

inline llm::model_config tiny_config() {
  llm::model_config c;
  c.name = "tiny";
  c.layers = 3;
  c.width = 48;
  c.ffn_width = 80;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 10;    // not width / heads, and no multiple of a vector
  c.vocabulary = 300;
  c.context = 96;
  c.norm_epsilon = 1e-5f;
  c.rope_theta = 500.0f;
  c.pairs = llm::rope_pairs::halves;
  return c;
}

inline const std::vector<llm::role>& layer_roles() {
  static const std::vector<llm::role> roles{
      llm::role::attention_norm, llm::role::query, llm::role::key, llm::role::value, llm::role::attention_output,
      llm::role::ffn_norm,       llm::role::gate,  llm::role::up,  llm::role::down};
  return roles;
}

inline tiny_model make_tiny_model(std::uint64_t seed, const llm::model_config& config = tiny_config(),
                                  bool tied = true) {
  random_source random(seed);
  tiny_model model;
  model.config = config;
  model.tied = tied;
  const auto add = [&](llm::role what, std::size_t layer) {
    const llm::tensor_shape shape = llm::shape_of(config, what);
    const bool norm = shape.rows == 1;
    const float scale = norm ? 0.2f : 1.0f / std::sqrt(static_cast<float>(shape.cols));
    matrix m{shape.rows, shape.cols, random.normal_vector(shape.rows * shape.cols, scale)};
    if (norm)
      for (float& v : m.values) v += 1;
    model.tensors[{what, layer}] = std::move(m);
  };
  add(llm::role::embedding, 0);
  add(llm::role::output_norm, 0);
  if (!tied) add(llm::role::output, 0);
  for (std::size_t i = 0; i < config.layers; ++i)
    for (const llm::role what : layer_roles()) add(what, i);
  return model;
}

// A folder that is removed with everything in it.
class temporary_folder {
 public:
  temporary_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "qlite-llm-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    path_ = name;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// The rows of a query or key matrix in the order of GGUF: the partners of a rotary pair become neighbours.
inline matrix with_adjacent_pairs(const matrix& m, std::size_t head_dim) {
  matrix out = m;
  const std::size_t half = head_dim / 2;
  for (std::size_t r = 0; r < m.rows; ++r) {
    const std::size_t head = r / head_dim;
    const std::size_t i = r % head_dim;
    const std::size_t to = head * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
    std::copy_n(m.row(r), m.cols, out.values.begin() + static_cast<std::ptrdiff_t>(to * m.cols));
  }
  return out;
}

// A byte-level vocabulary: the 256 bytes, a few merges, and two control tokens at the end (300 tokens in all, some of
// them unused).
struct tiny_vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;    // GGUF's numbers
  std::vector<std::string> merges;
};

inline tiny_vocabulary make_tiny_vocabulary() {
  tiny_vocabulary v;
  std::uint32_t next = 0x100;
  for (std::uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
    const std::uint32_t point = printable ? b : next++;
    std::string text;
    if (point < 0x80) {
      text += static_cast<char>(point);
    } else {
      text += static_cast<char>(0xc0 | point >> 6);
      text += static_cast<char>(0x80 | (point & 0x3f));
    }
    v.tokens.push_back(text);
  }
  for (const char* merge : {"l o", "lo w", "e r", "\u0120 t", "\u0120t h", "n e", "ne w", "e s", "es t", "low er"}) {
    const std::string pair = merge;
    const std::size_t space = pair.find(' ');
    v.merges.push_back(pair);
    v.tokens.push_back(pair.substr(0, space) + pair.substr(space + 1));
  }
  while (v.tokens.size() < 298) v.tokens.push_back("<unused " + std::to_string(v.tokens.size()) + ">");
  v.types.assign(298, 1);
  for (const char* control : {"<|im_start|>", "<|im_end|>"}) {
    v.tokens.emplace_back(control);
    v.types.push_back(3);
  }
  return v;
}

// How to write a model as GGUF, and how to break it.
struct gguf_options {
  bool tokenizer = true;
  std::string architecture = "llama", pre = "smollm";
  std::vector<std::string> left_out;     // names of tensors
  std::map<std::string, float> extra;    // further metadata
  std::vector<std::string> added;        // further tensors, of one element
  bool q4_1 = false;                     // matrices of the layers in 4-bit blocks
  std::string odd_type;                  // a tensor to be written as F64, which the engine does not know
};

inline std::string gguf_name(llm::role what, std::size_t layer) {
  static const std::map<llm::role, std::string> stems{{llm::role::embedding, "token_embd"},
                                                      {llm::role::output_norm, "output_norm"},
                                                      {llm::role::output, "output"},
                                                      {llm::role::attention_norm, "attn_norm"},
                                                      {llm::role::query, "attn_q"},
                                                      {llm::role::key, "attn_k"},
                                                      {llm::role::value, "attn_v"},
                                                      {llm::role::attention_output, "attn_output"},
                                                      {llm::role::ffn_norm, "ffn_norm"},
                                                      {llm::role::gate, "ffn_gate"},
                                                      {llm::role::up, "ffn_up"},
                                                      {llm::role::down, "ffn_down"}};
  const bool global = what == llm::role::embedding || what == llm::role::output_norm || what == llm::role::output;
  return (global ? "" : "blk." + std::to_string(layer) + ".") + stems.at(what) + ".weight";
}

inline void write_gguf(const tiny_model& model, const std::string& path, const gguf_options& options = {}) {
  namespace gguf = qlite::gguf;
  const llm::model_config& c = model.config;
  gguf::writer out;
  out.add("general.architecture", options.architecture);
  out.add("general.name", c.name);
  const auto number = [&](const char* key, std::size_t value) {
    out.add(std::string("llama.") + key, static_cast<std::uint32_t>(value));
  };
  number("block_count", c.layers);
  number("embedding_length", c.width);
  number("feed_forward_length", c.ffn_width);
  number("attention.head_count", c.heads);
  number("attention.head_count_kv", c.kv_heads);
  number("attention.key_length", c.head_dim);
  number("attention.value_length", c.head_dim);
  number("rope.dimension_count", c.head_dim);
  number("context_length", c.context);
  out.add("llama.rope.freq_base", c.rope_theta);
  out.add("llama.attention.layer_norm_rms_epsilon", c.norm_epsilon);
  for (const auto& [key, value] : options.extra) out.add(key, value);
  if (options.tokenizer) {
    const tiny_vocabulary v = make_tiny_vocabulary();
    out.add("tokenizer.ggml.model", "gpt2");
    out.add("tokenizer.ggml.pre", options.pre);
    out.add_strings("tokenizer.ggml.tokens", v.tokens);
    out.add_array("tokenizer.ggml.token_type", v.types.data(), v.types.size());
    out.add_strings("tokenizer.ggml.merges", v.merges);
    out.add("tokenizer.ggml.bos_token_id", std::uint32_t{298});
    out.add("tokenizer.ggml.eos_token_id", std::uint32_t{299});
    out.add("tokenizer.chat_template", "{{ '<|im_start|>' }}");
  }
  std::vector<matrix> kept;    // until the file is written
  kept.reserve(model.tensors.size());
  std::vector<std::vector<std::uint8_t>> blocks;
  const std::vector<double> doubles(c.vocabulary * c.width + c.width * c.ffn_width);
  for (const auto& [id, m] : model.tensors) {
    const std::string name = gguf_name(id.first, id.second);
    if (std::find(options.left_out.begin(), options.left_out.end(), name) != options.left_out.end()) continue;
    const bool turned = id.first == llm::role::query || id.first == llm::role::key;
    kept.push_back(turned ? with_adjacent_pairs(m, c.head_dim) : m);
    if (options.q4_1 && m.rows > 1 && id.first != llm::role::embedding && id.first != llm::role::output) {
      using scheme = qlite::scheme<qlite::int4, qlite::per_group<32>, qlite::offset<>>;
      const auto q = qlite::quantize<scheme>(qlite::matrix_view<const float>{kept.back().values.data(), m.rows, m.cols},
                                             qlite::rtn{});
      blocks.emplace_back(m.rows * m.cols / 32 * 20);
      gguf::export_q4_1(q, blocks.back().data(), blocks.back().size());
      out.add_tensor(name, gguf::tensor_type::q4_1, {m.cols, m.rows}, {blocks.back().data(), blocks.back().size()});
      continue;
    }
    const bool odd = name == options.odd_type;
    const auto type = odd ? gguf::tensor_type::f64 : gguf::tensor_type::f32;
    const qlite::bytes_view data = odd ? qlite::bytes_view{doubles.data(), m.values.size() * sizeof(double)}
                                       : qlite::bytes_view{kept.back().values.data(), m.values.size() * sizeof(float)};
    if (m.rows == 1)
      out.add_tensor(name, type, {m.cols}, data);
    else
      out.add_tensor(name, type, {m.cols, m.rows}, data);
  }
  const float one = 1;
  for (const std::string& name : options.added) out.add_tensor(name, gguf::tensor_type::f32, {1}, {&one, sizeof one});
  out.write(path.c_str());
}

inline std::string safetensors_name(llm::role what, std::size_t layer) {
  static const std::map<llm::role, std::string> stems{{llm::role::embedding, "model.embed_tokens"},
                                                      {llm::role::output_norm, "model.norm"},
                                                      {llm::role::output, "lm_head"},
                                                      {llm::role::attention_norm, "input_layernorm"},
                                                      {llm::role::query, "self_attn.q_proj"},
                                                      {llm::role::key, "self_attn.k_proj"},
                                                      {llm::role::value, "self_attn.v_proj"},
                                                      {llm::role::attention_output, "self_attn.o_proj"},
                                                      {llm::role::ffn_norm, "post_attention_layernorm"},
                                                      {llm::role::gate, "mlp.gate_proj"},
                                                      {llm::role::up, "mlp.up_proj"},
                                                      {llm::role::down, "mlp.down_proj"}};
  const bool global = what == llm::role::embedding || what == llm::role::output_norm || what == llm::role::output;
  return (global ? "" : "model.layers." + std::to_string(layer) + ".") + stems.at(what) + ".weight";
}

inline nlohmann::json config_json(const tiny_model& model) {
  const llm::model_config& c = model.config;
  return {{"model_type", "llama"},
          {"hidden_act", "silu"},
          {"num_hidden_layers", c.layers},
          {"hidden_size", c.width},
          {"intermediate_size", c.ffn_width},
          {"num_attention_heads", c.heads},
          {"num_key_value_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"vocab_size", c.vocabulary},
          {"max_position_embeddings", c.context},
          {"rms_norm_eps", c.norm_epsilon},
          {"rope_theta", c.rope_theta},
          {"rope_scaling", nullptr},
          {"attention_bias", false},
          {"tie_word_embeddings", model.tied}};
}

inline nlohmann::json tokenizer_json() {
  const tiny_vocabulary v = make_tiny_vocabulary();
  nlohmann::json vocabulary;
  for (std::size_t t = 0; t < 298; ++t) vocabulary[v.tokens[t]] = t;
  nlohmann::json added = nlohmann::json::array();
  for (std::size_t t = 298; t < 300; ++t) added.push_back({{"id", t}, {"content", v.tokens[t]}, {"special", true}});
  return {{"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Digits"}, {"individual_digits", true}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", v.merges}}}};
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline void write_safetensors(const tiny_model& model, const temporary_folder& folder) {
  nlohmann::json header;
  std::string data;
  for (const auto& [id, m] : model.tensors) {
    const std::size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(m.values.data()), m.values.size() * sizeof(float));
    const nlohmann::json shape = m.rows == 1 ? nlohmann::json{m.cols} : nlohmann::json{m.rows, m.cols};
    header[safetensors_name(id.first, id.second)] = {
        {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  write_text(folder / "model.safetensors", file + text + data);
  write_text(folder / "config.json", config_json(model).dump());
  write_text(folder / "tokenizer.json", tokenizer_json().dump());
}

}    // namespace llm_test
