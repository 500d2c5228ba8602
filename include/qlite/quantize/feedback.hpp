// Rounding with feedback: column k of W is rounded from w_k + sum over i < k of (w_i - ŵ_i) U_ik. The loops of GPTQ
// once its factor is known; rows do not depend on each other.
#pragma once

#include <qlite/quantize/cholesky.hpp>
#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/rtn.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// When the numbers of a group are chosen: before anything is rounded; when its first column is reached; or when the
/// block of 128 columns is reached that its first column lies in.
enum class fit_time : std::uint8_t { before, group, block };

/// Columns of a block: what GPTQ's code has, and what its `reference` mode depends on.
inline constexpr std::size_t feedback_block = 128;
/// Rows that one copy of the factor's panels serves.
inline constexpr std::size_t feedback_rows = 512;

/// U_ik = element (n - 1 - i, n - 1 - k) of a lower triangular matrix whose diagonal is 1.
struct feedback_factor {
  triangular_tiles L;
  QLITE_INLINE const float* row(std::size_t i) const noexcept {
    return &L.at(L.n - 1 - i, L.n - 1);
  }    // may not exist
  QLITE_INLINE float at(const float* row, std::size_t k) const noexcept { return *(row - k * tile_rows); }
};

struct feedback_plan {
  const std::size_t* order = nullptr;     ///< the column that is rounded k-th
  const std::size_t* zeroed = nullptr;    ///< columns, not 0 where the weights count as 0 (but for the scale of a row)
  feedback_factor factor{{nullptr, 0}};
  fit_time timing = fit_time::before;
};

/// The scratch of one task.
struct feedback_scratch {
  float* left;        ///< [tiles][n][tile_rows]: w - ŵ
  double* sums;       ///< [tiles][reach][tile_rows]
  float* changes;     ///< [tiles][reach][tile_rows]: what the corrections so far make of the weights
  double* partial;    ///< [tiles][reach][tile_rows]: its sums
  double* panels;
  std::uint8_t* fields;       ///< [rows][n]
  float* group;               ///< the weights of one group
  float *scales, *offsets;    ///< of the current group of each row
  std::int32_t* zeros;

  QLITE_INLINE feedback_scratch(carver& memory, std::size_t tiles, std::size_t n, std::size_t reach, bool fits) noexcept
      : left(memory.take<float>(tiles * n * tile_rows)),
        sums(memory.take<double>(tiles * reach * tile_rows)),
        changes(memory.take<float>(fits ? tiles * reach * tile_rows : 0)),
        partial(memory.take<double>(fits ? tiles * reach * tile_rows : 0)),
        panels(memory.take<double>(panel_size(panel_depth, panel_width))),
        fields(memory.take<std::uint8_t>(tiles * tile_rows * n)),
        group(memory.take<float>(n)),
        scales(memory.take<float>(tiles * tile_rows)),
        offsets(memory.take<float>(tiles * tile_rows)),
        zeros(memory.take<std::int32_t>(tiles * tile_rows)) {}
};

/// Rounds some rows of W. A piece has the rows [begin, end).
template <class Scheme, class T, class Fit>
class feedback_rows_of {
 public:
  using traits = scheme_traits<Scheme>;

  QLITE_INLINE feedback_rows_of(const feedback_plan& plan, matrix_view<const T> W, const Fit& fit,
                                const quantized_target<Scheme>& q, const feedback_scratch& scratch, std::size_t reach,
                                std::size_t begin, std::size_t end)
      : plan_(plan),
        W_(W),
        fit_(fit),
        q_(q),
        s_(scratch),
        n_(W.cols()),
        group_(q.shape.group_size()),
        reach_(reach),
        begin_(begin),
        end_(end),
        tiles_(ceil_div(end - begin, tile_rows)) {}

  fault run() {
    for (std::size_t r = begin_; r < end_; ++r)
      if (QLITE_UNLIKELY(kernels::range(W_.row(r), n_).not_finite() != 0)) return fault_of(not_finite(), r, 0, n_);
    if (plan_.timing == fit_time::before && !traits::one_scale)
      for (std::size_t col = 0; col < n_; col += group_)
        if (!fit_columns(col)) return fault_;
    if (plan_.timing == fit_time::before)
      for (std::size_t b = 0; b < n_; b += feedback_block) {
        const std::size_t e = min_of(b + feedback_block, n_);
        begin_block(b, e);
        round_columns(b, e);
      }
    else if (plan_.timing == fit_time::group)
      run_fresh();
    else
      run_published();
    if (fault_.kind == fault_kind::none) store_codes();
    return fault_;
  }

 private:
  QLITE_INLINE tile_run rounding() const noexcept {
    return {s_.left, n_ * tile_rows, 0, s_.sums, reach_ * tile_rows, first_sum_, tiles_};
  }
  QLITE_INLINE float weight(std::size_t r, std::size_t c) const noexcept {
    return plan_.zeroed[c] != 0 ? 0.0f : element<T>::load(W_(r, c));
  }

