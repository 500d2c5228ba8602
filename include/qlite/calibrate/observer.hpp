// Observers of activations: they look at batch after batch, keep a few numbers, and say which scale to quantize with.
//
//     qlite::observer<qlite::statistic::percentile> inputs;
//     for (...) inputs.observe(X);
//     qlite::gemm(qlite::fixed<qlite::int8>(X, inputs.scale()), packed, Y);
#pragma once

#include <qlite/calibrate/batch.hpp>
#include <qlite/calibrate/histogram.hpp>
#include <qlite/core/buffer.hpp>
#include <qlite/core/scheme.hpp>

QLITE_BEGIN_NAMESPACE

/// How an observer sums up what it has seen. All scales are limit / 127, for codes of -127 ... 127.
namespace statistic {

/// The extremes of all values. limit = the larger magnitude of the two.
struct min_max {
  static constexpr bool counts = false;
};

/// The mean of the batches' extremes, later batches counting more: m += weight * (extreme of the batch - m). Outliers
/// of single batches are smoothed. Two observers are merged by the mean of their numbers, weighted by their batches.
struct moving_average {
  static constexpr bool counts = false;
  double weight = 0.01;
  QLITE_INLINE constexpr explicit moving_average(double w = 0.01) noexcept : weight(w) {}
};

/// The magnitude that `share` of all values stays below, up to a bin of a histogram: at most 1/1024 of the largest
/// magnitude too high.
struct percentile {
  static constexpr bool counts = true;
  double share = 0.9999;
  QLITE_INLINE constexpr explicit percentile(double part = 0.9999) noexcept : share(part) {}
};

/// The limit of least squared error, of 256 on a grid: what is clipped is paid back by finer steps.
struct mse {
  static constexpr bool counts = true;
};

/// The limit of least Kullback-Leibler divergence (S. Migacz, "8-bit inference with TensorRT", GTC 2017).
struct entropy {
  static constexpr bool counts = true;
};

}    // namespace statistic

