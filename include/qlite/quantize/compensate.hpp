// Weights that make up for what has been lost before their layer: the quantized model gives it other inputs than the
// original had, and its own weights can take part of that back.
#pragma once

#include <qlite/calibrate/drift.hpp>
#include <qlite/quantize/gptq.hpp>
#include <qlite/quantize/scaled_by.hpp>

QLITE_BEGIN_NAMESPACE

/// Quantizes by `Inner` not W but the weights whose outputs on the quantized model's inputs X̂ are nearest to those of
/// W on the original's X:
///     W* = W + strength (W (X - X̂)ᵀ X̂ + (R - R̂)ᵀ X̂) (X̂ᵀX̂ + damping)⁻¹
/// The second term is there if `residual` is: for a layer whose outputs are added to a residual stream R, the sum is
/// what should be near. H and the drifts are gathered layer by layer, on a model whose earlier layers are quantized
/// already; `Inner` should know the same H.
///
/// Y. Arai, Y. Ichikawa: Quantization Error Propagation, NeurIPS 2025, arXiv:2504.09629 (its strength α is `strength`);
/// the same target one column at a time in Y. Li and others: GPTAQ, ICML 2025, arXiv:2504.02692; the residual stream
/// in L. Lin, X. Wan: LoaQ, arXiv:2509.06297.
///
///     damping      share of H's mean diagonal, at least `scarcity` K / rows that H has seen; doubled until the matrix
///                  is positive definite (as gptq's)
///     scarcity     what is not a function of X̂ in the drifts is noise, and K numbers fitted to that many rows follow
///                  the share K / rows of it: the fewer rows, the more damping. 0: always `damping`
///     strength     1: all of it; 0: W
///
/// Without drift W* is W. Sums are of exact products in double, in a fixed order: the same bits on every
/// target and with any number of threads. Time K³/3 + 4 N K² operations, at half of the peak that floats have. Memory
/// 2 K² + 4 N K bytes and, for each task, about 3200 bytes a column. Errors: as Inner; a Hessian or a drift of
/// another size, or with elements that are not finite.
template <class Inner = rtn>
struct compensated {
  const hessian* statistics;    ///< of X̂; must outlive the call, and so must the drifts
  const drift* inputs;          ///< (X - X̂)ᵀ X̂
  Inner inner;
  const drift* residual = nullptr;    ///< (R - R̂)ᵀ X̂, or null
  double damping = 0.01;
  double scarcity = 10.0;
  float strength = 1.0f;

