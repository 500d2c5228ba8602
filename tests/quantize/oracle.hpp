// What quantizing means, written a second time: one weight after the other, in double wherever the library's own float
// operation is not itself the definition (differences, and the quotients by scales, are single IEEE operations).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <qlite/quantize.hpp>
#include <vector>

#include "support/property.hpp"

namespace qlite_test {

// A matrix with NaN between its rows, at an address that is aligned to one element only.
template <class T>
class strided_matrix {
 public:
  strided_matrix(std::size_t rows, std::size_t cols, std::size_t gap)
      : rows_(rows), cols_(cols), stride_(cols + gap), values_(1 + rows * stride_, nan()) {}
  T& operator()(std::size_t r, std::size_t c) { return values_[1 + r * stride_ + c]; }
  float value(std::size_t r, std::size_t c) const {
    return qlite::detail::element<T>::load(values_[1 + r * stride_ + c]);
  }
  qlite::matrix_view<T> view() { return {values_.data() + 1, rows_, cols_, stride_}; }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  // Whether nothing was written between the rows.
  bool gaps_are_intact() const {
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t c = cols_; c < stride_; ++c)
        if (!std::isnan(value(r, c))) return false;
    return true;
  }

 private:
  static T nan() { return qlite::detail::element<T>::store(std::numeric_limits<float>::quiet_NaN()); }
  std::size_t rows_, cols_, stride_;
  std::vector<T> values_;
};

enum class scale_choice { absmax, absmax_wide, signed_max };
enum class round_choice { half_even, half_away, half_up_truncate };

template <class Rule>
constexpr scale_choice choice_of_scale =
    std::is_same_v<Rule, qlite::scale_rule::absmax>        ? scale_choice::absmax
    : std::is_same_v<Rule, qlite::scale_rule::absmax_wide> ? scale_choice::absmax_wide
                                                           : scale_choice::signed_max;
template <class Rule>
constexpr round_choice choice_of_round =
    std::is_same_v<Rule, qlite::round_rule::half_even>   ? round_choice::half_even
    : std::is_same_v<Rule, qlite::round_rule::half_away> ? round_choice::half_away
                                                         : round_choice::half_up_truncate;

// x to the nearest number with `precision` significant bits and no bit below 2^lowest, ties to even.
inline double round_to(double x, int precision, int lowest) {
  if (x == 0) return x;
  const int unit = std::max(std::ilogb(x) - precision + 1, lowest);
  return std::ldexp(std::nearbyint(std::ldexp(x, -unit)), unit);
}
inline double to_half(double x) { return round_to(x, 11, -24); }

template <class Real>
double stored_real(double x) {
  return std::is_same_v<Real, qlite::float16> ? to_half(x) : static_cast<double>(static_cast<float>(x));
}

template <class Scale>
double stored_scale(double x) {
  const double smallest =
      std::is_same_v<Scale, qlite::float16> ? 0x1p-24 : static_cast<double>(std::numeric_limits<float>::min());
  const double s = stored_real<Scale>(x);
  return std::abs(s) < smallest ? (x < 0 ? -smallest : smallest) : s;
}

inline int rounded(double x, round_choice rule, int low) {
  switch (rule) {
    case round_choice::half_even:
      return static_cast<int>(std::nearbyint(x));
    case round_choice::half_away:
      return static_cast<int>(std::round(x));
    default:    // the sum is part of the rule: in float
      return static_cast<int>(std::trunc(static_cast<float>(x + (0.5 - low)))) + low;
  }
}

// One group: its numbers and the range of its codes.
struct group_numbers {
  double scale = 0, offset = 0;
  int zero = 0;
};

// The parameters of round to nearest.
template <class Scheme>
group_numbers fit(const std::vector<double>& w, scale_choice scale, bool contains_zero) {
  using traits = qlite::detail::scheme_traits<Scheme>;
  using scale_type = typename traits::scale;
  group_numbers g;
  double low = w[0], high = w[0], extreme = 0;
  for (const double x : w) {
    low = std::min(low, x);
    high = std::max(high, x);
    if (std::abs(x) > std::abs(extreme)) extreme = x;
  }
  const double amax = std::abs(extreme);
  if constexpr (traits::is_symmetric) {
    // quotients of floats, rounded to double and then to float, are rounded correctly (Figueroa 1995)
    const double exact = scale == scale_choice::absmax        ? amax / traits::code_max
                         : scale == scale_choice::absmax_wide ? 2 * amax / (traits::code_max - traits::code_min)
                                                              : extreme / traits::code_min;
    g.scale = stored_scale<scale_type>(static_cast<float>(exact));
  } else {
    if (traits::has_zero_point && contains_zero) {
      low = std::min(low, 0.0);
      high = std::max(high, 0.0);
    }
    const float steps = static_cast<float>(traits::code_max - traits::code_min);
    const auto l = static_cast<float>(low), h = static_cast<float>(high);
    const float range = h - l;
    g.scale = stored_scale<scale_type>(std::isfinite(range) ? range / steps : h / steps - l / steps);
    if constexpr (traits::has_zero_point) {
      const auto below = static_cast<float>(low / g.scale);
      const double zero = traits::code_min - std::nearbyint(std::max(std::min(below, 0.0f), -steps));
      g.zero = static_cast<int>(zero);
    } else {
      g.offset = stored_real<typename traits::offset_type>(static_cast<float>(low - traits::code_min * g.scale));
    }
  }
  return g;
}

