// Where the engine meets qlite: INT8 and INT4 weights, quantized, packed and multiplied by the library.
#pragma once

#include <memory>
#include <qlite/gemm/any_packed.hpp>

#include "after.hpp"
#include "executor.hpp"
#include "format.hpp"
#include "row_pieces.hpp"

namespace llm {

/// The INT8 codes of an input, shared by the layers that it goes to (gate and up), and the scratch of products.
class quantized_input {
 public:
  quantized_input();
  ~quantized_input();
  quantized_input(quantized_input&&) noexcept;
  /// The input has changed.
  void invalidate();

 private:
  friend class quantized_matrix;
  struct state;
  std::unique_ptr<state> state_;
};

/// A weight matrix [rows (outputs), cols (inputs)], packed for this machine's instructions.
class quantized_matrix {
 public:
  /// Reads the weights piece by piece. Throws std::invalid_argument (qlite's) for weights that cannot be quantized.
  quantized_matrix(std::size_t rows, std::size_t cols, const weight_format& format, const row_reader& read,
                   executor& threads);
  /// Weights that were quantized and packed elsewhere; with `weight_only`, products take float activations.
  quantized_matrix(qlite::any_packed<qlite::cpu::native> packed, bool weight_only);
  ~quantized_matrix();
  quantized_matrix(quantized_matrix&&) noexcept;
  quantized_matrix& operator=(quantized_matrix&&) noexcept;

  std::size_t rows() const;
  std::size_t cols() const;
  /// Bytes of the packed weights with their scales and padding.
  std::size_t bytes() const;
  /// Whether products take float activations.
  bool weight_only() const;

  /// y[m, rows] = after(x[m, cols] * W^T); `input` belongs to x.
  void multiply(qlite::matrix_view<const float> x, quantized_input& input, qlite::matrix_view<float> y, const after& op,
                executor& threads) const;

 private:
  struct weights;
  std::unique_ptr<weights> weights_;
};

/// The instruction set that the products use, as qlite names it ("avx512_vnni").
const char* backend_name();

}    // namespace llm
