// What quantization does to a search: the order that scores (of embeddings, of a reranker) put documents into.
#pragma once

#include <qlite/core/buffer.hpp>
#include <qlite/core/check.hpp>

#include <cmath>

QLITE_BEGIN_NAMESPACE

/// The mean of a share or a correlation over queries; mergeable.
class running_mean {
 public:
  QLITE_INLINE constexpr running_mean() noexcept = default;
  QLITE_INLINE void observe(double value) noexcept {
    sum_ += value;
    ++count_;
  }
  QLITE_INLINE void merge(const running_mean& other) noexcept {
    sum_ += other.sum_;
    count_ += other.count_;
  }
  QLITE_INLINE constexpr std::size_t count() const noexcept { return count_; }
  /// NaN where nothing was observed.
  QLITE_INLINE double value() const noexcept { return sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  std::size_t count_ = 0;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Moves the element at `root` of a heap down to where it belongs. before(a, b): a comes out after b.
template <class Before>
QLITE_INLINE void sift_down(std::size_t* heap, std::size_t root, std::size_t count, const Before& before) {
  for (std::size_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && before(heap[child + 1], heap[child])) ++child;
    if (!before(heap[child], heap[root])) return;
    const std::size_t moved = heap[root];
    heap[root] = heap[child];
    heap[child] = moved;
  }
}

/// Sorts indices so that before(a, b) puts a in front of b. Heapsort (J. Williams, 1964): O(n log n), in place, and
/// unlike std::sort no symbol that objects of several instruction sets would share.
template <class Before>
void sort_indices(std::size_t* indices, std::size_t count, const Before& before) {
  const auto after = [&](std::size_t a, std::size_t b) { return before(b, a); };
  for (std::size_t root = count / 2; root-- > 0;) sift_down(indices, root, count, after);
  for (std::size_t end = count; end-- > 1;) {
    const std::size_t last = indices[0];
    indices[0] = indices[end];
    indices[end] = last;
    sift_down(indices, 0, end, after);
  }
}

/// The largest score first; of equals, that with the smaller index.
template <class T>
void order_by_score(const T* scores, std::size_t count, std::size_t* order) {
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  sort_indices(order, count, [&](std::size_t a, std::size_t b) {
    const float x = element<T>::load(scores[a]), y = element<T>::load(scores[b]);
    return x > y || (x == y && a < b);
  });
}

/// Ranks 1 ... n by score; equal scores share the mean of theirs.
template <class T>
void ranks_of(const T* scores, std::size_t count, std::size_t* order, double* ranks) {
  order_by_score(scores, count, order);
  for (std::size_t first = 0, end; first < count; first = end) {
    const float score = element<T>::load(scores[order[first]]);
    for (end = first + 1; end < count && element<T>::load(scores[order[end]]) == score;) ++end;
    for (std::size_t i = first; i < end; ++i) ranks[order[i]] = 0.5 * static_cast<double>(first + 1 + end);
  }
}

template <class T>
QLITE_INLINE void check_scores(const char* name, const T* scores, std::size_t count) {
  static_assert(is_element<T>, "qlite: scores are float, float16 or bfloat16");
  check_array(name, scores, count);
  for (std::size_t i = 0; i < count; ++i) {
    const float score = element<T>::load(scores[i]);
    if (QLITE_UNLIKELY(!is_finite(score)))
      fail("qlite: %s has %g at %zu, expected finite scores", name, static_cast<double>(score), i);
  }
}

}    // namespace impl

/// The share of the reference's k best of `count` documents that the candidate too puts among its k best, 0 to 1. The
/// best are those with the largest scores; of equal scores, those with the smaller index.
/// O(count log count); allocates 9 bytes a document. Errors: null or non-finite scores; k of 0 or beyond count.
template <class T, class U>
[[nodiscard]] double recall_at_k(const T* reference, const U* candidate, std::size_t count, std::size_t k) {
  impl::check_scores("reference", reference, count);
  impl::check_scores("candidate", candidate, count);
  if (QLITE_UNLIKELY(k == 0 || k > count))
    impl::fail("qlite: k is %zu, expected 1 to %zu (the number of scores)", k, count);
  const detail::buffer memory(count * (sizeof(std::size_t) + 1));
  std::size_t* const order = reinterpret_cast<std::size_t*>(memory.data());
  std::uint8_t* const relevant = reinterpret_cast<std::uint8_t*>(order + count);
  for (std::size_t i = 0; i < count; ++i) relevant[i] = 0;
  impl::order_by_score(reference, count, order);
  for (std::size_t i = 0; i < k; ++i) relevant[order[i]] = 1;
  impl::order_by_score(candidate, count, order);
  std::size_t found = 0;
  for (std::size_t i = 0; i < k; ++i) found += relevant[order[i]];
  return static_cast<double>(found) / static_cast<double>(k);
}

/// The rank correlation of two scorings of `count` documents: Pearson's correlation of their ranks, equal scores
/// sharing the mean of theirs; -1 to 1 (C. Spearman, "The proof and measurement of association between two things",
/// 1904). NaN where all scores of one are equal, or for fewer than two documents. O(count log count); allocates 24
/// bytes a document. Errors: null or non-finite scores.
template <class T, class U>
[[nodiscard]] double rank_correlation(const T* reference, const U* candidate, std::size_t count) {
  impl::check_scores("reference", reference, count);
  impl::check_scores("candidate", candidate, count);
  const detail::buffer memory(count * (sizeof(std::size_t) + 2 * sizeof(double)));
  std::size_t* const order = reinterpret_cast<std::size_t*>(memory.data());
  double* const a = reinterpret_cast<double*>(order + count);
  double* const b = a + count;
  impl::ranks_of(reference, count, order, a);
  impl::ranks_of(candidate, count, order, b);
  const double mean = 0.5 * static_cast<double>(count + 1);
  double aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < count; ++i) {
    aa += (a[i] - mean) * (a[i] - mean);
    bb += (b[i] - mean) * (b[i] - mean);
    ab += (a[i] - mean) * (b[i] - mean);
  }
  return ab / (std::sqrt(aa) * std::sqrt(bb));
}

QLITE_END_FUNCTIONS
