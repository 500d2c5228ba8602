// Which scheme for which layer: the least error under a budget of bytes, or the fewest bytes under a budget of error.
//
// Each layer has candidates with a size and an error, and gets one of them. Errors of different layers are taken to add
// up; squared errors of outputs do, as far as layers err independently. This is the multiple-choice knapsack problem:
// NP-hard, but its linear relaxation is solved by a greedy walk (P. Sinha, A. Zoltners, "The multiple-choice knapsack
// problem", Operations Research 27(3), 1979; for bits of a coder: Y. Shoham, A. Gersho, "Efficient bit allocation for
// an arbitrary set of quantizers", IEEE Trans. ASSP 36(9), 1988). Per layer only the candidates on the lower convex
// hull of (bytes, error) count. From the smallest ones on, the step of the largest gain in error per byte is taken
// until the budget is spent; the first step that does not fit bounds how far the result can be from the optimum.
#pragma once

#include <qlite/core/buffer.hpp>
#include <qlite/core/check.hpp>

QLITE_BEGIN_NAMESPACE

/// What a layer costs with one of its candidates.
struct layer_option {
  std::size_t bytes = 0;
  double error = 0;    ///< finite, not negative; those of all layers are added up

  QLITE_INLINE constexpr layer_option() noexcept = default;
  QLITE_INLINE constexpr layer_option(std::size_t b, double e) noexcept : bytes(b), error(e) {}
};

/// What an assignment comes to.
struct assignment_summary {
  std::size_t bytes = 0;
  double error = 0;
  /// No assignment within the budget has less error (assign_under_bytes) or fewer bytes (assign_under_error) than this.
  double lower_bound = 0;

  QLITE_INLINE constexpr assignment_summary() noexcept = default;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// A walk over the options [layers, candidates] from the smallest to the most accurate, along each layer's lower convex
/// hull. `chosen` has the candidate of each layer.
class assignment_walk {
 public:
  assignment_walk(matrix_view<const layer_option> options, std::size_t* chosen) : options_(options), chosen_(chosen) {
    for (std::size_t l = 0; l < options_.rows(); ++l) {
      std::size_t smallest = 0;
      for (std::size_t c = 1; c < options_.cols(); ++c)
        if (smaller(options_(l, c), options_(l, smallest))) smallest = c;
      chosen_[l] = smallest;
    }
  }

  struct step {
    std::size_t layer = 0, candidate = 0, bytes = 0;
    double gain = 0;    // 0: there is none
  };

  /// The next step of the hull of layer l: the candidate of the largest gain per byte, of equals the smallest.
  step next_of(std::size_t l) const {
    const layer_option& now = options_(l, chosen_[l]);
    step best;
    for (std::size_t c = 0; c < options_.cols(); ++c) {
      const layer_option& o = options_(l, c);
      if (o.bytes <= now.bytes || !(o.error < now.error)) continue;
      const step s{l, c, o.bytes - now.bytes, now.error - o.error};
      if (better(s, best)) best = s;
    }
    return best;
  }

  step next() const {
    step best;
    for (std::size_t l = 0; l < options_.rows(); ++l) {
      const step s = next_of(l);
      if (s.gain > 0 && better(s, best)) best = s;
    }
    return best;
  }

  void take(const step& s) { chosen_[s.layer] = s.candidate; }

  assignment_summary summary() const {
    assignment_summary all;
    for (std::size_t l = 0; l < options_.rows(); ++l) {
      all.bytes += options_(l, chosen_[l]).bytes;
      all.error += options_(l, chosen_[l]).error;
    }
    return all;
  }

  /// The change of one layer that gains the most error without needing more than `spare` bytes; gain 0: there is none.
  step best_within(std::size_t spare) const {
    step best;
    for (std::size_t l = 0; l < options_.rows(); ++l) {
      const layer_option& now = options_(l, chosen_[l]);
      for (std::size_t c = 0; c < options_.cols(); ++c) {
        const layer_option& o = options_(l, c);
        const bool fits = o.bytes <= now.bytes || o.bytes - now.bytes <= spare;
        if (fits && now.error - o.error > best.gain) best = {l, c, 0, now.error - o.error};
      }
    }
    return best;
  }

  /// The change of one layer that saves the most bytes without adding more than `spare` error; 0 bytes: there is none.
  step most_saved_within(double spare) const {
    step best;
    for (std::size_t l = 0; l < options_.rows(); ++l) {
      const layer_option& now = options_(l, chosen_[l]);
      for (std::size_t c = 0; c < options_.cols(); ++c) {
        const layer_option& o = options_(l, c);
        if (o.bytes < now.bytes && o.error - now.error <= spare && now.bytes - o.bytes > best.bytes)
          best = {l, c, now.bytes - o.bytes, 0};
      }
    }
    return best;
  }

