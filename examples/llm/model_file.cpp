#include "model_file.hpp"

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace llm {
namespace {

void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("unsupported model: " + what);
}

}    // namespace

void check_config(const model_config& c) {
  const auto positive = [](std::size_t value, const char* name) {
    require(value > 0 && value <= (std::size_t{1} << 28), std::string(name) + " is " + std::to_string(value));
  };
  positive(c.layers, "number of layers");
  positive(c.width, "hidden size");
  positive(c.ffn_width, "feed-forward size");
  positive(c.heads, "number of heads");
  positive(c.kv_heads, "number of key-value heads");
  positive(c.head_dim, "head size");
  positive(c.vocabulary, "vocabulary size");
  positive(c.context, "context length");
  require(c.heads % c.kv_heads == 0,
          std::to_string(c.heads) + " heads are no multiple of " + std::to_string(c.kv_heads) + " key-value heads");
  require(c.head_dim % 2 == 0, "head size is " + std::to_string(c.head_dim) + ", rotary embeddings need an even one");
  require(c.norm_epsilon >= 0 && c.norm_epsilon < 1, "RMSNorm epsilon is " + std::to_string(c.norm_epsilon));
  require(c.rope_theta > 0, "rope theta is " + std::to_string(c.rope_theta));
}

tensor_shape shape_of(const model_config& c, role what) {
  switch (what) {
    case role::embedding:
    case role::output:
      return {c.vocabulary, c.width};
    case role::output_norm:
    case role::attention_norm:
    case role::ffn_norm:
      return {1, c.width};
    case role::query:
      return {c.query_width(), c.width};
    case role::key:
    case role::value:
      return {c.kv_width(), c.width};
    case role::attention_output:
      return {c.width, c.query_width()};
    case role::gate:
    case role::up:
      return {c.ffn_width, c.width};
    case role::down:
      return {c.width, c.ffn_width};
  }
  return {0, 0};
}

void check_tensors(const model_file& model, const std::string& path, const std::string& types) {
  const auto check = [&](tensor_id id) {
    const std::string tensor = path + ": tensor \"" + model.name(id) + "\" ";
    if (!model.has(id)) throw std::runtime_error(tensor + "is missing");
    const tensor_shape stored = model.stored_shape(id);
    const tensor_shape expected = shape_of(model.config(), id.what);
    if (stored.rows != expected.rows || stored.cols != expected.cols) {
      throw std::runtime_error(tensor + "is " + std::to_string(stored.rows) + " x " + std::to_string(stored.cols) +
                               ", expected " + std::to_string(expected.rows) + " x " + std::to_string(expected.cols));
    }
    if (model.code_bits(id) == 0)
      throw std::runtime_error(tensor + "has the unsupported type " + model.type_name(id) + ", expected " + types);
  };
  check({role::embedding, 0});
  check({role::output_norm, 0});
  if (model.has({role::output, 0})) check({role::output, 0});
  for (std::size_t i = 0; i < model.config().layers; ++i) {
    for (const role what : {role::attention_norm, role::query, role::key, role::value, role::attention_output,
                            role::ffn_norm, role::gate, role::up, role::down})
      check({what, i});
  }
}

void read_embeddings(const model_file& model, const token* tokens, qlite::matrix_view<float> hidden) {
  for (std::size_t r = 0; r < hidden.rows(); ++r) {
    if (tokens[r] < 0 || static_cast<std::size_t>(tokens[r]) >= model.config().vocabulary)
      throw std::runtime_error("token " + std::to_string(tokens[r]) + " is not in the vocabulary of the model");
    model.read_rows({role::embedding, 0}, static_cast<std::size_t>(tokens[r]), {hidden.row(r), 1, hidden.cols()});
  }
}

std::shared_ptr<const model_file> open_model(const std::string& path) {
  namespace fs = std::filesystem;
  if (fs::is_directory(path)) return open_safetensors(path);
  if (!fs::exists(path)) throw std::runtime_error(path + ": no such file or folder");
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.read(magic, sizeof magic);
  if (!file || std::string(magic, 4) != "GGUF") {
    throw std::runtime_error(path + ": not a GGUF file (it does not begin with \"GGUF\"), and not a folder with " +
                             "config.json, model.safetensors and tokenizer.json");
  }
  return open_gguf(path);
}

}    // namespace llm
