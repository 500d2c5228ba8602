// Refinement of codes and scales that another method chose: one after the other, each takes the best value that the
// others leave it, as the Hessian of the layer's outputs sees it.
#pragma once

#include <qlite/quantize/gptq.hpp>

QLITE_BEGIN_NAMESPACE

/// Cyclic coordinate descent on the squared error of the layer's outputs, from the codes that `Inner` gives (rtn, gptq,
/// any method whose result is a quantized_matrix). With d = w - ŵ for a row and H the damped Hessian, the error is
/// d H dᵀ; a code moves to the one nearest to
///     ŵ_k + (d H)_k / H_kk
/// which is its exact minimum with the others fixed, and the scale (and then the offset) of a group by
///     (u H d) / (u H u)            u = the codes' numbers (ones for the offset), 0 outside of the group
/// rounded to its stored type, if that lowers the error. Zero points stay, and so does a per_tensor scale. Every step
/// lowers the error of its row; a row ends where no step is left, or after `sweeps` rounds over its columns.
///
/// Codes: K. Behdin et al.: QuantEase, arXiv:2309.01885; P. A. Nair, A. S. Suggala: CDQuant, arXiv:2406.17542. Scales
/// by least squares given the codes: alternated with rounding since S. Hwang, W. Sung, "Fixed-point feedforward deep
/// neural network design", SiPS 2014.
///
///     damping      as gptq's: H is XᵀX plus this share of its mean diagonal
///     scales       false: only codes move
///
/// Any scheme. Elements of H are rounded to float and products of floats are summed in double in a fixed order: the
/// same bits on every target and with any number of threads.
///
/// Time per sweep: 2 N K² operations, at half of the peak that floats have. Memory for each task: 2600 bytes for each
/// column, and for wide groups up to 4 MiB more. Errors: as Inner; a Hessian of another size, or whose elements are not
/// finite or negative on the diagonal.
template <class Inner = rtn>
struct refined {
  const hessian* statistics;    ///< must outlive the call
  Inner inner;
  double damping = 0.01;
  std::size_t sweeps = 8;
  bool scales = true;

  QLITE_INLINE explicit refined(const hessian& H, Inner start = {}) noexcept : statistics(&H), inner(start) {}
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// The damped Hessian as a factor of products, in units of a power of two that keeps it in the range of floats.
struct hessian_factor {
  const hessian& H;
  double unit, damping;

  QLITE_INLINE std::size_t row(std::size_t k) const noexcept { return k; }
  QLITE_INLINE float at(std::size_t k, std::size_t c) const noexcept {
    const double h = H(k, c) * unit;
    return static_cast<float>(k == c ? h + damping : h);
  }
};

/// 1 over the power of two at or below a positive normal number.
QLITE_INLINE double inverse_power(double x) noexcept {
  const std::uint64_t exponent = bit_cast<std::uint64_t>(x) >> 52;
  return bit_cast<double>(min_of<std::uint64_t>(max_of<std::uint64_t>(0x7feu - exponent, 1u), 0x7feu) << 52);
}

/// The scratch of one task.
struct refine_scratch {
  float* left;       ///< [tiles][n][tile_rows]: w - ŵ
  float* before;     ///< [tiles][reach][tile_rows]: the same when the block was begun
  float* changes;    ///< [tiles][reach][tile_rows]: what has been added since
  float* units;      ///< [tiles][reach][tile_rows]: what a step of a scale or an offset is multiplied with
  double* sums;      ///< [tiles][reach][tile_rows]: (w - ŵ) H
  double* curve;     ///< [tiles][reach][tile_rows]: units H
  double* panels;
  std::uint8_t* fields;       ///< [rows][n]
  float *scales, *offsets;    ///< of the current group of each row
  std::int32_t* zeros;

