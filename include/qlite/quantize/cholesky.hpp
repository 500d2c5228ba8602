// A symmetric positive definite matrix as R Rᵀ with R upper triangular, and from it the feedback of GPTQ. Blocked,
// spread over an executor, with the same bits on every target (core/tile_products.hpp).
#pragma once

#include <qlite/core/executor.hpp>
#include <qlite/core/tile_products.hpp>

QLITE_BEGIN_NAMESPACE

/// The factorization that is built in. Another one, interop/eigen.hpp's say, is a type with
///     bool operator()(double* A, std::size_t n, const Executor& executor) const
/// for every executor, that replaces the lower triangle of the row-major A [n, n] by its Cholesky factor L, A = L Lᵀ,
/// or returns false if A is not positive definite.
struct blocked_cholesky {};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// A lower triangular matrix in tiles: tile t holds rows t tile_rows ... and its columns up to its last row.
struct triangular_tiles {
  float* data;
  std::size_t n;

  QLITE_INLINE static constexpr std::size_t size(std::size_t order) noexcept {
    const std::size_t tiles = ceil_div(order, tile_rows);
    return tile_rows * tile_rows * (tiles * (tiles + 1) / 2);
  }
  QLITE_INLINE float* tile(std::size_t t) const noexcept { return data + tile_rows * tile_rows * (t * (t + 1) / 2); }
  QLITE_INLINE float& at(std::size_t row, std::size_t col) const noexcept {
    return tile(row / tile_rows)[col * tile_rows + row % tile_rows];
  }
};

/// Columns that are factorized at once, and tiles that a copy of the other factor serves: whole tiles on every target.
inline constexpr std::size_t cholesky_block = 96, cholesky_tiles = 8;
static_assert(cholesky_block % tile_rows == 0, "blocks of whole tiles");

/// Doubles: the sums of one tile, the scratch of the diagonal block and that of each task.
inline constexpr std::size_t cholesky_sums = tile_rows * round_up(cholesky_block, tile_cols);
inline constexpr std::size_t cholesky_diagonal = cholesky_block / tile_rows * cholesky_sums;
inline constexpr std::size_t cholesky_task = panel_size(panel_depth, panel_width) + cholesky_tiles * cholesky_sums;

/// Lᵀ as a factor of products: element (c, k) of L is what column k of a tile is multiplied with on its way to column
/// c.
struct transposed_factor {
  triangular_tiles L;
  QLITE_INLINE std::size_t row(std::size_t k) const noexcept { return k; }
  QLITE_INLINE float at(std::size_t k, std::size_t c) const noexcept { return L.at(c, k); }
};

/// `count` tiles of L from `tile` on and their sums, which begin with column `first_sum`.
struct triangular_run {
  triangular_tiles L;
  std::size_t tile;
  double* sums;
  std::size_t first_sum, count;

  QLITE_INLINE float* column(std::size_t t, std::size_t k) const noexcept { return L.tile(tile + t) + k * tile_rows; }
  QLITE_INLINE double* sum(std::size_t t, std::size_t k) const noexcept {
    return sums + t * cholesky_sums + (k - first_sum) * tile_rows;
  }
  QLITE_INLINE void clear() const noexcept {
    for (std::size_t i = 0; i < count * cholesky_sums; ++i) sums[i] = 0.0;
  }
};

/// A pivot below this part of its diagonal element is lost in the rounding of L to float, 2^-23 of that element.
inline constexpr double smallest_pivot = 0x1p-22;

/// Factorizes the block of columns [begin, end) where it meets the diagonal, whose tiles `run` holds, with the products
/// of the columns before. Right-looking; the terms of an element are subtracted in the order of their columns.
template <class Matrix>
bool factorize_diagonal(const Matrix& A, const triangular_run& run, std::size_t begin, std::size_t end) {
  const triangular_tiles& L = run.L;
  for (std::size_t c = begin; c < end; ++c) {
    const std::size_t own = c / tile_rows - run.tile;
    const double diagonal = A(c, c), rest = diagonal - run.sum(own, c)[c % tile_rows];
    if (!(rest > diagonal * smallest_pivot)) return false;
    const auto pivot = static_cast<float>(__builtin_sqrt(rest));
    for (std::size_t t = own; t < run.count; ++t)
      for (std::size_t r = 0; r < tile_rows; ++r) {
        const std::size_t row = (run.tile + t) * tile_rows + r;
        float x = row == c ? pivot : 0.0f;
        if (row > c && row < end) x = static_cast<float>((A(row, c) - run.sum(t, c)[r]) / static_cast<double>(pivot));
        run.column(t, c)[r] = x;
      }
    for (std::size_t later = c + 1; later < end; ++later) {
      const auto factor = static_cast<double>(L.at(later, c));
      for (std::size_t t = later / tile_rows - run.tile; t < run.count; ++t)
        add_column(run.sum(t, later), run.column(t, c), factor);
    }
  }
  return true;
}