namespace detail {

/// The extremes that a range observer keeps.
struct value_range {
  double low, high;
  std::uint64_t batches, values;
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class Statistic>
using observer_state = std::conditional_t<Statistic::counts, histogram, value_range>;

inline void clear_state(histogram& h) noexcept { clear_histogram(h); }
inline void clear_state(value_range& range) noexcept { range = {}; }

template <class State>
buffer allocate_states(std::size_t units) {
  if (QLITE_UNLIKELY(units == 0)) fail("qlite: an observer of 0 channels or tokens, expected at least 1");
  if (QLITE_UNLIKELY(units > ~std::size_t{0} / 2 / sizeof(State)))
    fail("qlite: an observer of %zu channels or tokens exceeds the address space", units);
  buffer memory(units * sizeof(State));
  State* const states = reinterpret_cast<State*>(memory.data());
  for (std::size_t i = 0; i < units; ++i) clear_state(states[i]);
  return memory;
}

template <class T, class F>
QLITE_INLINE void each_value(matrix_view<const T> X, F&& f) {
  for (std::size_t r = 0; r < X.rows(); ++r)
    for (std::size_t c = 0; c < X.cols(); ++c) f(element<T>::load(X(r, c)));
}

template <class Statistic, class T>
void update_state(histogram& h, const Statistic&, matrix_view<const T> X) {
  float largest = 0;
  each_value(X, [&](float x) QLITE_LAMBDA { largest = max_of(largest, abs_of(x)); });
  widen_histogram(h, largest);
  const double bins_per_unit = h.largest > 0.0f ? power_of_two(-h.exponent) : 0.0;
  each_value(X, [&](float x) QLITE_LAMBDA { count_value(h, abs_of(x), bins_per_unit); });
}

template <class Statistic, class T>
void update_state(value_range& range, const Statistic& statistic, matrix_view<const T> X) {
  auto low = static_cast<double>(element<T>::load(X(0, 0))), high = low;
  each_value(X, [&](float x) QLITE_LAMBDA {
    low = min_of(low, static_cast<double>(x));
    high = max_of(high, static_cast<double>(x));
  });
  if (range.values == 0) {
    range.low = low;
    range.high = high;
  } else if constexpr (std::is_same_v<Statistic, statistic::moving_average>) {
    range.low += statistic.weight * (low - range.low);
    range.high += statistic.weight * (high - range.high);
  } else {
    range.low = min_of(range.low, low);
    range.high = max_of(range.high, high);
  }
  range.batches += 1;
  range.values += X.rows() * X.cols();
}

template <class Statistic>
void merge_states(histogram& h, const Statistic&, const histogram& other) {
  merge_histograms(h, other);
}
template <class Statistic>
void merge_states(value_range& range, const Statistic&, const value_range& other) {
  if (other.values == 0) return;
  if (range.values == 0) {
    range = other;
    return;
  }
  if constexpr (std::is_same_v<Statistic, statistic::moving_average>) {
    const double share =
        static_cast<double>(other.batches) / (static_cast<double>(range.batches) + static_cast<double>(other.batches));
    range.low += share * (other.low - range.low);
    range.high += share * (other.high - range.high);
  } else {
    range.low = min_of(range.low, other.low);
    range.high = max_of(range.high, other.high);
  }
  range.batches += other.batches;
  range.values += other.values;
}

inline std::uint64_t values_seen(const histogram& h) noexcept { return h.total; }
inline std::uint64_t values_seen(const value_range& range) noexcept { return range.values; }

template <class Statistic>
float limit_of(const value_range& range, const Statistic&) {
  return static_cast<float>(max_of(-range.low, range.high));
}
template <class Statistic>
float limit_of(const histogram& h, const Statistic& statistic) {
  if (!(h.largest > 0.0f)) return 0.0f;
  if constexpr (std::is_same_v<Statistic, statistic::percentile>) {
    if (QLITE_UNLIKELY(!(statistic.share > 0.0 && statistic.share <= 1.0)))
      fail("qlite: statistic::percentile has share %g, expected above 0 and at most 1", statistic.share);
    return percentile_of(h, statistic.share);
  } else if constexpr (std::is_same_v<Statistic, statistic::mse>) {
    return least_error_limit(h);
  } else {
    return least_divergence_limit(h);
  }
}

/// Which part of a batch belongs to unit i.
template <class Granularity, class T>
QLITE_INLINE matrix_view<const T> part_of(matrix_view<const T> X, std::size_t i) noexcept {
  if constexpr (std::is_same_v<Granularity, per_tensor>)
    return X;
  else if constexpr (std::is_same_v<Granularity, per_channel>)
    return {X.data() + i, X.rows(), 1, X.row_stride()};
  else
    return {X.row(i), 1, X.cols(), X.row_stride()};
}

template <class Granularity, class State, class Statistic, class T, class Executor>
void observe_batch(State* states, std::size_t units, const Statistic& statistic, matrix_view<const T> X,
                   const Executor& executor) {
  constexpr bool channels = std::is_same_v<Granularity, per_channel>, tokens = std::is_same_v<Granularity, per_token>;
  check_batch(X, units, channels ? "the channels of the observer" : nullptr);
  if (tokens && X.rows() > units)
    fail("qlite: the rows of X are %zu, expected at most %zu (the tokens of the observer)", X.rows(), units);
  if (X.empty()) return;
  const std::size_t parts = tokens ? X.rows() : units;
  const std::size_t tasks = task_count(executor, parts, X.rows() * X.cols() * 16, std::size_t{1} << 18);
  executor.parallel_for(tasks, [&](std::size_t task) {
    const slice own = slice_of(parts, tasks, task);
    for (std::size_t i = own.begin; i < own.end; ++i) update_state(states[i], statistic, part_of<Granularity>(X, i));
  });
}

template <class State, class Statistic>
float scale_of(const State* states, std::size_t units, std::size_t unit, const Statistic& statistic) {
  if (QLITE_UNLIKELY(unit >= units)) fail("qlite: the observer has no unit %zu, expected below %zu", unit, units);
  if (QLITE_UNLIKELY(values_seen(states[unit]) == 0))
    fail("qlite: the observer has seen no values, expected a batch before its scale is asked for");
  const float limit = limit_of(states[unit], statistic);
  constexpr float smallest = 0x1p-126f;    // its reciprocal is finite
  return limit > 0.0f ? max_of(limit / 127.0f, smallest) : 1.0f / 127.0f;
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// Watches activations X [M, K], for one scale or several:
///     per_tensor     one
///     per_channel    one for each of K columns, which the constructor is told
///     per_token      one for each row of a batch: position r of a batch of at most as many rows as the constructor is
///                    told belongs to unit r
///
/// Memory: 32 bytes for each unit (min_max, moving_average) or 16 KiB (the others), whatever is observed. What min_max
/// and the histograms say does not depend on the order of values, batches and merges.
template <class Statistic, class Granularity = per_tensor>
class observer {
  static_assert(std::is_same_v<Granularity, per_tensor> || std::is_same_v<Granularity, per_channel> ||
                    std::is_same_v<Granularity, per_token>,
                "qlite: an observer is per_tensor, per_channel or per_token");
  using state = std::conditional_t<Statistic::counts, detail::histogram, detail::value_range>;

 public:
  using statistic_type = Statistic;

  /// One unit.
  QLITE_INLINE explicit observer(Statistic statistic = Statistic{}) : observer(1, statistic) {
    static_assert(std::is_same_v<Granularity, per_tensor>,
                  "qlite: tell an observer per_channel or per_token how many there are: observer(count)");
  }
  QLITE_INLINE explicit observer(std::size_t units, Statistic statistic = Statistic{})
      : memory_(impl::allocate_states<state>(units)), units_(units), statistic_(statistic) {}
  QLITE_INLINE observer(observer&& other) noexcept { *this = static_cast<observer&&>(other); }
  QLITE_INLINE observer& operator=(observer&& other) noexcept {    // swaps
    memory_ = static_cast<detail::buffer&&>(other.memory_);
    const std::size_t units = units_;
    units_ = other.units_;
    other.units_ = units;
    const Statistic statistic = statistic_;
    statistic_ = other.statistic_;
    other.statistic_ = statistic;
    return *this;
  }
  QLITE_INLINE ~observer() = default;

  /// Looks at a batch of float, float16 or bfloat16. O(M K); allocates nothing. `executor` spreads channels or tokens.
  /// Errors: another number of columns (per_channel), too many rows (per_token), a NaN or an infinity in X (nothing is
  /// counted then).
  template <class T, class Executor = serial>
  QLITE_INLINE void observe(matrix_view<T> X, const Executor& executor = {}) {
    impl::observe_batch<Granularity>(states(), units_, statistic_, matrix_view<const std::remove_const_t<T>>(X),
                                     executor);
  }
  /// Adds what another observer has seen. Error: another number of units.
  QLITE_INLINE void merge(const observer& other) {
    impl::check_equal("units of the other observer", other.units_, "those of this one", units_);
    for (std::size_t i = 0; i < units_; ++i) impl::merge_states(states()[i], statistic_, other.states()[i]);
  }

  QLITE_INLINE std::size_t units() const noexcept { return units_; }
  /// Values that unit i has seen.
  QLITE_INLINE std::uint64_t values(std::size_t i = 0) const noexcept { return impl::values_seen(states()[i]); }
  /// The scale for `fixed<int8>(X, scale)`: positive and finite, 1/127 where only zeros were seen.
  /// Errors: no such unit; nothing seen yet; a percentile outside 0 ... 1.
  QLITE_INLINE float scale(std::size_t i = 0) const { return impl::scale_of(states(), units_, i, statistic_); }
  /// What is kept of unit i.
  QLITE_INLINE const state& summary(std::size_t i = 0) const noexcept { return states()[i]; }

 private:
  QLITE_INLINE state* states() const noexcept { return reinterpret_cast<state*>(memory_.data()); }

  detail::buffer memory_;
  std::size_t units_ = 0;
  Statistic statistic_{};
};

QLITE_END_NAMESPACE
