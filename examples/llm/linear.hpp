// A linear layer y = x * W^T whose weights are held in any of the formats.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "format.hpp"
#include "panel_matrix.hpp"
#include "quantized_matrix.hpp"

namespace llm {

/// The input of one or more linear layers. What a weight format needs of it (packed rows, INT8 codes) is made when the
/// first layer asks, and kept for the others.
class layer_input {
 public:
  /// Takes another matrix [m, k]; it must stay alive and unchanged until the next one.
  void set(qlite::matrix_view<const float> x);
  qlite::matrix_view<const float> floats() const { return x_; }
  template <class T>
  const packed_rows& packed(executor& threads);
  quantized_input& quantized() { return quantized_; }

  /// The input with column c multiplied by factors[c]; layers that share factors share the result.
  struct scaled_input {
    qlite::matrix_view<const float> floats;
    quantized_input& quantized;
  };
  scaled_input scaled(const std::shared_ptr<const std::vector<float>>& factors, executor& threads);

 private:
  qlite::matrix_view<const float> x_;
  packed_rows float_rows_, bfloat16_rows_;
  bool has_float_rows_ = false, has_bfloat16_rows_ = false;
  quantized_input quantized_, scaled_quantized_;
  array<float> scaled_;
  std::shared_ptr<const std::vector<float>> factors_;    // that scaled_ was made with; null: it was not
};

/// Copies share the weights, which never change.
class linear {
 public:
  linear() = default;    // 0 x 0, and of no use
  /// Reads W [rows, cols] a few rows at a time, so that never more than a few megabytes of it are floats.
  linear(std::size_t rows, std::size_t cols, const weight_format& format, const row_reader& read, executor& threads);
  /// Weights quantized elsewhere. `factors` (one for each column, or null) multiply the input: the other half of
  /// methods like AWQ that scale the columns of W.
  explicit linear(std::shared_ptr<const quantized_matrix> weights,
                  std::shared_ptr<const std::vector<float>> factors = nullptr)
      : weights_(std::move(weights)), factors_(std::move(factors)) {}

  std::size_t rows() const;
  std::size_t cols() const;
  /// Bytes that the weights take in memory, scales and factors included.
  std::size_t bytes() const;
  /// Whether products round their input: to INT8 codes, or to bfloat16.
  bool rounds_input() const;
  /// y[m, rows] = after(x[m, cols] * W^T)
  void apply(layer_input& x, qlite::matrix_view<float> y, const after& op, executor& threads) const;

 private:
  template <class W>
  using shared = std::shared_ptr<const W>;
  std::variant<shared<panel_matrix<float>>, shared<panel_matrix<qlite::bfloat16>>, shared<quantized_matrix>> weights_;
  std::shared_ptr<const std::vector<float>> factors_;
};

}    // namespace llm
