// Rows of a model file to qlite's canonical form, a few at a time.
#pragma once

#include <qlite/quantize.hpp>
#include <type_traits>

#include "format.hpp"
#include "row_pieces.hpp"

namespace llm {

/// Rows first ... first + rows of a quantized matrix, as somewhere to quantize into. Scales, zero points and codes are
/// row-major, so a piece of rows is a piece of each array.
template <class Scheme>
qlite::quantized_target<Scheme> rows_of(qlite::quantized_matrix<Scheme>& q, std::size_t first, std::size_t rows) {
  const qlite::canonical_layout<Scheme> piece{rows, q.cols(), q.scheme()};
  qlite::quantized_target<Scheme> target;
  target.shape = piece;
  target.codes = q.codes() + first * piece.code_row_bytes();
  target.scales = q.scales() + first * piece.groups();
  if constexpr (std::is_same_v<typename Scheme::zero_type, qlite::offset<>>)
    target.offsets = q.offsets() + first * piece.groups();
  if constexpr (std::is_same_v<typename Scheme::zero_type, qlite::asymmetric>)
    target.zeros = q.zeros() + first * piece.zero_row_bytes();
  return target;
}

/// Reads and quantizes W [rows, cols]; never more than a few megabytes of it are floats.
template <class Scheme>
qlite::quantized_matrix<Scheme> quantize_rows(std::size_t rows, std::size_t cols, Scheme scheme,
                                              quantization_method method, const row_reader& read, executor& threads) {
  qlite::quantized_matrix<Scheme> q(rows, cols, scheme);
  for_each_piece(rows, cols, read, threads, [&](std::size_t first, qlite::matrix_view<const float> piece) {
    const qlite::quantized_target<Scheme> target = rows_of(q, first, piece.rows());
    if (method == quantization_method::rtn)
      qlite::quantize_into(piece, qlite::rtn{}, target, threads);
    else
      qlite::quantize_into(piece, qlite::mse_clip{}, target, threads);
  });
  return q;
}

}    // namespace llm