  /// Sums of the columns [b, e) over the columns before b.
  void begin_block(std::size_t b, std::size_t e) {
    first_sum_ = b;
    for (std::size_t i = 0; i < tiles_ * reach_ * tile_rows; ++i) s_.sums[i] = 0.0;
    accumulate_tiles(rounding(), plan_.factor, 0, b, b, e, s_.panels);
  }

  void run_fresh() {
    const std::size_t width = group_ * max_of(feedback_block / group_, std::size_t{1});    // whole groups
    for (std::size_t b = 0; b < n_; b += width) {
      const std::size_t e = min_of(b + width, n_);
      begin_block(b, e);
      for (std::size_t g = b; g < e; g += group_) {
        const std::size_t end = min_of(g + group_, e);
        accumulate_tiles(rounding(), plan_.factor, b, g, g, end, s_.panels);
        correct(g, end);
        if (!fit_columns(g)) return;
        round_columns(g, end);
      }
    }
  }

  void run_published() {
    for (std::size_t b = 0; b < n_; b += feedback_block) {
      const std::size_t e = min_of(b + feedback_block, n_), first = round_up(b, group_);
      const std::size_t reach = first < e ? min_of(max_of(e, (e - 1) / group_ * group_ + group_), n_) : e;
      begin_block(b, reach);
      if (first < e) correct(b, reach);
      for (std::size_t g = first; g < e; g += group_)
        if (!fit_columns(g)) return;
      round_columns(b, e);
    }
  }

  /// changes = what the weights of the columns [b, e) have become by the corrections from the columns before b, all of
  /// them, less the weights. With P the sums and U' the block of U, that is P (I + U')^-1.
  void correct(std::size_t b, std::size_t e) {
    for (std::size_t i = 0; i < tiles_ * reach_ * tile_rows; ++i) s_.partial[i] = 0.0;
    const tile_run run{s_.changes, reach_ * tile_rows, b, s_.partial, reach_ * tile_rows, b, tiles_};
    first_change_ = b;
    const tile_run rounded = rounding();
    solve_all_tiles(run, plan_.factor, b, e, s_.panels,
                    [&](std::size_t t, std::size_t c, const double* sums, float* column) QLITE_LAMBDA {
                      for (std::size_t r = 0; r < tile_rows; ++r)
                        column[r] = static_cast<float>(rounded.sum(t, c)[r] - sums[r]);
                    });
  }

  /// Chooses the numbers of the group that begins with column `col` for all rows. False: fault_ says why not.
  bool fit_columns(std::size_t col) {
    const std::size_t n = min_of(group_, n_ - col), g = col / group_;
    for (std::size_t r = begin_; r < end_; ++r) {
      // As published: the scale of a whole row is chosen before weights are set to 0, those of groups after.
      for (std::size_t c = 0; c < n; ++c)
        s_.group[c] = traits::grouped ? weight(r, col + c) : element<T>::load(W_(r, col + c));
      if (plan_.timing != fit_time::before) {
        const float* const change = s_.changes + (r - begin_) / tile_rows * reach_ * tile_rows +
                                    (col - first_change_) * tile_rows + (r - begin_) % tile_rows;
        for (std::size_t c = 0; c < n; ++c) s_.group[c] += change[c * tile_rows];
      }
      const group_parameters<Scheme> p =
          fit_group(fit_, q_.shape.scheme(), weight_group<float, kernels>{s_.group, 1, n, n, col});
      if (QLITE_UNLIKELY(p.fault != 0)) {
        fault_ = fault_of(p, r, col, n);
        return false;
      }
      store_parameters(q_, r, g, p);
    }
    cached_ = ~std::size_t{0};
    return true;
  }

  /// Rounds the columns [b, e), whose sums hold the columns before b.
  void round_columns(std::size_t b, std::size_t e) {
    solve_all_tiles(
        rounding(), plan_.factor, b, e, s_.panels,
        [this](std::size_t t, std::size_t k, const double* sums, float* column) { round_column(t, k, sums, column); });
  }

  QLITE_NOINLINE void round_column(std::size_t t, std::size_t k, const double* sums, float* column) {
    const std::size_t c = plan_.order[k], g = c / group_, first = t * tile_rows;
    const std::size_t rows = min_of(tile_rows, end_ - begin_ - first);
    if (cached_ != g || cached_tile_ != t) {
      for (std::size_t r = 0; r < rows; ++r) {
        const quantized_view<Scheme> q = q_.view();
        s_.scales[first + r] = q.scale(begin_ + first + r, g);
        s_.offsets[first + r] = q.offset(begin_ + first + r, g);
        s_.zeros[first + r] = q.zero_point(begin_ + first + r, g);
      }
      cached_ = g;
      cached_tile_ = t;
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t row = begin_ + first + r;
      group_parameters<Scheme> p;
      p.scale = s_.scales[first + r];
      p.offset = s_.offsets[first + r];
      p.zero = s_.zeros[first + r];
      const float w = weight(row, c);
      const auto target = static_cast<float>(static_cast<double>(w) + sums[r]);
      const auto field = static_cast<std::uint8_t>(encoder<Scheme, typename Fit::round_type>(p).fields(target));
      s_.fields[(first + r) * n_ + c] = field;
      column[r] = w - decoder<Scheme>{p.scale, p.offset, p.zero + traits::stored_bias}.number(field);
    }
    for (std::size_t r = rows; r < tile_rows; ++r) column[r] = 0.0f;
  }

