#include "encoder.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <stdexcept>

#include "json_file.hpp"

namespace ql = qlite;

namespace compare {
namespace {

std::string layer_name(std::size_t layer, const std::string& rest) {
  return "encoder.layer." + std::to_string(layer) + "." + rest;
}

/// (x - mean) / sqrt(variance + epsilon) * weight + bias, row by row (Ba, Kiros, Hinton, 2016).
void normalize(ql::matrix_view<float> x, const std::vector<float>& weight, const std::vector<float>& bias,
               float epsilon) {
  for (std::size_t r = 0; r < x.rows(); ++r) {
    double sum = 0, squares = 0;
    for (std::size_t c = 0; c < x.cols(); ++c) sum += static_cast<double>(x(r, c));
    const double mean = sum / static_cast<double>(x.cols());
    for (std::size_t c = 0; c < x.cols(); ++c) {
      const double d = static_cast<double>(x(r, c)) - mean;
      squares += d * d;
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.cols()) + static_cast<double>(epsilon));
    for (std::size_t c = 0; c < x.cols(); ++c)
      x(r, c) = static_cast<float>((static_cast<double>(x(r, c)) - mean) * scale) * weight[c] + bias[c];
  }
}

}    // namespace

word_pieces::word_pieces(const std::string& tokenizer_json) {
  const nlohmann::json all = llm::read_json(tokenizer_json);
  try {
    const nlohmann::json& model = all.at("model");
    if (model.at("type") != "WordPiece") throw std::runtime_error(tokenizer_json + ": the model is no WordPiece");
    for (const auto& [word, number] : model.at("vocab").items()) vocabulary_[word] = number.get<std::size_t>();
    begin_ = vocabulary_.at("[CLS]");
    end_ = vocabulary_.at("[SEP]");
    unknown_ = vocabulary_.at(model.at("unk_token").get<std::string>());
  } catch (const nlohmann::json::exception& e) {
    throw std::runtime_error(tokenizer_json + ": " + e.what());
  } catch (const std::out_of_range&) {
    throw std::runtime_error(tokenizer_json + ": [CLS], [SEP] or the unknown token is missing");
  }
}

std::vector<std::size_t> word_pieces::encode(const std::string& text, std::size_t longest) const {
  std::vector<std::size_t> out{begin_};
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) add_word(word, out);
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && (std::isspace(byte) || std::iscntrl(byte))) {
      flush();
    } else if (byte < 0x80 && std::ispunct(byte)) {
      flush();
      add_word(std::string(1, c), out);
    } else {
      word += byte < 0x80 ? static_cast<char>(std::tolower(byte)) : c;
    }
  }
  flush();
  if (out.size() + 1 > longest) out.resize(longest - 1);
  out.push_back(end_);
  return out;
}

void word_pieces::add_word(const std::string& word, std::vector<std::size_t>& out) const {
  std::vector<std::size_t> pieces;
  for (std::size_t at = 0; at < word.size();) {
    std::size_t size = word.size() - at;
    for (; size > 0; --size) {
      const auto found = vocabulary_.find((at == 0 ? "" : "##") + word.substr(at, size));
      if (found == vocabulary_.end()) continue;
      pieces.push_back(found->second);
      break;
    }
    if (size == 0) {    // a word with a part that is unknown is unknown
      out.push_back(unknown_);
      return;
    }
    at += size;
  }
  out.insert(out.end(), pieces.begin(), pieces.end());
}

bool is_encoder(const std::string& folder) {
  if (!std::filesystem::exists(folder + "/config.json")) return false;
  const nlohmann::json config = llm::read_json(folder + "/config.json");
  return config.is_object() && config.value("model_type", "") == "bert";
}

