// Products of floats summed in double, in tiles: what the Hessian, its Cholesky factor and GPTQ spend their time on.
//
// A product of two floats is exact in double. A sum of such products in a fixed order therefore has the same bits
// whether or not a multiplication is fused with the addition that follows, and whatever the vectors' width: the codes
// that come out of it are the same on every target. That is worth the half of the float peak that it costs.
//
//   tile    [k][tile_rows] floats      tile_rows rows of a matrix, column after column
//   panel   [k][tile_cols] doubles     tile_cols columns of the other factor, row after row; values that floats can
//   hold sums    [tile_cols][tile_rows]     doubles
#pragma once

#include <qlite/core/bits.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

// As many sums as leave registers for a column of the tile and a number of the panel.
#if defined(__CUDACC__)    // its front end lacks __builtin_convertvector
inline constexpr std::size_t product_lanes = 1, tile_vectors = 4, tile_cols = 4;
typedef double sum_vector;
typedef float tile_vector;
QLITE_INLINE sum_vector widen_tile(tile_vector x) noexcept { return static_cast<double>(x); }
#else
#if defined(__AVX512F__)
inline constexpr std::size_t product_lanes = 8, tile_vectors = 3, tile_cols = 8;
#elif defined(__AVX__)
inline constexpr std::size_t product_lanes = 4, tile_vectors = 3, tile_cols = 4;
#elif defined(__aarch64__)
inline constexpr std::size_t product_lanes = 2, tile_vectors = 4, tile_cols = 6;
#else
inline constexpr std::size_t product_lanes = 2, tile_vectors = 4, tile_cols = 2;
#endif
typedef double sum_vector __attribute__((vector_size(8 * product_lanes)));
typedef float tile_vector __attribute__((vector_size(4 * product_lanes)));
QLITE_INLINE sum_vector widen_tile(const tile_vector& x) noexcept {
#if defined(__AVX512F__) && !defined(__clang__)    // what g++ 12 makes of __builtin_convertvector goes by halves
  return __builtin_ia32_cvtps2pd512_mask(x, sum_vector{}, static_cast<char>(-1), 4);
#elif defined(__AVX__) && !defined(__clang__)
  return __builtin_ia32_cvtps2pd256(x);
#else
  return __builtin_convertvector(x, sum_vector);
#endif
}
#endif
inline constexpr std::size_t tile_rows = product_lanes * tile_vectors;

QLITE_INLINE void load_tile_vector(const float* from, sum_vector& v) noexcept {
  tile_vector x;
  std::memcpy(&x, from, sizeof x);
  v = widen_tile(x);
}

/// sums[c][r] += x[0][r] y[0][c] + x[1][r] y[1][c] + ..., n terms, one after the other.
QLITE_NOINLINE inline void multiply_tile(const float* x, const double* y, std::size_t n, double* sums) noexcept {
  sum_vector acc[tile_cols][tile_vectors];
  repeat<tile_cols>([&](auto c) QLITE_LAMBDA {
    repeat<tile_vectors>([&](auto v) QLITE_LAMBDA {
      std::memcpy(&acc[c][v], sums + c * tile_rows + v * product_lanes, sizeof(sum_vector));
    });
  });
  for (std::size_t k = 0; k < n; ++k, x += tile_rows, y += tile_cols) {
    sum_vector column[tile_vectors];
    repeat<tile_vectors>([&](auto v) QLITE_LAMBDA { load_tile_vector(x + v * product_lanes, column[v]); });
    repeat<tile_cols>([&](auto c) QLITE_LAMBDA {
      repeat<tile_vectors>([&](auto v) QLITE_LAMBDA { acc[c][v] += column[v] * y[c]; });
    });
  }
  repeat<tile_cols>([&](auto c) QLITE_LAMBDA {
    repeat<tile_vectors>([&](auto v) QLITE_LAMBDA {
      std::memcpy(sums + c * tile_rows + v * product_lanes, &acc[c][v], sizeof(sum_vector));
    });
  });
}

/// sums[r] += x[r] * y for one column of a tile.
QLITE_INLINE void add_column(double* sums, const float* x, double y) noexcept {
  repeat<tile_vectors>([&](auto v) QLITE_LAMBDA {
    sum_vector sum, column;
    std::memcpy(&sum, sums + v * product_lanes, sizeof sum);
    load_tile_vector(x + v * product_lanes, column);
    sum += column * y;
    std::memcpy(sums + v * product_lanes, &sum, sizeof sum);
  });
}

/// Rows of the other factor that are copied into panels at once, and columns: together they stay in the second cache.
inline constexpr std::size_t panel_depth = 256, panel_width = 128;
/// Doubles of the panels of `depth` rows and `width` columns.
QLITE_INLINE constexpr std::size_t panel_size(std::size_t depth, std::size_t width) noexcept {
  return depth * round_up(width, tile_cols);
}

