// A sentence encoder of the BERT family (Devlin et al., 2019; sentence-transformers' MiniLM): text in, one vector out.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <qlite/interop/safetensors.hpp>

#include "linear.hpp"

namespace compare {

/// Words to tokens as BERT's WordPiece does for text in English: lower case, punctuation apart, the longest pieces of
/// the vocabulary first. Accents are not removed.
class word_pieces {
 public:
  /// Throws std::runtime_error if tokenizer.json has no WordPiece model.
  explicit word_pieces(const std::string& tokenizer_json);
  /// With the tokens that begin and end a text, at most `longest` in all.
  std::vector<std::size_t> encode(const std::string& text, std::size_t longest) const;

 private:
  void add_word(const std::string& word, std::vector<std::size_t>& out) const;
  std::unordered_map<std::string, std::size_t> vocabulary_;
  std::size_t begin_ = 0, end_ = 0, unknown_ = 0;
};

class encoder {
 public:
  /// The products of a layer, in order.
  enum part { qkv, attention_output, up, down };
  static constexpr std::size_t parts = 4;

  /// Opens a folder with config.json, model.safetensors and tokenizer.json. Throws std::runtime_error or
  /// std::invalid_argument naming what is wrong.
  explicit encoder(const std::string& folder);

  std::size_t layers() const { return layers_; }
  std::size_t width() const { return width_; }
  const word_pieces& tokenizer() const { return tokenizer_; }
  /// Outputs and inputs of a layer's product, and its weights [outputs, inputs].
  std::size_t outputs(part what) const;
  std::size_t inputs(part what) const;
  void read_weights(std::size_t layer, part what, qlite::matrix_view<float> out) const;
  /// Parameters that stay floats: embeddings, biases, norms.
  std::size_t float_parameters() const;

  /// Weights by layer and part.
  using weights = std::vector<std::vector<llm::linear>>;
  /// Told the input of each product.
  using observer = std::function<void(std::size_t layer, part what, qlite::matrix_view<const float> x)>;

  /// The vector of a text, of length 1: the mean of its tokens' last hidden states.
  std::vector<float> embed(const std::vector<std::size_t>& tokens, const weights& w, llm::executor& threads,
                           const observer& observe = {}) const;

 private:
  std::vector<float> values(const std::string& name, std::size_t count) const;
  void attend(qlite::matrix_view<const float> qkv, qlite::matrix_view<float> out, llm::executor& threads) const;

  std::string folder_;
  qlite::safetensors::file file_;
  word_pieces tokenizer_;
  std::size_t layers_ = 0, width_ = 0, ffn_ = 0, heads_ = 0, positions_ = 0, vocabulary_ = 0;
  float epsilon_ = 1e-12f;
};

/// Whether a folder's config.json says "bert".
bool is_encoder(const std::string& folder);

}    // namespace compare
