// AWQ: weights that meet large inputs are scaled up before they are rounded, by a power of the inputs' mean magnitude
// that is searched for on a sample of inputs.
#pragma once

#include <qlite/calibrate/activation_stats.hpp>
#include <qlite/calibrate/hessian.hpp>
#include <qlite/core/tile_products.hpp>
#include <qlite/quantize/mse_clip.hpp>
#include <qlite/quantize/scaled_by.hpp>

QLITE_BEGIN_NAMESPACE

/// AWQ (Lin, Tang, Tang, Yang, Dang, Han: AWQ, MLSys 2024, arXiv:2306.00978). For r = i / grid, i < grid,
///     s_c = max(mean |x_c|, 1e-4)^r, divided by sqrt(max s * min s)
/// and the r is kept whose W diag(s), quantized by `Fit`, has the outputs of least squared error on the sample X [M,
/// K]. r = 0 is s = 1, so the error on X is never larger than that of `Fit`. Then, if `clip`, the scale of each group
/// is searched among `clip_steps` reductions of its range to down to a half, for the least squared error of the group's
/// part of the outputs; that result is kept only if it lowers the error of the whole outputs.
///
/// Factors are rounded to bfloat16 (which the inputs undo exactly), so that they do not depend on the last bits of pow.
/// Gives a scaled_matrix. Time grid * M N K multiply-adds, half of that peak which floats would have; memory 8 N K
/// bytes. Errors: as quantize; statistics or a sample of other columns, an empty or not finite sample, a grid of 0.
template <class T = float, class Fit = rtn>
struct awq {
  const activation_stats* statistics;    ///< must outlive the call, and so must the sample
  matrix_view<const T> sample;
  Fit fit;
  std::size_t grid = 20;
  bool clip = true;
  std::size_t clip_steps = 10;

  QLITE_INLINE awq(const activation_stats& stats, matrix_view<const T> X, Fit fit_groups = {}) noexcept
      : statistics(&stats), sample(X), fit(fit_groups) {}
};

/// awq{stats, X}
template <class T>
awq(const activation_stats&, matrix_view<T>) -> awq<std::remove_const_t<T>, rtn>;
/// awq{stats, X, fit}
template <class T, class Fit>
awq(const activation_stats&, matrix_view<T>, Fit) -> awq<std::remove_const_t<T>, Fit>;

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Xᵀ as a factor of products.
template <class T>
struct sample_factor {
  matrix_view<const T> X;
  QLITE_INLINE std::size_t row(std::size_t k) const noexcept { return k; }
  QLITE_INLINE float at(std::size_t k, std::size_t token) const noexcept { return element<T>::load(X(token, k)); }
};

/// Tiles of rows that one copy of the sample serves, and its rows at once.
inline constexpr std::size_t output_tiles = 8, output_tokens = 256;

/// The sum over all outputs of (x (Ŵ diag(1 / s) - W)ᵀ)². Differences are rounded to float; squares of outputs that are
/// rounded to float are summed in double, tile after tile: the same bits with any executor.
template <class T, class U, class Executor>
double output_loss(matrix_view<const T> W, matrix_view<const float> quantized, const channel_scale& scale,
                   matrix_view<const U> X, const Executor& executor) {
  const std::size_t k = W.cols(), tiles = ceil_div(W.rows(), tile_rows), runs = ceil_div(tiles, output_tiles);
  const std::size_t tokens = min_of(output_tokens, X.rows()), sum_size = tile_rows * round_up(tokens, tile_cols);
  const std::size_t tasks = task_count(executor, runs, W.rows() * k * X.rows(), std::size_t{1} << 20);
  carver sizes;
  const auto carve = [&](carver& memory, float*& tile, double*& sums, double*& panels) {
    tile = memory.take<float>(output_tiles * k * tile_rows);
    sums = memory.take<double>(output_tiles * sum_size);
    panels = memory.take<double>(panel_size(panel_depth, panel_width));
  };
  float* tile;
  double *sums, *panels;
  carve(sizes, tile, sums, panels);
  const std::size_t each = sizes.bytes() + cache_line;
  const buffer memory(tasks * each), losses(runs * sizeof(double));
  executor.parallel_for(tasks, [&](std::size_t task) {
    carver mine(memory.data() + task * each);
    float* left;
    double *own_sums, *own_panels;
    carve(mine, left, own_sums, own_panels);
    const slice own = slice_of(runs, tasks, task);
    for (std::size_t i = own.begin; i < own.end; ++i) {
      const std::size_t first = i * output_tiles, count = min_of(output_tiles, tiles - first);
      for (std::size_t t = 0; t < count; ++t)
        for (std::size_t r = 0; r < tile_rows; ++r) {
          const std::size_t row = (first + t) * tile_rows + r;
          float* const to = left + t * k * tile_rows + r;
          for (std::size_t c = 0; c < k; ++c)
            to[c * tile_rows] = row < W.rows() ? quantized(row, c) / scale[c] - element<T>::load(W(row, c)) : 0.0f;
        }
      double loss = 0;
      for (std::size_t begin = 0; begin < X.rows(); begin += tokens) {
        const std::size_t n = min_of(tokens, X.rows() - begin);
        for (std::size_t j = 0; j < count * sum_size; ++j) own_sums[j] = 0.0;
        const tile_run run{left, k * tile_rows, 0, own_sums, sum_size, 0, count};
        accumulate_tiles(run, sample_factor<U>{{X.row(begin), n, k, X.row_stride()}}, 0, k, 0, n, own_panels);
        for (std::size_t t = 0; t < count; ++t)
          for (std::size_t j = 0; j < n * tile_rows; ++j) {
            const auto y = static_cast<double>(static_cast<float>(own_sums[t * sum_size + j]));
            loss += y * y;
          }
      }
      reinterpret_cast<double*>(losses.data())[i] = loss;
    }
  });
  double loss = 0;
  for (std::size_t i = 0; i < runs; ++i) loss += reinterpret_cast<const double*>(losses.data())[i];
  return loss;
}

