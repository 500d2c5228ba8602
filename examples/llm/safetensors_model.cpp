// Models in Hugging Face folders: config.json, model.safetensors, tokenizer.json (LlamaForCausalLM).
#include <filesystem>
#include <qlite/interop/safetensors.hpp>
#include <stdexcept>

#include "json_file.hpp"
#include "model_file.hpp"
#include "tokenizer_json.hpp"

namespace safetensors = qlite::safetensors;

namespace llm {
namespace {

using json = nlohmann::json;

/// A tensor's name, of a layer's tensor behind "model.layers.<layer>.".
const char* stem_of(role what) {
  switch (what) {
    case role::embedding:
      return "model.embed_tokens.weight";
    case role::output_norm:
      return "model.norm.weight";
    case role::output:
      return "lm_head.weight";
    case role::attention_norm:
      return "input_layernorm.weight";
    case role::query:
      return "self_attn.q_proj.weight";
    case role::key:
      return "self_attn.k_proj.weight";
    case role::value:
      return "self_attn.v_proj.weight";
    case role::attention_output:
      return "self_attn.o_proj.weight";
    case role::ffn_norm:
      return "post_attention_layernorm.weight";
    case role::gate:
      return "mlp.gate_proj.weight";
    case role::up:
      return "mlp.up_proj.weight";
    case role::down:
      return "mlp.down_proj.weight";
  }
  return "";
}

class safetensors_model final : public model_file {
 public:
  explicit safetensors_model(const std::string& folder) : folder_(folder), file_(weights_path(folder).c_str()) {
    try {
      read_config(read_json(folder + "/config.json"));
    } catch (const json::exception& e) {
      fail(std::string("config.json: ") + e.what());
    }
    check_config(config_);
    check_tensors(*this, folder_, "F32, F16 or BF16");
    if (!tied_ && !has({role::output, 0})) fail("tensor \"lm_head.weight\" is missing");
  }

  const model_config& config() const override { return config_; }
  tokenizer_data tokenizer() const override {
    tokenizer_data data = read_tokenizer_json(folder_);
    if (data.tokens.size() > config_.vocabulary) {
      fail("the tokenizer has " + std::to_string(data.tokens.size()) + " tokens, the model knows " +
           std::to_string(config_.vocabulary));
    }
    return data;
  }
  bool has(tensor_id id) const override {
    return !(id.what == role::output && tied_) && file_.find(name(id)) != nullptr;
  }
  tensor_shape stored_shape(tensor_id id) const override {
    const safetensors::tensor_info& tensor = file_.tensor(name(id));
    return {tensor.rows(), tensor.cols()};
  }
  std::string name(tensor_id id) const override {
    const bool global = id.what == role::embedding || id.what == role::output_norm || id.what == role::output;
    if (!global) return "model.layers." + std::to_string(id.layer) + "." + stem_of(id.what);
    // A file of tied weights holds the one matrix under either name.
    if (id.what == role::embedding && tied_ && file_.find(stem_of(role::embedding)) == nullptr)
      return stem_of(role::output);
    return stem_of(id.what);
  }
  std::string type_name(tensor_id id) const override { return std::string(file_.tensor(name(id)).type_name); }
  int code_bits(tensor_id id) const override {
    switch (file_.tensor(name(id)).type) {
      case safetensors::element_type::f32:
        return 32;
      case safetensors::element_type::f16:
      case safetensors::element_type::bf16:
        return 16;
      default:
        return 0;
    }
  }
  void read_rows(tensor_id id, std::size_t first, qlite::matrix_view<float> out) const override {
    const safetensors::tensor_info& tensor = file_.tensor(name(id));
    safetensors::rows_to_float(tensor, file_.data(tensor), first, out);
  }
  std::size_t bytes() const override { return file_.bytes().size(); }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(folder_ + ": " + what); }

  static std::string weights_path(const std::string& folder) {
    namespace fs = std::filesystem;
    if (!fs::exists(folder + "/config.json")) throw std::runtime_error(folder + ": no config.json in this folder");
    if (fs::exists(folder + "/model.safetensors.index.json"))
      throw std::runtime_error(folder + ": unsupported model: its weights are split into several files");
    if (!fs::exists(folder + "/model.safetensors"))
      throw std::runtime_error(folder + ": no model.safetensors in this folder");
    return folder + "/model.safetensors";
  }

  void read_config(const json& config) {
    const std::string type = config.value("model_type", "");
    if (type != "llama") fail("unsupported architecture \"" + type + "\" (config.json), expected \"llama\"");
    config_.name = std::filesystem::path(folder_).lexically_normal().filename().string();
    config_.layers = config.at("num_hidden_layers");
    config_.width = config.at("hidden_size");
    config_.ffn_width = config.at("intermediate_size");
    config_.heads = config.at("num_attention_heads");
    config_.kv_heads = config.value("num_key_value_heads", config_.heads);
    const json head_dim = config.value("head_dim", json());    // may be null
    if (head_dim.is_number())
      config_.head_dim = head_dim;
    else if (config_.heads != 0)
      config_.head_dim = config_.width / config_.heads;
    config_.vocabulary = config.at("vocab_size");
    config_.context = config.value("max_position_embeddings", std::size_t{2048});
    config_.norm_epsilon = config.value("rms_norm_eps", 1e-6f);
    config_.rope_theta = config.value("rope_theta", 10000.0f);
    config_.pairs = rope_pairs::halves;
    tied_ = config.value("tie_word_embeddings", false);
    if (!config.value("rope_scaling", json()).is_null())
      fail("unsupported model: its rotary embeddings are scaled (rope_scaling in config.json)");
    if (config.value("attention_bias", false) || config.value("mlp_bias", false))
      fail("unsupported model: it has biases (config.json)");
    if (config.value("hidden_act", "silu") != "silu")
      fail("unsupported activation \"" + config.value("hidden_act", "") + "\" (config.json), expected \"silu\"");
  }

  std::string folder_;
  safetensors::file file_;
  model_config config_;
  bool tied_ = false;
};

}    // namespace

std::shared_ptr<const model_file> open_safetensors(const std::string& folder) {
  return std::make_shared<safetensors_model>(folder);
}

}    // namespace llm