  QLITE_INLINE refine_scratch(carver& memory, std::size_t tiles, std::size_t n, std::size_t reach, bool fits) noexcept
      : left(memory.take<float>(tiles * n * tile_rows)),
        before(memory.take<float>(fits ? tiles * reach * tile_rows : 0)),
        changes(memory.take<float>(tiles * reach * tile_rows)),
        units(memory.take<float>(fits ? tiles * reach * tile_rows : 0)),
        sums(memory.take<double>(tiles * reach * tile_rows)),
        curve(memory.take<double>(fits ? tiles * reach * tile_rows : 0)),
        panels(memory.take<double>(panel_size(panel_depth, panel_width))),
        fields(memory.take<std::uint8_t>(tiles * tile_rows * n)),
        scales(memory.take<float>(tiles * tile_rows)),
        offsets(memory.take<float>(tiles * tile_rows)),
        zeros(memory.take<std::int32_t>(tiles * tile_rows)) {}
};

/// A step has to gain this share of what it moves: less may be the rounding of a float, and would go round in circles.
inline constexpr double smallest_gain = 0x1p-20;
/// Scales and offsets that are stored as floats move by this part of the scale at least: finer steps gain less than
/// rounding ŵ to float may lose. (All steps of a float16 are larger, those of offsets nearly all.)
inline constexpr float smallest_step = 0x1p-14f;

/// Whether moving by `step`, where the error falls by 2 `slope` and bends by `curvature` (a float), lowers it.
QLITE_INLINE bool lowers_error(float step, double slope, double curvature) noexcept {
  const double bend = static_cast<double>(step) * curvature;    // exact, so there is nothing to fuse
  return (bend > 0.0 ? slope : -slope) > 0.5 * (bend > 0.0 ? bend : -bend) * (1.0 + smallest_gain);
}

/// Refines the rows [begin, end) of q.
template <class Scheme, class T>
class refined_rows {
 public:
  using traits = scheme_traits<Scheme>;

  QLITE_INLINE refined_rows(const hessian_factor& H, matrix_view<const T> W, const quantized_target<Scheme>& q,
                            const refine_scratch& scratch, std::size_t width, std::size_t reach, bool fits,
                            std::size_t begin, std::size_t end)
      : H_(H),
        W_(W),
        q_(q),
        s_(scratch),
        n_(W.cols()),
        group_(q.shape.group_size()),
        width_(width),
        reach_(reach),
        fits_(fits),
        begin_(begin),
        end_(end),
        tiles_(ceil_div(end - begin, tile_rows)) {}

  void run(std::size_t sweeps) {
    load();
    for (std::size_t i = 0; i < sweeps; ++i) {
      changed_ = false;
      for (std::size_t b = 0; b < n_; b += width_) sweep_block(b, min_of(b + width_, n_));
      if (!changed_) break;    // rows do not depend on each other: none of them has a step left
    }
    for (std::size_t r = begin_; r < end_; ++r) {
      const std::uint8_t* const fields = s_.fields + (r - begin_) * n_;
      std::uint8_t* const codes = q_.codes + r * q_.shape.code_row_bytes();
      if constexpr (traits::bits == 4)
        pack_nibbles(fields, n_, codes);
      else
        std::memcpy(codes, fields, n_);
    }
  }

 private:
  QLITE_INLINE tile_run run_of(float* tiles, double* sums) const noexcept {
    return {tiles, reach_ * tile_rows, first_, sums, reach_ * tile_rows, first_, tiles_};
  }
  QLITE_INLINE float* left(std::size_t t, std::size_t c) const noexcept { return s_.left + (t * n_ + c) * tile_rows; }
  QLITE_INLINE std::size_t rows_of(std::size_t t) const noexcept {
    return min_of(tile_rows, end_ - begin_ - t * tile_rows);
  }
  QLITE_INLINE std::uint8_t& field(std::size_t t, std::size_t r, std::size_t c) const noexcept {
    return s_.fields[(t * tile_rows + r) * n_ + c];
  }
  QLITE_INLINE float weight(std::size_t t, std::size_t r, std::size_t c) const noexcept {
    return element<T>::load(W_(begin_ + t * tile_rows + r, c));
  }
  QLITE_INLINE decoder<Scheme> numbers(std::size_t t, std::size_t r) const noexcept {
    const std::size_t i = t * tile_rows + r;
    return {s_.scales[i], s_.offsets[i], s_.zeros[i] + traits::stored_bias};
  }