encoder::encoder(const std::string& folder)
    : folder_(folder), file_((folder + "/model.safetensors").c_str()), tokenizer_(folder + "/tokenizer.json") {
  const nlohmann::json config = llm::read_json(folder + "/config.json");
  try {
    layers_ = config.at("num_hidden_layers").get<std::size_t>();
    width_ = config.at("hidden_size").get<std::size_t>();
    ffn_ = config.at("intermediate_size").get<std::size_t>();
    heads_ = config.at("num_attention_heads").get<std::size_t>();
    positions_ = config.at("max_position_embeddings").get<std::size_t>();
    vocabulary_ = config.at("vocab_size").get<std::size_t>();
    epsilon_ = config.value("layer_norm_eps", 1e-12f);
    if (config.value("hidden_act", "") != "gelu")
      throw std::runtime_error(folder + ": unsupported encoder: its activation is not gelu");
  } catch (const nlohmann::json::exception& e) {
    throw std::runtime_error(folder + "/config.json: " + e.what());
  }
  if (heads_ == 0 || width_ == 0 || width_ % heads_ != 0)
    throw std::runtime_error(folder + ": " + std::to_string(heads_) + " heads do not divide " + std::to_string(width_));
}

std::size_t encoder::outputs(part what) const { return what == qkv ? 3 * width_ : what == up ? ffn_ : width_; }
std::size_t encoder::inputs(part what) const { return what == down ? ffn_ : width_; }

std::size_t encoder::float_parameters() const {
  return (vocabulary_ + positions_ + 1) * width_ + 2 * width_ +
         layers_ * (3 * width_ + width_ + ffn_ + width_ + 4 * width_);
}

std::vector<float> encoder::values(const std::string& name, std::size_t count) const {
  const ql::safetensors::tensor_info& t = file_.tensor(name);
  std::vector<float> out(count);
  if (t.rows() * t.cols() != count)
    throw std::runtime_error(folder_ + ": tensor \"" + name + "\" has another size than config.json says");
  ql::safetensors::rows_to_float(t, file_.data(t), 0, ql::matrix_view<float>{out.data(), t.rows(), t.cols()});
  return out;
}

void encoder::read_weights(std::size_t layer, part what, ql::matrix_view<float> out) const {
  const auto read = [&](const char* name, std::size_t first) {
    const std::string tensor = layer_name(layer, name) + ".weight";
    const ql::safetensors::tensor_info& t = file_.tensor(tensor);
    const std::size_t rows = what == qkv ? width_ : outputs(what);
    if (t.rows() != rows || t.cols() != inputs(what))
      throw std::runtime_error(folder_ + ": tensor \"" + tensor + "\" has another shape than config.json says");
    ql::safetensors::rows_to_float(t, file_.data(t), 0,
                                   ql::matrix_view<float>{out.row(first), rows, out.cols(), out.row_stride()});
  };
  switch (what) {
    case qkv:
      read("attention.self.query", 0);
      read("attention.self.key", width_);
      read("attention.self.value", 2 * width_);
      break;
    case attention_output:
      read("attention.output.dense", 0);
      break;
    case up:
      read("intermediate.dense", 0);
      break;
    case down:
      read("output.dense", 0);
  }
}

/// softmax(Q K^T / sqrt(head size)) V of every head; all tokens see all tokens.
void encoder::attend(ql::matrix_view<const float> x, ql::matrix_view<float> out, llm::executor& threads) const {
  const std::size_t tokens = x.rows(), dim = width_ / heads_;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  llm::for_each_interleaved(threads, heads_, [&](std::size_t head, std::size_t) {
    std::vector<float> scores(tokens);
    for (std::size_t i = 0; i < tokens; ++i) {
      const float* const query = x.row(i) + head * dim;
      float largest = -HUGE_VALF, sum = 0;
      for (std::size_t j = 0; j < tokens; ++j) {
        const float* const key = x.row(j) + width_ + head * dim;
        float score = 0;
        for (std::size_t d = 0; d < dim; ++d) score += query[d] * key[d];
        scores[j] = score * scale;
        largest = std::max(largest, scores[j]);
      }
      for (float& s : scores) sum += s = std::exp(s - largest);
      float* const to = out.row(i) + head * dim;
      std::fill(to, to + dim, 0.0f);
      for (std::size_t j = 0; j < tokens; ++j) {
        const float* const value = x.row(j) + 2 * width_ + head * dim;
        for (std::size_t d = 0; d < dim; ++d) to[d] += scores[j] / sum * value[d];
      }
    }
  });
}

