// Reading a weight matrix a few rows at a time, so that never more than a few megabytes of it are floats.
#pragma once

#include <algorithm>
#include <functional>
#include <qlite/core/view.hpp>

#include "executor.hpp"
#include "memory.hpp"

namespace llm {

/// Decodes rows first ... first + out.rows() of a weight matrix. Called from several threads at once.
using row_reader = std::function<void(std::size_t first, qlite::matrix_view<float> out)>;

/// Calls f(first, rows) for pieces of a matrix, each of at most 4 MiB of floats: f reads `rows` into memory of its own.
template <class F>
void for_each_piece(std::size_t rows, std::size_t cols, const row_reader& read, executor& threads, F&& f) {
  const std::size_t most = std::max<std::size_t>(1, (std::size_t{1} << 20) / std::max<std::size_t>(cols, 1));
  array<float> values(std::min(rows, most) * cols);
  for (std::size_t first = 0; first < rows; first += most) {
    const std::size_t count = std::min(most, rows - first);
    const qlite::matrix_view<float> piece{values.data(), count, cols};
    for_each_slice(threads, count, [&](std::size_t begin, std::size_t end) {
      if (end > begin) read(first + begin, {piece.row(begin), end - begin, cols});
    });
    f(first, qlite::matrix_view<const float>(piece));
  }
}

}    // namespace llm