  void load() {
    for (std::size_t r = begin_; r < end_; ++r) {
      std::uint8_t* const fields = s_.fields + (r - begin_) * n_;
      const std::uint8_t* const codes = q_.codes + r * q_.shape.code_row_bytes();
      if constexpr (traits::bits == 4)
        unpack_nibbles(codes, n_, fields);
      else
        std::memcpy(fields, codes, n_);
    }
    for (std::size_t t = 0; t < tiles_; ++t)
      for (std::size_t c = 0; c < n_; ++c) {
        if (c % group_ == 0) load_group(t, c / group_);
        for (std::size_t r = 0; r < tile_rows; ++r)
          left(t, c)[r] = r < rows_of(t) ? weight(t, r, c) - numbers(t, r).number(field(t, r, c)) : 0.0f;
      }
  }

  void load_group(std::size_t t, std::size_t g) {
    const quantized_view<Scheme> q = q_.view();
    for (std::size_t r = 0; r < rows_of(t); ++r) {
      const std::size_t row = begin_ + t * tile_rows + r;
      s_.scales[t * tile_rows + r] = q.scale(row, g);
      s_.offsets[t * tile_rows + r] = q.offset(row, g);
      s_.zeros[t * tile_rows + r] = q.zero_point(row, g);
    }
    cached_ = g;
    cached_tile_ = t;
  }

  void sweep_block(std::size_t b, std::size_t e) {
    first_ = b;
    for (std::size_t i = 0; i < tiles_ * reach_ * tile_rows; ++i) s_.sums[i] = 0.0;
    const tile_run whole{s_.left, n_ * tile_rows, 0, s_.sums, reach_ * tile_rows, b, tiles_};
    accumulate_tiles(whole, H_, 0, n_, b, e, s_.panels);
    if (!fits_) {
      move_codes(b, e);
      return;
    }
    for (std::size_t t = 0; t < tiles_; ++t)
      std::memcpy(s_.before + t * reach_ * tile_rows, left(t, b), (e - b) * tile_rows * sizeof(float));
    for (std::size_t g = b; g < e; g += group_) {
      const std::size_t end = min_of(g + group_, e);
      accumulate_tiles(run_of(s_.changes, s_.sums), H_, b, g, g, end, s_.panels);
      step_parameters(g, end, [](const decoder<Scheme>& of, std::uint8_t code) QLITE_LAMBDA {
        return decoder<Scheme>{1.0f, 0.0f, of.zero}.number(code);
      });
      if constexpr (traits::has_offset)
        step_parameters(
            g, end, [](const decoder<Scheme>&, std::uint8_t) QLITE_LAMBDA { return 1.0f; }, true);
      move_codes(g, end);
      for (std::size_t t = 0; t < tiles_; ++t) {
        const std::size_t at = (t * reach_ + g - b) * tile_rows;
        for (std::size_t i = 0; i < (end - g) * tile_rows; ++i) s_.changes[at + i] = left(t, g)[i] - s_.before[at + i];
      }
    }
  }

  /// Moves the codes of the columns [b, e), whose sums are up to date.
  void move_codes(std::size_t b, std::size_t e) {
    cached_ = ~std::size_t{0};
    solve_all_tiles(run_of(s_.changes, s_.sums), H_, b, e, s_.panels,
                    [this](std::size_t t, std::size_t c, const double* sums, float* change)
                        QLITE_LAMBDA { move_column(t, c, sums, change); });
  }

  QLITE_NOINLINE void move_column(std::size_t t, std::size_t c, const double* sums, float* change) {
    const std::size_t g = c / group_, rows = rows_of(t);
    if (cached_ != g || cached_tile_ != t) load_group(t, g);
    const auto curvature = static_cast<double>(H_.at(c, c));
    float* const rest = left(t, c);
    for (std::size_t r = 0; r < tile_rows; ++r) change[r] = 0.0f;
    if (!(curvature > 0.0)) return;    // an input that was always 0, without damping
    for (std::size_t r = 0; r < rows; ++r) {
      const decoder<Scheme> code = numbers(t, r);
      const float now = code.number(field(t, r, c));
      group_parameters<Scheme> p;
      p.scale = code.scale;
      p.offset = code.offset;
      p.zero = code.zero - traits::stored_bias;
      const auto target = static_cast<float>(static_cast<double>(now) + sums[r] / curvature);
      const auto better = static_cast<std::uint8_t>(encoder<Scheme, round_rule::half_even>(p).fields(target));
      const float number = code.number(better);
      if (!lowers_error(number - now, sums[r], curvature)) continue;
      field(t, r, c) = better;
      const float left_over = weight(t, r, c) - number;
      change[r] = left_over - rest[r];
      rest[r] = left_over;
      changed_ = true;
    }
  }

