// A linear layer y = x * W^T whose weights are held in any of the formats.
#pragma once

#include <variant>

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

 private:
  qlite::matrix_view<const float> x_;
  packed_rows float_rows_, bfloat16_rows_;
  bool has_float_rows_ = false, has_bfloat16_rows_ = false;
  quantized_input quantized_;
};

class linear {
 public:
  linear() = default;
  /// Reads W [rows, cols] a few rows at a time, so that never more than a few megabytes of it are floats.
  linear(std::size_t rows, std::size_t cols, const weight_format& format, const row_reader& read, executor& threads);

  std::size_t rows() const;
  std::size_t cols() const;
  /// Bytes that the weights take in memory, scales included.
  std::size_t bytes() const;
  /// y[m, rows] = after(x[m, cols] * W^T)
  void apply(layer_input& x, qlite::matrix_view<float> y, const after& op, executor& threads) const;

 private:
  std::variant<panel_matrix<float>, panel_matrix<qlite::bfloat16>, quantized_matrix> weights_;
};

}    // namespace llm
