// Magnitudes in bins whose width is a power of two: bounded memory for any number of values, and counts that depend on
// the values alone, not on their order, their batches or who counted them.
#pragma once

#include <qlite/core/bits.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

inline constexpr std::size_t histogram_bits = 11, histogram_bins = std::size_t{1} << histogram_bits;

/// Bin i counts i w <= |x| < (i + 1) w with w = 2^exponent, the smallest that has the largest |x| within the bins.
/// Zeros alone need no width: they are in bin 0 of every one.
struct histogram {
  std::uint64_t total;
  float largest;            ///< |x|
  std::int32_t exponent;    ///< meaningless while `largest` is 0
  std::uint64_t counts[histogram_bins];
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline void clear_histogram(histogram& h) noexcept {
  h.total = 0;
  h.largest = 0.0f;
  h.exponent = 0;
  for (std::uint64_t& count : h.counts) count = 0;
}

/// 2^n in double, |n| < 1000.
QLITE_INLINE double power_of_two(std::int32_t n) noexcept {
  return bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52);
}

/// The exponent of the width that `largest` > 0 needs.
QLITE_INLINE std::int32_t bin_exponent(float largest) noexcept {
  const auto bits = bit_cast<std::uint64_t>(static_cast<double>(largest));    // normal in double
  return static_cast<std::int32_t>(bits >> 52) - 1023 + 1 - static_cast<std::int32_t>(histogram_bits);
}

/// Makes room for values up to `largest`: neighbouring bins are joined as often as it takes.
inline void widen_histogram(histogram& h, float largest) noexcept {
  if (!(largest > h.largest)) return;
  const std::int32_t exponent = bin_exponent(largest);
  if (h.largest > 0.0f && exponent > h.exponent) {
    const std::int32_t times = exponent - h.exponent;
    std::uint64_t joined[histogram_bins] = {};
    for (std::size_t i = 0; i < histogram_bins; ++i)
      joined[times > static_cast<std::int32_t>(histogram_bits) ? 0 : i >> times] += h.counts[i];
    for (std::size_t i = 0; i < histogram_bins; ++i) h.counts[i] = joined[i];
  }
  h.exponent = exponent;
  h.largest = largest;
}

/// Counts one |x| <= h.largest.
QLITE_INLINE void count_value(histogram& h, float x, double bins_per_unit) noexcept {
  h.total += 1;
  h.counts[static_cast<std::size_t>(static_cast<double>(x) * bins_per_unit)] += 1;    // an exact product
}

/// Adds the counts of another histogram: what counting all values at once would have given.
inline void merge_histograms(histogram& h, const histogram& other) noexcept {
  if (!(other.largest > 0.0f)) {
    h.counts[0] += other.counts[0];
  } else {
    widen_histogram(h, other.largest);
    const std::int32_t times = h.exponent - other.exponent;
    for (std::size_t i = 0; i < histogram_bins; ++i)
      h.counts[times > static_cast<std::int32_t>(histogram_bits) ? 0 : i >> times] += other.counts[i];
  }
  h.total += other.total;
}

/// The upper end of the first bin at which `share` of the values has been counted, at most the largest value.
inline float percentile_of(const histogram& h, double share) noexcept {
  const double wanted = share * static_cast<double>(h.total);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < histogram_bins; ++i) {
    below += h.counts[i];
    if (static_cast<double>(below) >= wanted)
      return min_of(h.largest, static_cast<float>(static_cast<double>(i + 1) * power_of_two(h.exponent)));
  }
  return h.largest;
}

/// The limit of least squared error for codes of +-127, of 256 candidates and the largest value; a value counts as the
/// middle of its bin. The products are rounded to float before they are added, so that nothing can be fused.
inline float least_error_limit(const histogram& h) noexcept {
  const double width = power_of_two(h.exponent);
  float best = h.largest;
  double least = -1.0;
  for (std::size_t i = 256; i > 0; --i) {
    const auto end = static_cast<float>(static_cast<double>(i * (histogram_bins / 256)) * width);
    const float limit = min_of(h.largest, end), scale = limit / 127.0f;
    if (limit < h.largest || i == 256) {
      double error = 0;
      for (std::size_t b = 0; b < histogram_bins && (least < 0.0 || error < least); ++b) {
        if (h.counts[b] == 0) continue;
        const double x = (static_cast<double>(b) + 0.5) * width;
        const std::int32_t code = nearest_int(min_of(static_cast<float>(x) / scale, 127.0f));
        const auto off = static_cast<float>(x - static_cast<double>(scale) * static_cast<double>(code));
        const double square = static_cast<double>(off) * static_cast<double>(off);
        error += static_cast<double>(static_cast<float>(square * static_cast<double>(h.counts[b])));
      }
      if (least < 0.0 || error < least) {
        least = error;
        best = limit;
      }
    }
  }
  return best;
}

/// The limit whose 128 levels keep the distribution of magnitudes best: least Kullback-Leibler divergence of the
/// quantized distribution from the clipped one.
/// S. Migacz, "8-bit inference with TensorRT", GTC 2017.
inline float least_divergence_limit(const histogram& h) noexcept {
  constexpr std::size_t levels = 128, step = 8;
  const double width = power_of_two(h.exponent);
  double least = -1.0;
  std::size_t best = histogram_bins;
  std::uint64_t inside = 0;    // values below bin i
  for (std::size_t b = 0; b < levels; ++b) inside += h.counts[b];
  for (std::size_t i = levels;; i += step) {
    const std::uint64_t outside = h.total - inside;
    // The candidate keeps bins 0 ... i - 1; what lies beyond is clipped into the last of them.
    double divergence = 0;
    bool finite = inside != 0;
    for (std::size_t level = 0; level < levels && finite; ++level) {
      const std::size_t begin = level * i / levels, end = (level + 1) * i / levels;
      std::uint64_t sum = 0, used = 0;
      for (std::size_t b = begin; b < end; ++b) {
        sum += h.counts[b];
        used += h.counts[b] != 0;
      }
      for (std::size_t b = begin; b < end; ++b) {
        const std::uint64_t count = h.counts[b] + (b + 1 == i ? outside : 0);
        if (count == 0) continue;
        if (h.counts[b] == 0) {    // only clipped values: the quantized distribution has none of them
          finite = false;
          break;
        }
        const double p = static_cast<double>(count) / static_cast<double>(h.total);
        const double q = static_cast<double>(sum) / static_cast<double>(used) / static_cast<double>(inside);
        divergence += p * __builtin_log(p / q);
      }
    }
    if (finite && (least < 0.0 || divergence < least)) {
      least = divergence;
      best = i;
    }
    if (static_cast<double>(i) * width > static_cast<double>(h.largest)) break;    // nothing is clipped any more
    for (std::size_t b = i; b < i + step; ++b) inside += h.counts[b];
  }
  return min_of(h.largest, static_cast<float>(static_cast<double>(best) * width));
}

}    // namespace impl
QLITE_END_FUNCTIONS