  /// Moves the scale, or the offset, of the group [b, e) of each row.
  template <class Unit>
  void step_parameters(std::size_t b, std::size_t e, Unit&& unit, bool offset = false) {
    const std::size_t g = b / group_;
    const tile_run run = run_of(s_.units, s_.curve);
    for (std::size_t t = 0; t < tiles_; ++t) {
      load_group(t, g);
      for (std::size_t c = b; c < e; ++c) {
        for (std::size_t r = 0; r < tile_rows; ++r) {
          run.column(t, c)[r] = r < rows_of(t) ? unit(numbers(t, r), field(t, r, c)) : 0.0f;
          run.sum(t, c)[r] = 0.0;
        }
      }
      for (std::size_t c = e; c < b + round_up(e - b, tile_cols); ++c)    // panels are whole
        for (std::size_t r = 0; r < tile_rows; ++r) run.sum(t, c)[r] = 0.0;
    }
    accumulate_tiles(run, H_, b, e, b, e, s_.panels);
    for (std::size_t t = 0; t < tiles_; ++t) {
      load_group(t, g);
      for (std::size_t r = 0; r < rows_of(t); ++r) step_row(run, t, r, b, e, offset);
    }
  }

  void step_row(const tile_run& run, std::size_t t, std::size_t r, std::size_t b, std::size_t e, bool offset) {
    double slope = 0, bend = 0;    // sums of products of floats
    for (std::size_t c = b; c < e; ++c) {
      const auto unit = static_cast<double>(run.column(t, c)[r]);
      slope += unit * static_cast<double>(static_cast<float>(sums_of(t, c)[r]));
      bend += unit * static_cast<double>(static_cast<float>(run.sum(t, c)[r]));
    }
    const auto curvature = static_cast<double>(static_cast<float>(bend));
    if (!(curvature > 0.0)) return;
    const std::size_t i = t * tile_rows + r, row = begin_ + i, at = row * q_.shape.groups() + b / group_;
    float& number = offset ? s_.offsets[i] : s_.scales[i];
    const auto wanted = static_cast<float>(static_cast<double>(number) + slope / curvature);
    float stored = 0;
    std::int32_t bits = 0;
    if (offset) {
      bits = store_bits<offset_storage<Scheme>>(wanted);
      stored = load_bits<offset_storage<Scheme>, float>(bits);
    } else {
      const auto p = symmetric_parameters<Scheme>(wanted);
      bits = p.scale_bits;
      stored = p.scale;
    }
    const float step = stored - number;
    if (!is_finite(stored) || !(abs_of(step) >= smallest_step * abs_of(s_.scales[i]))) return;
    if (!lowers_error(step, slope, curvature)) return;
    number = stored;
    if (offset)
      q_.offsets[at] = real_from_bits<offset_storage<Scheme>>(bits);
    else
      q_.scales[at] = real_from_bits<typename traits::scale>(bits);
    const decoder<Scheme> code = numbers(t, r);
    for (std::size_t c = b; c < e; ++c) {
      left(t, c)[r] = weight(t, r, c) - code.number(field(t, r, c));
      sums_of(t, c)[r] -= static_cast<double>(step) * static_cast<double>(static_cast<float>(run.sum(t, c)[r]));
    }
    changed_ = true;
  }

  QLITE_INLINE double* sums_of(std::size_t t, std::size_t c) const noexcept {
    return s_.sums + (t * reach_ + c - first_) * tile_rows;
  }

