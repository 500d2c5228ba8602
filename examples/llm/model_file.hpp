// A model on disk: hyperparameters, tokenizer and tensors, whatever the format. Nothing is read before it is asked for.
#pragma once

#include <memory>
#include <string>

#include <qlite/core/view.hpp>

#include "config.hpp"
#include "tokenizer.hpp"

namespace llm {

/// What a tensor is for. Weights of linear layers are [outputs, inputs].
enum class role {
  embedding,      ///< [vocabulary, width]
  output_norm,    ///< [1, width]
  output,         ///< [vocabulary, width]; absent where the embedding serves as output too ("tied")
  attention_norm,
  query,
  key,
  value,
  attention_output,
  ffn_norm,
  gate,
  up,
  down
};

/// A tensor of a model. `layer` counts from 0 and is ignored for the first three roles.
struct tensor_id {
  role what = role::embedding;
  std::size_t layer = 0;
};

/// Rows and columns of a tensor.
struct tensor_shape {
  std::size_t rows, cols;
};

/// A model file, open and checked: its tensors are all there, in the shapes that the config says.
class model_file {
 public:
  virtual ~model_file() = default;

  virtual const model_config& config() const = 0;
  /// Throws std::runtime_error where the file brings no tokenizer or one of an unsupported kind.
  virtual tokenizer_data tokenizer() const = 0;
  virtual bool has(tensor_id id) const = 0;
  /// Rows and columns of a tensor that is there.
  virtual tensor_shape stored_shape(tensor_id id) const = 0;
  /// The tensor's name in the file, for messages.
  virtual std::string name(tensor_id id) const = 0;
  /// The storage type of a tensor, as its format names it ("Q4_1", "BF16").
  virtual std::string type_name(tensor_id id) const = 0;
  /// Bits of a weight's code in the file (its scales not counted): 4 for Q4_1, 16 for BF16; 0: the type is unsupported.
  virtual int code_bits(tensor_id id) const = 0;
  /// Decodes rows first ... first + out.rows() of a tensor. Vectors are matrices of one row.
  virtual void read_rows(tensor_id id, std::size_t first, qlite::matrix_view<float> out) const = 0;
  /// Bytes of the file or files.
  virtual std::size_t bytes() const = 0;
};

/// The embeddings of tokens, hidden.rows() of them. Throws std::runtime_error for one that is not in the vocabulary.
void read_embeddings(const model_file& model, const token* tokens, qlite::matrix_view<float> hidden);

/// Rows and columns that the config gives a tensor.
tensor_shape shape_of(const model_config& config, role what);

/// Throws std::runtime_error for the first tensor of a model that is missing, has another shape than the config says or
/// is stored as a type that is not among `types`.
void check_tensors(const model_file& model, const std::string& path, const std::string& types);

/// Opens a .gguf file, or a folder with config.json, model.safetensors and tokenizer.json.
/// Throws std::runtime_error or std::invalid_argument naming the file and what is wrong with it.
std::shared_ptr<const model_file> open_model(const std::string& path);

/// The two formats; open_model chooses between them.
std::shared_ptr<const model_file> open_gguf(const std::string& path);
std::shared_ptr<const model_file> open_safetensors(const std::string& folder);

}    // namespace llm