/// L with A = L Lᵀ; A(row, col) is asked for row >= col. False: A is not positive definite, as far as floats can tell.
/// Left-looking: only L is stored. n³ / 3 operations. `scratch` holds cholesky_diagonal doubles, and cholesky_task for
/// each task of the executor.
template <class Matrix, class Executor>
bool factorize(const Matrix& A, const triangular_tiles& L, double* scratch, const Executor& executor) {
  const std::size_t n = L.n, all = ceil_div(n, tile_rows);
  const transposed_factor factor{L};
  double* const task_scratch = scratch + cholesky_diagonal;
  for (std::size_t begin = 0; begin < n; begin += cholesky_block) {
    const std::size_t end = min_of(begin + cholesky_block, n);
    const std::size_t first = begin / tile_rows, after = ceil_div(end, tile_rows);
    const auto tasks_for = [&](std::size_t tiles) {
      return task_count(executor, tiles, tiles * tile_rows * (begin + cholesky_block) * cholesky_block,
                        std::size_t{1} << 20);
    };

    const triangular_run diagonal{L, first, scratch, begin, after - first};
    diagonal.clear();
    const std::size_t diagonal_tasks = tasks_for(diagonal.count);
    executor.parallel_for(diagonal_tasks, [&](std::size_t task) {
      const slice own = slice_of(diagonal.count, diagonal_tasks, task);
      const triangular_run part{L, first + own.begin, scratch + own.begin * cholesky_sums, begin, own.end - own.begin};
      accumulate_tiles(part, factor, 0, begin, begin, end, task_scratch + task * cholesky_task);
    });
    if (!factorize_diagonal(A, diagonal, begin, end)) return false;
    if (after == all) break;

    const std::size_t tasks = tasks_for(all - after);
    executor.parallel_for(tasks, [&](std::size_t task) {
      const slice own = slice_of(all - after, tasks, task);
      double* const panels = task_scratch + task * cholesky_task;
      for (std::size_t t = own.begin; t < own.end; t += cholesky_tiles) {
        const triangular_run run{L, after + t, panels + panel_size(panel_depth, panel_width), begin,
                                 min_of(cholesky_tiles, own.end - t)};
        run.clear();
        accumulate_tiles(run, factor, 0, begin, begin, end, panels);
        solve_tiles(run, factor, begin, end, panels,
                    [&](std::size_t i, std::size_t c, const double* sums, float* column) QLITE_LAMBDA {
                      const auto pivot = static_cast<double>(L.at(c, c));
                      for (std::size_t r = 0; r < tile_rows; ++r) {
                        const std::size_t row = (run.tile + i) * tile_rows + r;
                        column[r] = row < n ? static_cast<float>((A(row, c) - sums[r]) / pivot) : 0.0f;
                      }
                    });
      }
    });
  }
  return true;
}

/// Divides each column of L by its element on the diagonal, which becomes 1.
template <class Executor>
void divide_by_pivots(const triangular_tiles& L, double* pivots, const Executor& executor) {
  for (std::size_t c = 0; c < L.n; ++c) pivots[c] = static_cast<double>(L.at(c, c));
  const std::size_t tiles = ceil_div(L.n, tile_rows);
  const std::size_t tasks = task_count(executor, tiles, L.n * L.n / 2, std::size_t{1} << 18);
  executor.parallel_for(tasks, [&](std::size_t task) {    // a task takes every so many-th tile: they grow
    for (std::size_t t = task; t < tiles; t += tasks)
      for (std::size_t c = 0; c < min_of((t + 1) * tile_rows, L.n); ++c) {
        float* const column = L.tile(t) + c * tile_rows;
        for (std::size_t r = 0; r < tile_rows; ++r)
          column[r] = static_cast<float>(static_cast<double>(column[r]) / pivots[c]);
      }
  });
}

}    // namespace impl
QLITE_END_FUNCTIONS
