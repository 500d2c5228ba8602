// What quantization does to the predictions of a model that gives logits: a language model's next token, a classifier's
// class. Everything in double, one position at a time, mergeable.
#pragma once

#include <qlite/core/check.hpp>

#include <cmath>

QLITE_BEGIN_NAMESPACE

/// The mean negative log-likelihood of a text's tokens, and its exponential (F. Jelinek, R. Mercer, L. Bahl, J. Baker,
/// "Perplexity - a measure of the difficulty of speech recognition tasks", 1977).
class perplexity {
 public:
  QLITE_INLINE constexpr perplexity() noexcept = default;

  /// One token whose probability the model put at exp(-nats).
  QLITE_INLINE void observe(double nats) noexcept {
    sum_ += nats;
    squares_ += nats * nats;
    ++tokens_;
  }
  /// Adds what another one has seen.
  QLITE_INLINE void merge(const perplexity& other) noexcept {
    sum_ += other.sum_;
    squares_ += other.squares_;
    tokens_ += other.tokens_;
  }

  QLITE_INLINE constexpr std::size_t tokens() const noexcept { return tokens_; }
  /// The sum of all tokens' negative log-likelihoods, in nats.
  QLITE_INLINE constexpr double nats() const noexcept { return sum_; }
  /// In nats per token; NaN where no token was seen.
  QLITE_INLINE double mean() const noexcept { return sum_ / static_cast<double>(tokens_); }
  /// exp(mean()); NaN where no token was seen.
  QLITE_INLINE double value() const noexcept { return std::exp(mean()); }
  /// The standard error of mean(), as if tokens were independent: about the relative standard error of value(). NaN for
  /// fewer than two tokens.
  QLITE_INLINE double standard_error() const noexcept {
    const double n = static_cast<double>(tokens_);
    const double variance = (squares_ - sum_ * sum_ / n) / (n - 1);
    return variance < 0 ? 0.0 : std::sqrt(variance / n);
  }

 private:
  double sum_ = 0, squares_ = 0;
  std::size_t tokens_ = 0;
};

namespace detail {

/// A row of logits, normalized: log softmax(x)_i = x_i - shift - log_sum.
struct log_softmax {
  double shift = 0, log_sum = 0;
  std::size_t top = 0;    // the first of the largest

  QLITE_INLINE log_softmax() noexcept = default;

  template <class T>
  QLITE_INLINE double at(const T* x, std::size_t i) const noexcept {
    return (static_cast<double>(element<T>::load(x[i])) - shift) - log_sum;
  }
};

}    // namespace detail

/// Differences between the predictions of a reference model and of a candidate. Feed it with `observe`, a position at a
/// time or in matrices; `merge` joins what was observed apart.
class logit_metrics {
 public:
  QLITE_INLINE constexpr logit_metrics() noexcept = default;

  /// One position: the divergence in nats, and whether both put the same token first.
  QLITE_INLINE void observe(double divergence, bool same_top) noexcept {
    ++count_;
    agreements_ += same_top ? 1u : 0u;
    divergence_ += divergence;
    if (divergence > max_divergence_ || divergence != divergence) max_divergence_ = divergence;    // a NaN stays
  }
  /// Adds what another one has seen.
  QLITE_INLINE void merge(const logit_metrics& other) noexcept {
    count_ += other.count_;
    agreements_ += other.agreements_;
    divergence_ += other.divergence_;
    if (other.max_divergence_ > max_divergence_ || other.max_divergence_ != other.max_divergence_)
      max_divergence_ = other.max_divergence_;
  }

  /// Positions seen. All figures of none are 0, but for top1_agreement, which is 1.
  QLITE_INLINE constexpr std::size_t count() const noexcept { return count_; }
  /// The mean Kullback-Leibler divergence of the candidate's distribution from the reference's,
  /// sum of p (log p - log q) with p = softmax(reference), in nats (S. Kullback, R. Leibler, 1951).
  QLITE_INLINE double mean_divergence() const noexcept {
    return count_ == 0 ? 0.0 : divergence_ / static_cast<double>(count_);
  }
  /// That of the worst position.
  QLITE_INLINE constexpr double max_divergence() const noexcept { return max_divergence_; }
  /// The share of positions at which both have the same largest logit (the first of equals).
  QLITE_INLINE double top1_agreement() const noexcept {
    return count_ == 0 ? 1.0 : static_cast<double>(agreements_) / static_cast<double>(count_);
  }