/// The squared error of a group's part of the outputs, for a group of one row: d G dᵀ with d the errors of its weights
/// and G the Gram matrix of the inputs that they meet.
struct gram_error {
  static constexpr bool prunes = false;
  double* grams;    ///< of each group of columns, one after the other
  std::size_t cols, group_size;
  float* errors;    ///< scratch for one group

  QLITE_INLINE triangle_view gram(std::size_t g) const noexcept {
    return {grams + g * triangle_view::size(group_size), min_of(group_size, cols - g * group_size)};
  }
  template <class Scheme, class Round, class Group>
  QLITE_INLINE double operator()(const encoder<Scheme, Round>& code, const Group& group) const {
    const triangle_view G = gram(group.col / group_size);
    const decoder<Scheme> number{code.scale, code.offset, code.zero + scheme_traits<Scheme>::stored_bias};
    for (std::size_t i = 0; i < group.cols; ++i)
      errors[i] = number.number(static_cast<std::uint8_t>(code.fields(group.data[i]))) - group.data[i];
    double sum = 0;
    for (std::size_t i = 0; i < group.cols; ++i) {
      const double* const row = G.row(i);
      double products[4] = {};
      for (std::size_t j = i + 1; j < group.cols; ++j) {
        // rounded to float, so that the sum is of exact products
        const auto g = static_cast<double>(static_cast<float>(row[j - i]));
        products[j % 4] += g * static_cast<double>(errors[j]);
      }
      const float both = 2.0f * static_cast<float>((products[0] + products[1]) + (products[2] + products[3]));
      const float self = static_cast<float>(row[0]) * errors[i];
      sum += static_cast<double>(both) * static_cast<double>(errors[i]);
      sum += static_cast<double>(self) * static_cast<double>(errors[i]);
    }
    return sum;
  }
};

/// A group-local method with that error. Made for one task: it has scratch.
template <class Round>
struct gram_clip {
  using round_type = Round;
  gram_error error;
  basic_mse_clip<Round> search;
};

template <class Round, class Scheme, class Kernels>
group_parameters<Scheme> fit_group(const gram_clip<Round>& method, Scheme scheme,
                                   const weight_group<float, Kernels>& group) {
  return search_clip(method.search, scheme, group, method.error);
}

/// s for the exponent r.
inline void set_scale(const activation_stats& stats, double r, channel_scale& scale) {
  double low = 0, high = 0;
  const auto power = [&](std::size_t c) { return __builtin_pow(max_of(stats.mean_abs(c), 1e-4), r); };
  for (std::size_t c = 0; c < stats.cols(); ++c) {
    const double s = power(c);
    low = c == 0 ? s : min_of(low, s);
    high = max_of(high, s);
  }
  const double middle = __builtin_sqrt(low * high);
  for (std::size_t c = 0; c < stats.cols(); ++c)
    scale[c] = bfloat16::from_float(static_cast<float>(power(c) / middle)).to_float();
}

