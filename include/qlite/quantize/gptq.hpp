// GPTQ: columns are rounded one after the other, and what each leaves behind is made up for by the columns that come
// later, so far as the inputs of the layer let it.
#pragma once

#include <qlite/calibrate/hessian.hpp>
#include <qlite/quantize/feedback.hpp>

QLITE_BEGIN_NAMESPACE

/// Which weights the scale of a group is chosen from.
enum class gptq_groups : std::uint8_t {
  fresh,        ///< the weights as they are when the group's first column is reached, all corrections included
  reference,    ///< as the published code has it: corrections from whole blocks of 128 columns only
  original,     ///< the weights as they came ("static groups")
};

/// What a run of GPTQ found out.
struct gptq_report {
  double damping = 0;              ///< the share of the mean diagonal that was added to the diagonal in the end
  std::size_t attempts = 0;        ///< factorizations that it took
  std::size_t dead_columns = 0;    ///< inputs that were always 0
  QLITE_INLINE constexpr gptq_report() noexcept = default;
};

/// GPTQ (Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, ICLR 2023, arXiv:2210.17323). `Fit` is the group-local method that
/// chooses the numbers of a group: rtn, mse_clip, another basic_rtn.
///
/// The columns of W are rounded in turn; the weight that column k is rounded from is
///     w_k + sum over i < k of (w_i - ŵ_i) U_ik,      H + damping = (I + U) D (I + U)ᵀ, U strictly upper triangular
/// which is GPTQ's recurrence without the inverse of H (equivalent in exact arithmetic: Chee, Cai, Kuleshov, De Sa:
/// QuIP, NeurIPS 2023, arXiv:2307.13304, theorem 6). A Hessian without elements off its diagonal gives the codes of
/// `Fit` bit for bit.
///
///     damping      is added to the diagonal, as a share of its mean over the live columns; doubled (from at least
///                  2^-10) until the matrix is positive definite
///     act_order    columns of large H_kk first. Groups keep their columns and take their scales from the original
///                  weights, so that no g_idx is needed when the weights are used
///     groups       see gptq_groups; act_order implies `original`
///     dead columns (inputs always 0) are rounded on their own. `reference` sets them to 0 and counts their H_kk as 1
///                  in the mean, as the published code does; per_channel scales are chosen before that
///
/// Any scheme; per_tensor and per_channel scales always come from the original weights. Products of floats are summed
/// in double in a fixed order: the same bits on every target and with any number of threads.
///
/// Time K³/3 + N K² operations (multiply-adds count two), at half of the peak that floats have. Memory 2 K² bytes for
/// the factor and, for each task, about 2600 bytes for each column. Errors: as quantize; a Hessian of another size,
/// with a negative or not finite diagonal, or one that no damping makes positive definite.
template <class Fit = rtn, class Factorization = blocked_cholesky>
struct gptq {
  using round_type = typename Fit::round_type;

  const hessian* statistics;    ///< must outlive the call
  Fit fit;
  Factorization factorization;
  double damping = 0.01;
  bool act_order = false;
  gptq_groups groups = gptq_groups::fresh;
  gptq_report* report = nullptr;    ///< filled if not null

