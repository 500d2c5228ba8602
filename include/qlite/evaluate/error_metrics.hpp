// How far one set of numbers is from another: one pass, sums in double, mergeable.
#pragma once

#include <qlite/core/check.hpp>

QLITE_BEGIN_NAMESPACE

/// Sums over pairs (reference, candidate) of numbers: weights and what their codes stand for, or the outputs of a layer
/// and of its quantized twin. Feed it with `observe`, in any number of pieces; pieces that were observed apart (by
/// threads, on other machines) are joined by `merge`. 56 bytes, no allocation.
///
/// Sums of n terms in double: squared_error, squared_reference, mse and mean_absolute_error are within a relative
/// (n + 4) 2^-53 of the exact ones, relative_error too; cosine is within (2 n + 10) 2^-53 absolutely. A NaN or an
/// infinity on either side shows in every figure that it takes part in.
class error_metrics {
 public:
  QLITE_INLINE constexpr error_metrics() noexcept = default;

  /// One pair.
  QLITE_INLINE void observe(double reference, double candidate) noexcept {
    const double error = candidate - reference, magnitude = error < 0 ? -error : error;
    ++count_;
    squared_error_ += error * error;
    squared_reference_ += reference * reference;
    squared_candidate_ += candidate * candidate;
    product_ += reference * candidate;
    absolute_error_ += magnitude;
    if (magnitude > max_error_ || magnitude != magnitude) max_error_ = magnitude;    // a NaN stays
  }

  /// Adds what another one has seen.
  QLITE_INLINE void merge(const error_metrics& other) noexcept {
    count_ += other.count_;
    squared_error_ += other.squared_error_;
    squared_reference_ += other.squared_reference_;
    squared_candidate_ += other.squared_candidate_;
    product_ += other.product_;
    absolute_error_ += other.absolute_error_;
    if (other.max_error_ > max_error_ || other.max_error_ != other.max_error_) max_error_ = other.max_error_;
  }

  /// Pairs seen. All figures of none are 0, but for `cosine`, which is 1, and `sqnr_db`, which is infinite.
  QLITE_INLINE constexpr std::size_t count() const noexcept { return count_; }
  /// The sum of squared errors, and of squared references.
  QLITE_INLINE constexpr double squared_error() const noexcept { return squared_error_; }
  QLITE_INLINE constexpr double squared_reference() const noexcept { return squared_reference_; }
  /// The mean squared error.
  QLITE_INLINE double mse() const noexcept { return count_ == 0 ? 0.0 : squared_error_ / static_cast<double>(count_); }
  /// The mean of |candidate - reference|.
  QLITE_INLINE double mean_absolute_error() const noexcept {
    return count_ == 0 ? 0.0 : absolute_error_ / static_cast<double>(count_);
  }
  /// The largest |candidate - reference|.
  QLITE_INLINE constexpr double max_error() const noexcept { return max_error_; }
  /// |candidate - reference| / |reference| in the Euclidean norm. Infinite where only the reference is 0.
  QLITE_INLINE double relative_error() const noexcept {
    return squared_error_ == 0.0 ? 0.0 : __builtin_sqrt(squared_error_ / squared_reference_);
  }
  /// Signal to quantization noise ratio, 10 log10(|reference|^2 / |candidate - reference|^2), in decibels. Infinite
  /// without an error.
  QLITE_INLINE double sqnr_db() const noexcept {
    return squared_error_ == 0.0 ? __builtin_huge_val() : 10.0 * __builtin_log10(squared_reference_ / squared_error_);
  }
  /// The cosine of the angle between the two as vectors; 1 for two of only zeros, 0 where one of them is.
  QLITE_INLINE double cosine() const noexcept {
    if (squared_reference_ == 0.0 || squared_candidate_ == 0.0)
      return squared_reference_ == squared_candidate_ ? 1.0 : 0.0;
    return product_ / (__builtin_sqrt(squared_reference_) * __builtin_sqrt(squared_candidate_));
  }

 private:
  std::size_t count_ = 0;
  double squared_error_ = 0, squared_reference_ = 0, squared_candidate_ = 0, product_ = 0, absolute_error_ = 0,
         max_error_ = 0;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS

/// Adds the pairs of two matrices of one shape (float, float16 or bfloat16; the two may differ).
/// Errors: views that cannot be read, other shapes.
template <class T, class U>
void observe(error_metrics& metrics, matrix_view<T> reference, matrix_view<U> candidate) {
  using reference_element = detail::element<std::remove_const_t<T>>;
  using candidate_element = detail::element<std::remove_const_t<U>>;
  impl::check_matrix("reference", reference);
  impl::check_matrix("candidate", candidate);
  impl::check_equal("rows of the candidate", candidate.rows(), "rows of the reference", reference.rows());
  impl::check_equal("columns of the candidate", candidate.cols(), "columns of the reference", reference.cols());
  for (std::size_t r = 0; r < reference.rows(); ++r)
    for (std::size_t c = 0; c < reference.cols(); ++c)
      metrics.observe(static_cast<double>(reference_element::load(reference(r, c))),
                      static_cast<double>(candidate_element::load(candidate(r, c))));
}

/// The metrics of two matrices.
template <class T, class U>
[[nodiscard]] error_metrics metrics_of(matrix_view<T> reference, matrix_view<U> candidate) {
  error_metrics metrics;
  observe(metrics, reference, candidate);
  return metrics;
}

QLITE_END_FUNCTIONS