  QLITE_INLINE compensated(const hessian& H, const drift& of_inputs, Inner method = {}) noexcept
      : statistics(&H), inputs(&of_inputs), inner(method) {}
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// (X - X̂)ᵀ X̂ as a factor of products.
struct drift_factor {
  const drift& D;
  QLITE_INLINE std::size_t row(std::size_t k) const noexcept { return k; }
  QLITE_INLINE float at(std::size_t k, std::size_t c) const noexcept { return static_cast<float>(D(k, c)); }
};

/// Rows that one copy of the factors' panels serves.
inline constexpr std::size_t compensated_rows = 384;

struct compensation {
  const drift& inputs;
  const drift* residual;
  triangular_tiles L;    ///< of H and its damping
  float strength;
};

/// The rows [begin, end) of W*. `tiles` [tiles][n][tile_rows], twice, and `sums` [tiles][reach][tile_rows] are scratch.
template <class T>
void compensate_rows(const compensation& how, matrix_view<const T> W, matrix_view<float> to, std::size_t begin,
                     std::size_t end, float* tiles, float* other, double* sums, double* panels) {
  const std::size_t n = W.cols(), count = ceil_div(end - begin, tile_rows), stride = n * tile_rows;
  const std::size_t reach = (min_of(panel_width, n) + tile_cols) * tile_rows;
  const auto row_of = [&](std::size_t t, std::size_t r) { return begin + t * tile_rows + r; };
  const auto for_blocks = [&](auto&& block) {
    for (std::size_t b = 0; b < n; b += panel_width) {
      for (std::size_t i = 0; i < count * reach; ++i) sums[i] = 0.0;
      block(b, min_of(b + panel_width, n));
    }
  };
  for (std::size_t t = 0; t < count; ++t)
    for (std::size_t c = 0; c < n; ++c)
      for (std::size_t r = 0; r < tile_rows; ++r)
        tiles[t * stride + c * tile_rows + r] = row_of(t, r) < end ? element<T>::load(W(row_of(t, r), c)) : 0.0f;

  for_blocks([&](std::size_t b, std::size_t e) {    // other = W (X - X̂)ᵀ X̂ + (R - R̂)ᵀ X̂
    const tile_run run{tiles, stride, 0, sums, reach, b, count};
    accumulate_tiles(run, drift_factor{how.inputs}, 0, n, b, e, panels);
    for (std::size_t t = 0; t < count; ++t)
      for (std::size_t c = b; c < e; ++c)
        for (std::size_t r = 0; r < tile_rows; ++r) {
          double sum = run.sum(t, c)[r];
          if (how.residual != nullptr && row_of(t, r) < end) sum += (*how.residual)(row_of(t, r), c);
          other[t * stride + c * tile_rows + r] = static_cast<float>(sum);
        }
  });
  const auto solve = [&](float* x, const auto& factor, auto&& pivot) {
    for_blocks([&](std::size_t b, std::size_t e) {
      const tile_run run{x, stride, 0, sums, reach, b, count};
      accumulate_tiles(run, factor, 0, b, b, e, panels);
      solve_all_tiles(run, factor, b, e, panels,
                      [&](std::size_t, std::size_t c, const double* products, float* column) QLITE_LAMBDA {
                        for (std::size_t r = 0; r < tile_rows; ++r)
                          column[r] = static_cast<float>((static_cast<double>(column[r]) - products[r]) / pivot(c));
                      });
    });
  };
  solve(other, transposed_factor{how.L},
        [&](std::size_t c) QLITE_LAMBDA { return static_cast<double>(how.L.at(c, c)); });    // z Lᵀ = other
  for (std::size_t t = 0; t < count; ++t)                                                    // the last column first
    for (std::size_t c = 0; c < n; ++c)
      std::memcpy(tiles + t * stride + c * tile_rows, other + t * stride + (n - 1 - c) * tile_rows,
                  tile_rows * sizeof(float));
  solve(tiles, feedback_factor{how.L}, [&](std::size_t c) QLITE_LAMBDA {    // y L = z
    return static_cast<double>(how.L.at(n - 1 - c, n - 1 - c));
  });
  for (std::size_t r = begin; r < end; ++r)
    for (std::size_t c = 0; c < n; ++c) {
      const float change = tiles[(r - begin) / tile_rows * stride + (n - 1 - c) * tile_rows + (r - begin) % tile_rows];
      // exact, so there is nothing to fuse
      const double product = static_cast<double>(how.strength) * static_cast<double>(change);
      to(r, c) = static_cast<float>(static_cast<double>(element<T>::load(W(r, c))) + product);
    }
}

/// The share of the mean diagonal to begin with. A Hessian from elsewhere has seen no rows and is taken as it is.
QLITE_INLINE double damping_for(double least, double scarcity, const hessian& H) {
  if (H.rows() == 0) return least;
  return max_of(least, scarcity * static_cast<double>(H.cols()) / static_cast<double>(H.rows()));
}

inline void check_drift(const drift& D, const char* rows, std::size_t expected_rows, std::size_t cols) {
  check_equal("the rows of the drift", D.rows(), rows, expected_rows);
  check_equal("the columns of the drift", D.cols(), "columns of W", cols);
}

}    // namespace impl

/// Refuses a damping, a scarcity or a strength that is none, a Hessian or a drift of other columns, and what the inner
/// method refuses.
template <class Inner>
QLITE_INLINE void check_columns(const compensated<Inner>& method, std::size_t cols) {
  if (QLITE_UNLIKELY(!(method.damping >= 0.0 && method.damping <= 1e6)))
    impl::fail("qlite: compensated.damping is %g, expected 0 ... 1e6", method.damping);
  if (QLITE_UNLIKELY(!(method.scarcity >= 0.0 && method.scarcity <= 1e3)))
    impl::fail("qlite: compensated.scarcity is %g, expected 0 ... 1000", method.scarcity);
  if (QLITE_UNLIKELY(!(method.strength >= 0.0f && method.strength <= 1.0f)))
    impl::fail("qlite: compensated.strength is %g, expected 0 ... 1", static_cast<double>(method.strength));
  impl::check_equal("the columns of the Hessian", method.statistics->cols(), "columns of W", cols);
  impl::check_drift(*method.inputs, "columns of W", cols, cols);
  impl::check_use(method.inner, cols);
}