/// Several tiles and their sums. Another type with these three members will do where tiles lie differently.
struct tile_run {
  float* tiles;    ///< tile t begins `tile_stride` floats after tile t - 1,
  std::size_t tile_stride;
  std::size_t first;    ///< with this column of the matrix
  double* sums;         ///< likewise in doubles,
  std::size_t sum_stride;
  std::size_t first_sum;    ///< and with this column
  std::size_t count;

  QLITE_INLINE float* column(std::size_t t, std::size_t k) const noexcept {
    return tiles + t * tile_stride + (k - first) * tile_rows;
  }
  QLITE_INLINE double* sum(std::size_t t, std::size_t k) const noexcept {
    return sums + t * sum_stride + (k - first_sum) * tile_rows;
  }
};

/// Copies rows [k0, k1) and `n` columns of the other factor from c on into a panel, the columns past those as zeros.
/// The factor is a type with
///     T row(k) const                  something quick to index, made once a row
///     float at(T row, c) const        element (k, c)
template <class Factor>
QLITE_INLINE void fill_panel(const Factor& factor, std::size_t k0, std::size_t k1, std::size_t c, std::size_t n,
                             double* panel) noexcept {
  if (QLITE_LIKELY(n == tile_cols))
    for (std::size_t k = k0; k < k1; ++k, panel += tile_cols) {
      const auto row = factor.row(k);
      repeat<tile_cols>([&](auto j) QLITE_LAMBDA { panel[j] = static_cast<double>(factor.at(row, c + j)); });
    }
  else
    for (std::size_t k = k0; k < k1; ++k, panel += tile_cols) {
      const auto row = factor.row(k);
      for (std::size_t j = 0; j < tile_cols; ++j) panel[j] = j < n ? static_cast<double>(factor.at(row, c + j)) : 0.0;
    }
}

/// sums(c) += sum over k in [k0, k1) of column(k) * factor(k, c), k ascending, for the columns [c0, c1) of each
/// tile. `panels` has room for panel_size(panel_depth, panel_width); sums have columns up to a multiple of tile_cols
/// after c0.
template <class Run, class Factor>
QLITE_INLINE void accumulate_tiles(const Run& run, const Factor& factor, std::size_t k0, std::size_t k1, std::size_t c0,
                                   std::size_t c1, double* panels) noexcept {
  for (std::size_t c = c0; c < c1; c += panel_width) {
    const std::size_t end = min_of(c + panel_width, c1);
    for (std::size_t k = k0; k < k1; k += panel_depth) {
      const std::size_t depth = min_of(panel_depth, k1 - k);
      for (std::size_t j = c; j < end; j += tile_cols)
        fill_panel(factor, k, k + depth, j, min_of(tile_cols, end - j), panels + (j - c) * depth);
      for (std::size_t t = 0; t < run.count; ++t)
        for (std::size_t j = c; j < end; j += tile_cols)
          multiply_tile(run.column(t, k), panels + (j - c) * depth, depth, run.sum(t, j));
    }
  }
}

/// The recurrence behind triangular solves: for the columns c = c0 ... c1 - 1 of each tile, at most panel_width,
///     sums(c) += sum over k in [c0, c) of column(k) * factor(k, c)
///     column(c) = finish(tile, c, sums(c))
/// where `finish(t, c, sums, column)` writes tile_rows floats. `panels` as in accumulate_tiles.
template <class Run, class Factor, class Finish>
QLITE_INLINE void solve_tiles(const Run& run, const Factor& factor, std::size_t c0, std::size_t c1, double* panels,
                              Finish&& finish) {
  const std::size_t width = c1 - c0;
  for (std::size_t j = c0; j < c1; j += tile_cols) {    // what lies on and below the diagonal is not used
    const std::size_t n = min_of(tile_cols, c1 - j);
    fill_panel(factor, c0, j + n, j, n, panels + (j - c0) * width);
  }
  for (std::size_t t = 0; t < run.count; ++t)
    for (std::size_t j = c0; j < c1; j += tile_cols) {
      const double* const panel = panels + (j - c0) * width;
      multiply_tile(run.column(t, c0), panel, j - c0, run.sum(t, j));
      for (std::size_t c = j; c < min_of(j + tile_cols, c1); ++c) {
        for (std::size_t k = j; k < c; ++k)
          add_column(run.sum(t, c), run.column(t, k), panel[(k - c0) * tile_cols + (c - j)]);
        finish(t, c, run.sum(t, c), run.column(t, c));
      }
    }
}

/// The same for any number of columns.
template <class Run, class Factor, class Finish>
QLITE_INLINE void solve_all_tiles(const Run& run, const Factor& factor, std::size_t c0, std::size_t c1, double* panels,
                                  Finish&& finish) {
  for (std::size_t c = c0; c < c1; c += panel_width) {
    const std::size_t end = min_of(c + panel_width, c1);
    accumulate_tiles(run, factor, c0, c, c, end, panels);
    solve_tiles(run, factor, c, end, panels, finish);
  }
}

}    // namespace impl
QLITE_END_FUNCTIONS
