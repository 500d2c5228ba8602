// The numbers that the contract asks for, computed from the canonical form without any of the library's arithmetic:
// integer sums in 64 bits, std::fma and double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "gemm/matrices.hpp"
#include "support/code_books.hpp"

namespace qlite_test {

// A row of X as the contract quantizes it: one scale for each run of `group` values.
struct quantized_row {
  std::vector<std::int32_t> codes;
  std::vector<float> scales;
};

inline std::int32_t activation_code(float x, float inverse) {
  const float product = x * inverse;
  if (product >= 127.0f) return 127;
  if (product <= -127.0f) return -127;
  return static_cast<std::int32_t>(std::nearbyint(static_cast<double>(product)));    // ties to even
}

inline float largest_magnitude(const std::vector<float>& x, std::size_t begin, std::size_t end, bool& finite) {
  float amax = 0.0f;
  for (std::size_t i = begin; i < end; ++i) {
    if (!std::isfinite(x[i])) finite = false;
    amax = std::max(amax, std::fabs(x[i]));
  }
  return amax;
}

// Codes for a scale and its inverse; 0 where the inverse is no use.
inline void quantize_span(const std::vector<float>& x, std::size_t begin, std::size_t end, float scale, float inverse,
                          quantized_row& row) {
  const bool zero = scale == 0.0f || std::isnan(scale);
  for (std::size_t i = begin; i < end; ++i) row.codes.push_back(zero ? 0 : activation_code(x[i], inverse));
  row.scales.push_back(scale);
}

inline void quantize_span(const std::vector<float>& x, std::size_t begin, std::size_t end, quantized_row& row) {
  bool finite = true;
  const float amax = largest_magnitude(x, begin, end, finite);
  const float inverse = 127.0f / amax;
  const float scale = !finite ? NAN : amax == 0.0f || !std::isfinite(inverse) ? 0.0f : amax / 127.0f;
  quantize_span(x, begin, end, scale, inverse, row);
}

// dynamic<int8>(X): a scale for each `group` values of a row.
inline quantized_row quantize_row(const std::vector<float>& x, std::size_t group) {
  quantized_row row;
  for (std::size_t begin = 0; begin < x.size(); begin += group)
    quantize_span(x, begin, std::min(x.size(), begin + group), row);
  return row;
}

// fixed<int8>(X, scale), and the row of dynamic<int8, per_tensor>(X) that holds `scale` and `inverse` of all rows.
inline quantized_row quantize_row(const std::vector<float>& x, float scale, float inverse) {
  quantized_row row;
  bool finite = true;
  largest_magnitude(x, 0, x.size(), finite);
  quantize_span(x, 0, x.size(), finite ? scale : NAN, inverse, row);
  return row;
}

// W as integers and numbers: code - zero point, scales and offsets.
class exact_weights {
 public:
  template <class Scheme>
  explicit exact_weights(const qlite::quantized_view<Scheme>& q)
      : rows_(q.rows()),
        cols_(q.cols()),
        group_(std::min(q.group_size(), std::max<std::size_t>(q.cols(), 1))),
        groups_(q.groups()),
        has_offset_(qlite::detail::scheme_traits<Scheme>::has_offset),
        grouped_(qlite::detail::scheme_traits<Scheme>::grouped),
        steps_(rows_ * cols_) {
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t g = 0; g < groups_; ++g) {
        scales_.push_back(q.scale(r, g));
        offsets_.push_back(q.offset(r, g));
      }
      for (std::size_t k = 0; k < cols_; ++k) {
        using code = typename Scheme::code_type;
        steps_[r * cols_ + k] = q.code(r, k) - q.zero_point(r, k / q.group_size());
        if (std::is_same_v<code, qlite::nf4>) book_numbers_.push_back(nf4_book[q.code(r, k)]);
        if (std::is_same_v<code, qlite::nl4>) steps_[r * cols_ + k] = static_cast<int>(nl4_book[q.code(r, k)]);
      }
    }
  }

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  std::size_t group() const { return group_; }
  bool grouped() const { return grouped_; }

  // Y(row of x, r) before the epilogue. `token`: the row has one scale, which multiplies the sum over all groups;
  // otherwise it has one for each group of W.
  float dot(const quantized_row& x, std::size_t r, bool token) const {
    constexpr std::size_t fold = 65536;
    float acc = 0.0f;
    for (std::size_t g = 0; g < groups_; ++g) {
      const std::size_t end = std::min(cols_, (g + 1) * group_);
      const float sw = scales_[r * groups_ + g], offset = offsets_[r * groups_ + g];
      const float sx = token ? 1.0f : x.scales[g];
      for (std::size_t begin = g * group_; begin < end; begin += fold) {
        std::int64_t sum = 0, total = 0;
        for (std::size_t k = begin; k < std::min(end, begin + fold); ++k) {
          sum += steps_[r * cols_ + k] * x.codes[k];
          total += x.codes[k];
        }
        acc = std::fma(static_cast<float>(sum), sw * sx, acc);
        if (has_offset_) acc = std::fma(offset * sx, static_cast<float>(total), acc);
      }
    }
    return token && !x.scales.empty() ? std::fma(acc, x.scales[0], 0.0f) : acc;
  }

  // The weight-only product in double, and the sum of magnitudes that its error bound is relative to.
  struct exact_dot {
    double value = 0, magnitude = 0;
  };
  exact_dot dot(const std::vector<float>& x, std::size_t r) const {
    exact_dot sum;
    for (std::size_t k = 0; k < cols_; ++k) {
      const std::size_t g = r * groups_ + k / group_;
      const double step = book_numbers_.empty() ? steps_[r * cols_ + k] : book_numbers_[r * cols_ + k];
      const double w = static_cast<double>(scales_[g]) * step + static_cast<double>(offsets_[g]);
      sum.value += w * static_cast<double>(x[k]);
      sum.magnitude += std::fabs(w * static_cast<double>(x[k]));
    }
    return sum;
  }

 private:
  std::size_t rows_, cols_, group_, groups_;
  bool has_offset_, grouped_;
  std::vector<std::int32_t> steps_;
  std::vector<double> book_numbers_;    // instead of the steps, where codes choose from a code book
  std::vector<float> scales_, offsets_;
};

// The same bits; any NaN is as good as another.
inline bool same_float(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}    // namespace qlite_test