 private:
  std::size_t count_ = 0, agreements_ = 0;
  double divergence_ = 0, max_divergence_ = 0;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class T>
log_softmax normalize_logits(const T* x, std::size_t count) {
  log_softmax all;
  float largest = element<T>::load(x[0]);
  for (std::size_t i = 1; i < count; ++i) {
    const float value = element<T>::load(x[i]);
    if (value > largest) {
      largest = value;
      all.top = i;
    }
  }
  all.shift = static_cast<double>(largest);
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(element<T>::load(x[i])) - all.shift);
  all.log_sum = std::log(sum);
  return all;
}

template <class T>
QLITE_INLINE void check_logits(const char* name, const T* x, std::size_t count) {
  static_assert(is_element<T>, "qlite: logits are float, float16 or bfloat16");
  check_array(name, x, count);
  if (QLITE_UNLIKELY(count == 0)) fail("qlite: %s has no logits, expected at least 1", name);
}

template <class T, class U>
double divergence_of(const T* p, const log_softmax& ps, const U* q, const log_softmax& qs, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double log_p = ps.at(p, i);
    const double share = std::exp(log_p);
    if (share != 0.0) sum += share * (log_p - qs.at(q, i));    // 0 (-inf - x) counts as 0
  }
  return sum < 0.0 ? 0.0 : sum;    // it is none but by rounding
}

}    // namespace impl

/// The negative log-likelihood, in nats, of class `target` under softmax(logits): what perplexity::observe takes.
/// Errors: null logits, a target beyond them.
template <class T>
[[nodiscard]] double negative_log_likelihood(const T* logits, std::size_t count, std::size_t target) {
  impl::check_logits("logits", logits, count);
  if (QLITE_UNLIKELY(target >= count)) impl::fail("qlite: the target is %zu, expected less than %zu", target, count);
  return -impl::normalize_logits(logits, count).at(logits, target);
}

/// The Kullback-Leibler divergence of softmax(candidate) from softmax(reference), in nats; 0 for equal logits, never
/// negative. A NaN in either gives a NaN.
template <class T, class U>
[[nodiscard]] double kl_divergence(const T* reference, const U* candidate, std::size_t count) {
  impl::check_logits("reference", reference, count);
  impl::check_logits("candidate", candidate, count);
  return impl::divergence_of(reference, impl::normalize_logits(reference, count), candidate,
                             impl::normalize_logits(candidate, count), count);
}

/// Adds the positions of two matrices of logits [positions, classes] (float, float16 or bfloat16; the two may differ).
/// Errors: views that cannot be read, other shapes, no classes.
template <class T, class U>
void observe(logit_metrics& metrics, matrix_view<T> reference, matrix_view<U> candidate) {
  impl::check_matrix("reference", reference);
  impl::check_matrix("candidate", candidate);
  impl::check_equal("rows of the candidate", candidate.rows(), "rows of the reference", reference.rows());
  impl::check_equal("columns of the candidate", candidate.cols(), "columns of the reference", reference.cols());
  const std::size_t count = reference.cols();
  if (reference.rows() == 0) return;
  if (QLITE_UNLIKELY(count == 0)) impl::fail("qlite: reference has no logits, expected at least 1 column");
  for (std::size_t r = 0; r < reference.rows(); ++r) {
    const std::remove_const_t<T>* const p = reference.row(r);
    const std::remove_const_t<U>* const q = candidate.row(r);
    const detail::log_softmax ps = impl::normalize_logits(p, count), qs = impl::normalize_logits(q, count);
    metrics.observe(impl::divergence_of(p, ps, q, qs, count), ps.top == qs.top);
  }
}

QLITE_END_FUNCTIONS