  const hessian_factor& H_;
  matrix_view<const T> W_;
  const quantized_target<Scheme>& q_;
  const refine_scratch& s_;
  std::size_t n_, group_, width_, reach_;
  bool fits_;
  std::size_t begin_, end_, tiles_;
  std::size_t first_ = 0, cached_ = ~std::size_t{0}, cached_tile_ = 0;
  bool changed_ = false;
};

/// Bytes of a task's sums that rows are given up for, where groups are wide.
inline constexpr std::size_t refine_bytes = std::size_t{4} << 20;

template <class Scheme, class T, class Executor>
void refine_codes(const hessian_factor& H, matrix_view<const T> W, const quantized_target<Scheme>& q,
                  std::size_t sweeps, bool scales, const Executor& executor) {
  const std::size_t n = W.cols(), group = min_of(q.shape.group_size(), n);
  const bool fits = scales && !scheme_traits<Scheme>::one_scale;
  const std::size_t width = min_of(fits ? group * max_of(feedback_block / group, std::size_t{1}) : feedback_block, n);
  const std::size_t reach = width + tile_cols, tiles = ceil_div(W.rows(), tile_rows);    // panels are whole
  const std::size_t tasks =
      min_of(max_tasks, task_count(executor, tiles, W.rows() * n * (n + 64), std::size_t{1} << 20));
  const std::size_t most =
      max_of(min_of(feedback_rows, refine_bytes / (reach * 2 * sizeof(double))) / tile_rows, std::size_t{1});
  const std::size_t share = ceil_div(tiles, tasks), piece = ceil_div(share, ceil_div(share, most));    // tiles
  carver sizes;
  for (std::size_t i = 0; i < tasks; ++i) static_cast<void>(refine_scratch(sizes, piece, n, reach, fits));
  const buffer memory(sizes.bytes());
  const std::size_t each = sizes.bytes() / tasks / cache_line * cache_line;    // bytes() has a line for alignment
  executor.parallel_for(tasks, [&](std::size_t i) {
    carver carve(memory.data() + i * each);
    const refine_scratch scratch(carve, piece, n, reach, fits);
    const slice own = slice_of(tiles, tasks, i);
    for (std::size_t t = own.begin; t < own.end; t += piece) {
      const std::size_t end = min_of(min_of(t + piece, own.end) * tile_rows, W.rows());
      refined_rows<Scheme, T>(H, W, q, scratch, width, reach, fits, t * tile_rows, end).run(sweeps);
    }
  });
}

}    // namespace impl

/// Refuses a damping that is none, a Hessian of other columns, and what the inner method refuses.
template <class Inner>
QLITE_INLINE void check_columns(const refined<Inner>& method, std::size_t cols) {
  if (QLITE_UNLIKELY(!(method.damping >= 0.0 && method.damping <= 1e6)))
    impl::fail("qlite: refined.damping is %g, expected 0 ... 1e6", method.damping);
  impl::check_equal("the columns of the Hessian", method.statistics->cols(), "columns of W", cols);
  impl::check_use(method.inner, cols);
}

/// The hook of quantize/quantize.hpp.
template <class Inner, class Scheme, class T, class Executor>
quantized_matrix<Scheme> quantize_matrix(const refined<Inner>& method, Scheme scheme, matrix_view<const T> W,
                                         const Executor& executor) {
  auto q = impl::quantize_any<impl::kernels>(scheme, W, method.inner, executor);
  static_assert(std::is_same_v<decltype(q), quantized_matrix<Scheme>>,
                "qlite: refined<Inner> needs a method that gives a quantized_matrix; for scaled columns take "
                "scaled_by(scale, refined(...))");
  if (W.empty()) return q;
  const hessian& H = *method.statistics;
  const detail::buffer numbers(W.cols() * sizeof(double));
  const impl::gptq_diagonal diagonal = impl::read_diagonal(H, false, reinterpret_cast<double*>(numbers.data()));
  impl::check_elements(H);
  const double unit = impl::inverse_power(diagonal.mean);
  impl::refine_codes(impl::hessian_factor{H, unit, method.damping * (diagonal.mean * unit)}, W,
                     quantized_target<Scheme>(q), method.sweeps, method.scales, executor);
  return q;
}

QLITE_END_FUNCTIONS