 private:
  static bool smaller(const layer_option& a, const layer_option& b) {
    return a.bytes < b.bytes || (a.bytes == b.bytes && a.error < b.error);
  }
  /// Gain per byte, compared without a division.
  static bool better(const step& a, const step& b) {
    if (b.gain == 0) return a.gain > 0;
    const double x = a.gain * static_cast<double>(b.bytes), y = b.gain * static_cast<double>(a.bytes);
    return x > y || (x == y && a.bytes < b.bytes);
  }

  matrix_view<const layer_option> options_;
  std::size_t* chosen_;
};

inline void check_options(matrix_view<const layer_option> options, const std::size_t* chosen) {
  check_matrix("options", options);
  check_array("chosen", chosen, options.rows());
  if (options.rows() != 0 && options.cols() == 0) fail("qlite: options has 0 candidates, expected at least 1 a layer");
  for (std::size_t l = 0; l < options.rows(); ++l)
    for (std::size_t c = 0; c < options.cols(); ++c) {
      const double error = options(l, c).error;
      if (QLITE_UNLIKELY(!(error >= 0.0 && error - error == 0.0)))
        fail("qlite: the error of layer %zu with candidate %zu is %g, expected a finite number, not negative", l, c,
             error);
    }
}

}    // namespace impl

/// Chooses a candidate for each layer so that all together take at most `budget` bytes, with as little error as the
/// greedy walk finds; then spends what is left on single changes. options [layers, candidates]; `chosen` [layers] gets
/// the column of each.
///
/// The error is at most the optimum's plus the gain of one step of one layer; `lower_bound` tells how close it is.
/// O(layers^2 candidates^2), no allocation. Errors: a budget below the sum of the smallest candidates (the message has
/// it), an error that is negative or not finite.
inline assignment_summary assign_under_bytes(matrix_view<const layer_option> options, std::size_t budget,
                                             std::size_t* chosen) {
  impl::check_options(options, chosen);
  impl::assignment_walk walk(options, chosen);
  assignment_summary now = walk.summary();
  if (QLITE_UNLIKELY(now.bytes > budget))
    impl::fail("qlite: the budget is %zu bytes, expected at least %zu (each layer with its smallest candidate)", budget,
               now.bytes);
  double bound = -1.0;
  for (auto s = walk.next(); s.gain > 0; s = walk.next()) {
    now = walk.summary();
    if (s.bytes > budget - now.bytes) {    // the relaxation takes the share of it that fits, and is done
      bound = now.error - s.gain * (static_cast<double>(budget - now.bytes) / static_cast<double>(s.bytes));
      break;
    }
    walk.take(s);
  }
  now = walk.summary();
  const double relaxed = bound < 0 ? now.error : bound;
  for (auto s = walk.best_within(budget - now.bytes); s.gain > 0; s = walk.best_within(budget - now.bytes)) {
    walk.take(s);
    now = walk.summary();
  }
  now.lower_bound = relaxed;
  return now;
}

/// Chooses a candidate for each layer so that the errors add up to at most `budget`, in as few bytes as the greedy walk
/// finds; then gives back what single changes can.
///
/// The bytes are at most the optimum's plus those of one step of one layer; `lower_bound` tells how close they are.
/// O(layers^2 candidates^2), no allocation. Errors: a budget below the sum of the least errors, an error that is
/// negative or not finite.
inline assignment_summary assign_under_error(matrix_view<const layer_option> options, double budget,
                                             std::size_t* chosen) {
  impl::check_options(options, chosen);
  impl::assignment_walk walk(options, chosen);
  assignment_summary now = walk.summary();
  double bound = static_cast<double>(now.bytes);
  while (!(now.error <= budget)) {
    const auto s = walk.next();
    if (QLITE_UNLIKELY(s.gain == 0))
      impl::fail("qlite: the budget is an error of %g, expected at least %g (each layer with its best candidate)",
                 budget, now.error);
    const double share = (now.error - budget) / s.gain;    // of the step that the relaxation takes
    bound = static_cast<double>(now.bytes) + static_cast<double>(s.bytes) * (share < 1 ? share : 1);
    walk.take(s);
    now = walk.summary();
  }
  for (auto s = walk.most_saved_within(budget - now.error); s.bytes > 0;
       s = walk.most_saved_within(budget - now.error)) {
    const std::size_t before = chosen[s.layer];
    walk.take(s);
    const assignment_summary then = walk.summary();
    if (!(then.error <= budget)) {    // by the rounding of the sum alone
      chosen[s.layer] = before;
      break;
    }
    now = then;
  }
  now.lower_bound = bound;
  return now;
}

QLITE_END_FUNCTIONS