  QLITE_INLINE explicit gptq(const hessian& H, Fit fit_groups = {}, Factorization factorize = {}) noexcept
      : statistics(&H), fit(fit_groups), factorization(factorize) {}
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// The order in which columns are rounded: by decreasing diagonal, the first one first among equals. `scratch` is as
/// long as `order`. Merge sort, bottom up.
inline void sort_columns(const double* diagonal, std::size_t n, std::size_t* order, std::size_t* scratch) {
  for (std::size_t width = 1; width < n; width *= 2) {
    for (std::size_t begin = 0; begin < n; begin += 2 * width) {
      const std::size_t middle = min_of(begin + width, n), end = min_of(begin + 2 * width, n);
      std::size_t a = begin, b = middle;
      for (std::size_t i = begin; i < end; ++i) {
        const bool second = a == middle || (b < end && diagonal[order[b]] > diagonal[order[a]]);
        scratch[i] = second ? order[b++] : order[a++];
      }
    }
    for (std::size_t i = 0; i < n; ++i) order[i] = scratch[i];
  }
}

/// The diagonal of H, checked, and what is known from it.
struct gptq_diagonal {
  double mean = 0;    ///< what damping is a share of
  double dead = 0;    ///< what stands on the diagonal where H has 0
  std::size_t dead_columns = 0;
};

inline gptq_diagonal read_diagonal(const hessian& H, bool as_published, double* diagonal) {
  gptq_diagonal d;
  double sum = 0;
  for (std::size_t c = 0; c < H.cols(); ++c) {
    const double x = H(c, c);
    if (QLITE_UNLIKELY(!(x >= 0.0 && x <= 1e300)))
      fail("qlite: element (%zu, %zu) of the Hessian is %g, expected a finite number that is not negative", c, c, x);
    diagonal[c] = x;
    sum += x;
    if (!(x > 0.0)) ++d.dead_columns;
  }
  const std::size_t live = H.cols() - d.dead_columns;
  if (as_published) {    // there H is 2 / batches times ours, and 1 is put in
    d.dead = H.batches() == 0 ? 1.0 : 0.5 * static_cast<double>(H.batches());
    d.mean = (sum + d.dead * static_cast<double>(d.dead_columns)) / static_cast<double>(H.cols());
  } else {
    d.mean = live == 0 ? 1.0 : sum / static_cast<double>(live);
    d.dead = d.mean;
  }
  return d;
}

/// The Hessian as it is factorized: its last column first, in the order of rounding, with the damping.
struct damped_hessian {
  const hessian& H;
  const std::size_t* order;
  double dead, damping;

  QLITE_INLINE double operator()(std::size_t row, std::size_t col) const noexcept {
    const std::size_t last = H.cols() - 1, i = order[last - row], j = order[last - col];
    const double h = H(i, j);
    return row != col ? h : (h > 0.0 ? h : dead) + damping;
  }
};

template <class Executor>
bool factorize_with(const blocked_cholesky&, const damped_hessian& A, const triangular_tiles& L,
                    const Executor& executor) {
  const std::size_t tasks = concurrency_of(executor);
  const buffer scratch((cholesky_diagonal + tasks * cholesky_task) * sizeof(double));
  return factorize(A, L, reinterpret_cast<double*>(scratch.data()), executor);
}

template <class Factorization, class Executor>
bool factorize_with(const Factorization& factorization, const damped_hessian& A, const triangular_tiles& L,
                    const Executor& executor) {
  const std::size_t n = L.n;
  const buffer memory(n * n * sizeof(double));
  double* const dense = reinterpret_cast<double*>(memory.data());
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c <= r; ++c) dense[r * n + c] = A(r, c);
  if (!factorization(dense, n, executor)) return false;
  for (std::size_t r = 0; r < round_up(n, tile_rows); ++r)
    for (std::size_t c = 0; c < min_of(round_up(r + 1, tile_rows), n); ++c)
      L.at(r, c) = r < n && c <= r ? static_cast<float>(dense[r * n + c]) : 0.0f;
  return true;
}

/// Factorizes H with `damping` times its mean diagonal, doubled until that succeeds; says how many attempts it took.
template <class Factorization, class Executor>
std::size_t factorize_damped(const Factorization& factorization, const hessian& H, const std::size_t* order,
                             const gptq_diagonal& diagonal, double& damping, const triangular_tiles& L,
                             const Executor& executor) {
  std::size_t attempts = 1;
  while (
      !factorize_with(factorization, damped_hessian{H, order, diagonal.dead, damping * diagonal.mean}, L, executor)) {
    if (damping > 1e6)
      fail("qlite: the Hessian is not positive definite with %g times its mean diagonal added; expected X^T X",
           damping);
    damping = max_of(2 * damping, 0x1p-10);
    ++attempts;
  }
  return attempts;
}