  void store_codes() const {
    for (std::size_t r = begin_; r < end_; ++r) {
      const std::uint8_t* const fields = s_.fields + (r - begin_) * n_;
      std::uint8_t* const codes = q_.codes + r * q_.shape.code_row_bytes();
      if constexpr (traits::bits == 4)
        pack_nibbles(fields, n_, codes);
      else
        std::memcpy(codes, fields, n_);
    }
  }

  QLITE_INLINE static group_parameters<Scheme> not_finite() {
    group_parameters<Scheme> p;
    p.fault = static_cast<std::int32_t>(fault_kind::not_finite);
    return p;
  }
  QLITE_INLINE fault fault_of(const group_parameters<Scheme>& p, std::size_t r, std::size_t col, std::size_t n) const {
    return locate(p, weight_group<T, kernels>{W_.row(r) + col, 1, n, n}, r, col);
  }

  const feedback_plan& plan_;
  matrix_view<const T> W_;
  const Fit& fit_;
  const quantized_target<Scheme>& q_;
  const feedback_scratch& s_;
  std::size_t n_, group_, reach_, begin_, end_, tiles_;
  std::size_t first_sum_ = 0, first_change_ = 0, cached_ = ~std::size_t{0}, cached_tile_ = 0;
  fault fault_;
};

/// Rounds W into q, rows spread over the executor's tasks. Ends the call at the first weight that cannot be.
template <class Scheme, class T, class Fit, class Executor>
void round_with_feedback(const feedback_plan& before, matrix_view<const T> W, const Fit& fit,
                         const quantized_target<Scheme>& q, const Executor& executor) {
  using traits = scheme_traits<Scheme>;
  const std::size_t n = W.cols(), group_size = q.shape.group_size();
  feedback_plan plan = before;
  if (q.shape.groups() == 1) plan.timing = fit_time::before;    // nothing has been rounded when it begins
  std::size_t reach = feedback_block;
  if (plan.timing == fit_time::group) reach = group_size * max_of(feedback_block / group_size, std::size_t{1});
  if (plan.timing == fit_time::block) reach = feedback_block + group_size;
  reach = min_of(reach, n) + tile_cols;    // panels are whole

  fault faults[max_tasks];
  if constexpr (traits::one_scale) {
    const weight_group<T, kernels> all{W.data(), W.rows(), n, W.row_stride()};
    const group_parameters<Scheme> whole = fit_group(fit, q.shape.scheme(), all);
    if (whole.fault == 0)
      store_parameters(q, 0, 0, whole);
    else
      faults[0] = locate(whole, all, 0, 0);
  }
  std::size_t tasks = 1;
  if (faults[0].kind == fault_kind::none) {
    const std::size_t tiles = ceil_div(W.rows(), tile_rows);
    tasks = min_of(max_tasks, task_count(executor, tiles, W.rows() * n * (n / 2 + 32), std::size_t{1} << 20));
    const std::size_t share = ceil_div(tiles, tasks), pieces = ceil_div(share * tile_rows, feedback_rows);
    const std::size_t piece = ceil_div(share, pieces);    // tiles
    carver sizes;
    for (std::size_t i = 0; i < tasks; ++i)
      static_cast<void>(feedback_scratch(sizes, piece, n, reach, plan.timing != fit_time::before));
    const buffer memory(sizes.bytes());
    const std::size_t each = sizes.bytes() / tasks / cache_line * cache_line;    // bytes() has a line for alignment
    executor.parallel_for(tasks, [&](std::size_t i) {
      carver carve(memory.data() + i * each);
      const feedback_scratch scratch(carve, piece, n, reach, plan.timing != fit_time::before);
      const slice own = slice_of(tiles, tasks, i);
      for (std::size_t t = own.begin; t < own.end && faults[i].kind == fault_kind::none; t += piece) {
        const std::size_t end = min_of(min_of(t + piece, own.end) * tile_rows, W.rows());
        faults[i] = feedback_rows_of<Scheme, T, Fit>(plan, W, fit, q, scratch, reach, t * tile_rows, end).run();
      }
    });
  }
  for (std::size_t i = 0; i < tasks; ++i)
    if (QLITE_UNLIKELY(faults[i].kind != fault_kind::none))
      fail_fault(faults[i], element<typename traits::scale>::name,
                 element<std::conditional_t<traits::has_offset, typename traits::offset_type, float>>::name);
}

}    // namespace impl
QLITE_END_FUNCTIONS