template <class Scheme>
int code_of(double w, const group_numbers& g, round_choice rule) {
  using traits = qlite::detail::scheme_traits<Scheme>;
  const double numerator =
      traits::has_offset ? static_cast<double>(static_cast<float>(w) - static_cast<float>(g.offset)) : w;
  const int low = traits::code_min - g.zero, high = traits::code_max - g.zero;
  const double quotient = static_cast<float>(numerator / g.scale);
  return rounded(std::min(std::max(quotient, static_cast<double>(low)), static_cast<double>(high)), rule, low) + g.zero;
}

// The number that a code stands for. Exact but for an offset: that sum is rounded once, to float.
template <class Scheme>
double number_of(int code, const group_numbers& g) {
  using traits = qlite::detail::scheme_traits<Scheme>;
  const double product = g.scale * (code - g.zero);
  return traits::has_offset ? product + g.offset : product;
}

// The weights of the group that (r, c) belongs to, in the order of the matrix.
template <class Scheme, class T>
std::vector<double> group_of(const strided_matrix<T>& W, std::size_t r, std::size_t c, std::size_t group_size) {
  std::vector<double> w;
  const bool all = qlite::detail::scheme_traits<Scheme>::one_scale;
  for (std::size_t i = all ? 0 : r; i < (all ? W.rows() : r + 1); ++i) {
    const std::size_t begin = all ? 0 : c / group_size * group_size;
    for (std::size_t j = begin; j < std::min(W.cols(), all ? W.cols() : begin + group_size); ++j)
      w.push_back(static_cast<double>(W.value(i, j)));
  }
  return w;
}

// Weights of every kind: normal ones, outliers, ties, one-sided and constant rows, zeros of both signs, tiny ones.
template <class T>
void fill(strided_matrix<T>& W, random_source& random) {
  for (std::size_t r = 0; r < W.rows(); ++r) {
    const auto kind = random.integer(0, 9);
    const float size = std::ldexp(1.0f, static_cast<int>(random.integer(0, 20)) - 14);
    const float constant = random.normal();
    for (std::size_t c = 0; c < W.cols(); ++c) {
      float x = random.normal() * size;
      if (kind == 0) x = static_cast<float>(static_cast<int>(random.integer(0, 30)) - 15) * 0.5f;    // ties
      if (kind == 1) x = std::abs(x) + size;
      if (kind == 2) x = -std::abs(x);
      if (kind == 3) x = constant;
      if (kind == 4) x = random.chance(0.5) ? 0.0f : -0.0f;
      if (kind == 5) x *= random.chance(0.02) ? 30.0f : 1.0f;
      if (kind == 6) x = std::ldexp(x, -24 - static_cast<int>(random.integer(0, 20)));
      if (kind == 7) x = random.chance(0.5) ? size : -size;    // two extremes
      W(r, c) = qlite::detail::element<T>::store(x);
    }
  }
}

// True if both hold the same bytes.
template <class Scheme>
bool same_bytes(const qlite::quantized_view<Scheme>& a, const qlite::quantized_view<Scheme>& b) {
  const auto& shape = a.shape();
  const auto equal = [](const void* x, const void* y, std::size_t n) { return n == 0 || std::memcmp(x, y, n) == 0; };
  return shape.rows() == b.rows() && shape.cols() == b.cols() && shape.group_size() == b.group_size() &&
         equal(a.codes(), b.codes(), shape.code_bytes()) && equal(a.scales(), b.scales(), shape.scale_bytes()) &&
         equal(a.zeros(), b.zeros(), shape.zero_bytes()) && equal(a.offsets(), b.offsets(), shape.offset_bytes());
}
template <class Scheme>
bool same_bytes(const qlite::quantized_matrix<Scheme>& a, const qlite::quantized_matrix<Scheme>& b) {
  return same_bytes(a.view(), b.view());
}

template <std::size_t N>
using group = qlite::per_group<N>;
using any_group = qlite::per_group<qlite::dynamic_extent>;

}    // namespace qlite_test