/// Refuses a Hessian with elements that are no numbers.
inline void check_elements(const hessian& H) {
  for (std::size_t i = 0; i < H.cols(); ++i)
    for (std::size_t j = i; j < H.cols(); ++j) {
      const double h = H(i, j);
      if (QLITE_UNLIKELY(!(h >= -1e300 && h <= 1e300)))
        fail("qlite: element (%zu, %zu) of the Hessian is %g, expected a finite number", i, j, h);
    }
}

}    // namespace impl

/// Refuses a damping that is none, a Hessian of other columns, and what the method for the groups refuses.
template <class Fit, class Factorization>
QLITE_INLINE void check_columns(const gptq<Fit, Factorization>& method, std::size_t cols) {
  if (QLITE_UNLIKELY(!(method.damping >= 0.0 && method.damping <= 1e6)))
    impl::fail("qlite: gptq.damping is %g, expected 0 ... 1e6", method.damping);
  impl::check_equal("the columns of the Hessian", method.statistics->cols(), "columns of W", cols);
  impl::check_use(method.fit, cols);
}

/// The hook of quantize/quantize.hpp.
template <class Fit, class Factorization, class Scheme, class T, class Executor>
quantized_matrix<Scheme> quantize_matrix(const gptq<Fit, Factorization>& method, Scheme scheme, matrix_view<const T> W,
                                         const Executor& executor) {
  static_assert(impl::is_group_local<Fit, Scheme, float>,
                "qlite: gptq<Fit> needs a method that works group by group, rtn or mse_clip say");
  const hessian& H = *method.statistics;
  quantized_matrix<Scheme> q(W.rows(), W.cols(), scheme);
  if (W.empty()) {
    impl::quantize_groups<impl::kernels>(W, method.fit, quantized_target<Scheme>(q), executor);
    return q;
  }

  const std::size_t n = W.cols();
  const bool as_published = method.groups == gptq_groups::reference;
  detail::carver sizes;
  const auto carve = [n](detail::carver& memory, double*& numbers, std::size_t*& order, std::size_t*& merged,
                         float*& tiles) {
    numbers = memory.take<double>(n);
    order = memory.take<std::size_t>(n);
    merged = memory.take<std::size_t>(n);
    tiles = memory.take<float>(impl::triangular_tiles::size(n));
  };
  double* numbers;
  std::size_t *order, *merged;
  float* tiles;
  carve(sizes, numbers, order, merged, tiles);
  const detail::buffer memory(sizes.bytes());
  detail::carver carver(memory.data());
  carve(carver, numbers, order, merged, tiles);

  const impl::gptq_diagonal diagonal = impl::read_diagonal(H, as_published, numbers);
  for (std::size_t c = 0; c < n; ++c) order[c] = c;
  if (method.act_order) impl::sort_columns(numbers, n, order, merged);

  const impl::triangular_tiles L{tiles, n};
  double damping = method.damping;
  const std::size_t attempts = impl::factorize_damped(method.factorization, H, order, diagonal, damping, L, executor);
  impl::divide_by_pivots(L, numbers, executor);
  if (method.report != nullptr) {
    method.report->damping = damping;
    method.report->attempts = attempts;
    method.report->dead_columns = diagonal.dead_columns;
  }

  impl::feedback_plan plan;
  plan.order = order;
  plan.factor = {L};
  plan.timing = method.act_order                      ? impl::fit_time::before
                : as_published                        ? impl::fit_time::block
                : method.groups == gptq_groups::fresh ? impl::fit_time::group
                                                      : impl::fit_time::before;
  std::size_t* const dead = merged;    // not needed any more
  for (std::size_t c = 0; c < n; ++c) dead[c] = as_published && !(H(c, c) > 0.0) ? 1 : 0;
  plan.zeroed = dead;
  impl::round_with_feedback(plan, W, method.fit, quantized_target<Scheme>(q), executor);
  return q;
}

QLITE_END_FUNCTIONS