/// Groups of one row, clipped for the inputs x / s; rows spread over the executor's tasks.
template <class Round, class Scheme, class U, class Executor>
quantized_matrix<Scheme> clip_groups(Scheme scheme, matrix_view<const float> scaled, matrix_view<const U> X,
                                     const channel_scale& scale, std::size_t steps, const Executor& executor) {
  quantized_matrix<Scheme> q(scaled.rows(), scaled.cols(), scheme);
  const std::size_t group = min_of(q.group_size(), q.cols()), groups = q.groups();
  buffer memory = allocate_triangles(groups, group);
  const gram_error errors{reinterpret_cast<double*>(memory.data()), X.cols(), group, nullptr};
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t begin = g * group;
    const triangle_view gram = errors.gram(g);
    observe_hessian(gram, matrix_view<const U>{X.data() + begin, X.rows(), gram.n, X.row_stride()}, executor);
    for (std::size_t i = 0; i < gram.n; ++i)
      for (std::size_t j = i; j < gram.n; ++j)
        gram.at(i, j) = gram.at(i, j) / static_cast<double>(scale[begin + i]) / static_cast<double>(scale[begin + j]);
  }
  const std::size_t tasks =
      task_count(executor, scaled.rows(), scaled.rows() * scaled.cols() * group, std::size_t{1} << 18);
  const std::size_t each = round_up(group * sizeof(float), cache_line);
  const buffer scratch(tasks * each);
  const quantized_target<Scheme> target(q);
  executor.parallel_for(tasks, [&](std::size_t task) {
    const slice rows = slice_of(scaled.rows(), tasks, task);
    gram_clip<Round> method{errors, basic_mse_clip<Round>{2 * steps, min_of(steps + 1, 2 * steps)}};
    method.error.errors = reinterpret_cast<float*>(scratch.data() + task * each);
    static_cast<void>(quantize_weight_rows<kernels>(scaled, method, target, rows.begin, rows.end));
  });
  return q;
}

}    // namespace impl

/// Refuses statistics and a sample of other columns, an empty or not finite sample, and a grid that is none.
template <class T, class Fit>
void check_columns(const awq<T, Fit>& method, std::size_t cols) {
  impl::check_equal("the columns of the statistics", method.statistics->cols(), "columns of W", cols);
  impl::check_batch(method.sample, cols, "columns of W");
  if (QLITE_UNLIKELY(method.sample.rows() == 0)) impl::fail("qlite: awq.sample has 0 rows, expected inputs to try");
  if (QLITE_UNLIKELY(method.grid == 0)) impl::fail("qlite: awq.grid is 0, expected at least 1");
  if (QLITE_UNLIKELY(method.clip && method.clip_steps == 0))
    impl::fail("qlite: awq.clip_steps is 0, expected at least 1");
  impl::check_use(method.fit, cols);
}

/// The hook of quantize/quantize.hpp.
template <class U, class Fit, class Scheme, class T, class Executor>
scaled_matrix<Scheme> quantize_matrix(const awq<U, Fit>& method, Scheme scheme, matrix_view<const T> W,
                                      const Executor& executor) {
  static_assert(impl::is_group_local<Fit, Scheme, float>,
                "qlite: awq<T, Fit> needs a method that works group by group, rtn or mse_clip say");
  using traits = detail::scheme_traits<Scheme>;
  const impl::float_matrix scaled(W.rows(), W.cols()), back(W.rows(), W.cols());
  const auto loss_of = [&](const quantized_matrix<Scheme>& q, const channel_scale& scale) {
    dequantize(q, back.view, executor);
    return impl::output_loss(W, matrix_view<const float>(back.view), scale, method.sample, executor);
  };
  channel_scale best(W.cols()), trial(W.cols());
  quantized_matrix<Scheme> codes;
  double least = 0;
  for (std::size_t i = 0; i < method.grid; ++i) {
    impl::set_scale(*method.statistics, static_cast<double>(i) / static_cast<double>(method.grid), trial);
    impl::scale_weights(W, trial, scaled.view, executor);
    quantized_matrix<Scheme> q =
        impl::quantize_any<impl::kernels>(scheme, matrix_view<const float>(scaled.view), method.fit, executor);
    const double loss = loss_of(q, trial);
    if (i == 0 || loss < least) {
      least = loss;
      codes = static_cast<quantized_matrix<Scheme>&&>(q);
      best = static_cast<channel_scale&&>(trial);    // swaps
    }
  }
  if constexpr (!traits::one_scale)
    if (method.clip && !W.empty()) {
      impl::scale_weights(W, best, scaled.view, executor);
      quantized_matrix<Scheme> clipped = impl::clip_groups<typename Fit::round_type>(
          scheme, matrix_view<const float>(scaled.view), method.sample, best, method.clip_steps, executor);
      if (loss_of(clipped, best) < least) codes = static_cast<quantized_matrix<Scheme>&&>(clipped);
    }
  return {static_cast<quantized_matrix<Scheme>&&>(codes), static_cast<channel_scale&&>(best)};
}

QLITE_END_FUNCTIONS