std::vector<float> encoder::embed(const std::vector<std::size_t>& tokens, const weights& w, llm::executor& threads,
                                  const observer& observe) const {
  const std::size_t n = tokens.size();
  if (n == 0 || n > positions_)
    throw std::runtime_error("a text of " + std::to_string(n) + " tokens, expected 1 to " + std::to_string(positions_));
  llm::array<float> hidden(n * width_), wide(n * std::max(3 * width_, ffn_)), attended(n * width_);
  const ql::matrix_view<float> h{hidden.data(), n, width_}, a{attended.data(), n, width_};
  const ql::matrix_view<float> three{wide.data(), n, 3 * width_}, f{wide.data(), n, ffn_};

  const auto row_of = [&](const char* name, std::size_t row, float* out) {
    const ql::safetensors::tensor_info& t = file_.tensor(name);
    ql::safetensors::rows_to_float(t, file_.data(t), row, ql::matrix_view<float>{out, 1, width_});
  };
  std::vector<float> part_of_row(width_);
  for (std::size_t i = 0; i < n; ++i) {
    row_of("embeddings.word_embeddings.weight", tokens[i], h.row(i));
    for (const auto& [name, row] : {std::pair<const char*, std::size_t>{"embeddings.position_embeddings.weight", i},
                                    {"embeddings.token_type_embeddings.weight", 0}}) {
      row_of(name, row, part_of_row.data());
      for (std::size_t c = 0; c < width_; ++c) h(i, c) += part_of_row[c];
    }
  }
  normalize(h, values("embeddings.LayerNorm.weight", width_), values("embeddings.LayerNorm.bias", width_), epsilon_);

  llm::layer_input input;
  const auto product = [&](std::size_t layer, part what, ql::matrix_view<const float> x, ql::matrix_view<float> y,
                           const llm::after& op) {
    input.set(x);
    if (observe) observe(layer, what, x);
    w[layer][what].apply(input, y, op, threads);
  };
  const auto add_bias = [&](ql::matrix_view<float> y, const std::string& name) {
    const std::vector<float> bias = values(name, y.cols());
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < y.cols(); ++c) y(r, c) += bias[c];
  };
  for (std::size_t i = 0; i < layers_; ++i) {
    product(i, qkv, h, three, {});
    const char* const selves[] = {"query", "key", "value"};
    for (std::size_t s = 0; s < 3; ++s)
      add_bias({three.data() + s * width_, n, width_, 3 * width_},
               layer_name(i, std::string("attention.self.") + selves[s] + ".bias"));
    attend(three, a, threads);
    product(i, attention_output, a, h, {llm::then::add, h});
    add_bias(h, layer_name(i, "attention.output.dense.bias"));
    normalize(h, values(layer_name(i, "attention.output.LayerNorm.weight"), width_),
              values(layer_name(i, "attention.output.LayerNorm.bias"), width_), epsilon_);
    product(i, up, h, f, {});
    add_bias(f, layer_name(i, "intermediate.dense.bias"));
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < ffn_; ++c) f(r, c) = 0.5f * f(r, c) * (1 + std::erf(f(r, c) * 0.70710678f));
    product(i, down, f, h, {llm::then::add, h});
    add_bias(h, layer_name(i, "output.dense.bias"));
    normalize(h, values(layer_name(i, "output.LayerNorm.weight"), width_),
              values(layer_name(i, "output.LayerNorm.bias"), width_), epsilon_);
  }
  std::vector<float> mean(width_);
  double squares = 0;
  for (std::size_t c = 0; c < width_; ++c) {
    double sum = 0;
    for (std::size_t r = 0; r < n; ++r) sum += static_cast<double>(h(r, c));
    mean[c] = static_cast<float>(sum / static_cast<double>(n));
    squares += static_cast<double>(mean[c]) * static_cast<double>(mean[c]);
  }
  const auto length = static_cast<float>(std::sqrt(squares));
  for (float& v : mean) v /= length;
  return mean;
}

}    // namespace compare