/// W* itself, into `to` [N, K]: what compensated quantizes; its inner method is not used. Errors as compensated.
template <class T, class Inner, class Executor = serial>
void compensate(matrix_view<T> weights, const compensated<Inner>& method, matrix_view<float> to,
                const Executor& executor = {}) {
  const matrix_view<const std::remove_const_t<T>> W(weights);
  impl::check_matrix("W", W);
  impl::check_matrix("to", to);
  impl::check_equal("rows of the result", to.rows(), "rows of W", W.rows());
  impl::check_equal("columns of the result", to.cols(), "columns of W", W.cols());
  check_columns(method, W.cols());
  if (method.residual != nullptr) impl::check_drift(*method.residual, "rows of W", W.rows(), W.cols());
  if (W.empty()) return;
  const hessian& H = *method.statistics;
  impl::check_elements(H);
  const std::size_t n = W.cols();
  detail::carver sizes;
  const auto carve = [n](detail::carver& memory, double*& numbers, std::size_t*& order, float*& tiles) {
    numbers = memory.take<double>(n);
    order = memory.take<std::size_t>(n);
    tiles = memory.take<float>(impl::triangular_tiles::size(n));
  };
  double* numbers;
  std::size_t* order;
  float* tiles;
  carve(sizes, numbers, order, tiles);
  const detail::buffer memory(sizes.bytes());
  detail::carver carver(memory.data());
  carve(carver, numbers, order, tiles);
  const impl::gptq_diagonal diagonal = impl::read_diagonal(H, false, numbers);
  for (std::size_t c = 0; c < n; ++c) order[c] = n - 1 - c;    // damped_hessian turns it round
  const impl::triangular_tiles L{tiles, n};
  double damping = impl::damping_for(method.damping, method.scarcity, H);
  impl::factorize_damped(blocked_cholesky{}, H, order, diagonal, damping, L, executor);

  const std::size_t rows = detail::ceil_div(W.rows(), impl::tile_rows);
  const std::size_t tasks = impl::task_count(executor, rows, W.rows() * n * n, std::size_t{1} << 20);
  const std::size_t share = detail::ceil_div(rows, tasks);
  const std::size_t piece =
      detail::ceil_div(share, detail::ceil_div(share * impl::tile_rows, impl::compensated_rows));    // tiles
  const auto carve_task = [&](detail::carver& from, float*& a, float*& b, double*& sums, double*& panels) {
    a = from.take<float>(piece * n * impl::tile_rows);
    b = from.take<float>(piece * n * impl::tile_rows);
    sums = from.take<double>(piece * (detail::min_of(impl::panel_width, n) + impl::tile_cols) * impl::tile_rows);
    panels = from.take<double>(impl::panel_size(impl::panel_depth, impl::panel_width));
  };
  detail::carver task_sizes;
  float *a, *b;
  double *sums, *panels;
  carve_task(task_sizes, a, b, sums, panels);
  const std::size_t each = task_sizes.bytes() + detail::cache_line;
  const detail::buffer scratch(tasks * each);
  executor.parallel_for(tasks, [&](std::size_t i) {
    detail::carver mine(scratch.data() + i * each);
    float *own_a, *own_b;
    double *own_sums, *own_panels;
    carve_task(mine, own_a, own_b, own_sums, own_panels);
    const detail::slice own = detail::slice_of(rows, tasks, i);
    for (std::size_t t = own.begin; t < own.end; t += piece) {
      const std::size_t end = detail::min_of(detail::min_of(t + piece, own.end) * impl::tile_rows, W.rows());
      impl::compensate_rows(impl::compensation{*method.inputs, method.residual, L, method.strength}, W, to,
                            t * impl::tile_rows, end, own_a, own_b, own_sums, own_panels);
    }
  });
}

/// The hook of quantize/quantize.hpp.
template <class Inner, class Scheme, class T, class Executor>
auto quantize_matrix(const compensated<Inner>& method, Scheme scheme, matrix_view<const T> W,
                     const Executor& executor) {
  const impl::float_matrix better(W.rows(), W.cols());
  compensate(W, method, better.view, executor);
  return impl::quantize_any<impl::kernels>(scheme, matrix_view<const float>(better.view), method.inner, executor);
}

QLITE_END_FUNCTIONS
