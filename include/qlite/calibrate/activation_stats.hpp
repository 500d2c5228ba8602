// Magnitudes of each input channel: what AWQ, SmoothQuant and importance-weighted scales need to know about the data.
#pragma once

#include <qlite/calibrate/batch.hpp>
#include <qlite/core/buffer.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// Sums of |x| and x², and the largest |x|, of each of n columns.
struct channel_sums {
  double *absolute, *squares;
  float* largest;

  QLITE_INLINE channel_sums(carver& memory, std::size_t n) noexcept
      : absolute(memory.take<double>(n)), squares(memory.take<double>(n)), largest(memory.take<float>(n)) {}
  QLITE_INLINE static channel_sums of(const buffer& memory, std::size_t n) noexcept {
    carver carve(memory.data());
    return {carve, n};
  }
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline buffer allocate_channels(std::size_t n) {
  if (QLITE_UNLIKELY(n > (~std::size_t{0} >> 6))) fail("qlite: statistics of %zu columns exceed the address space", n);
  carver sizes;
  static_cast<void>(channel_sums(sizes, n));
  buffer memory(sizes.bytes());
  const channel_sums sums = channel_sums::of(memory, n);
  for (std::size_t c = 0; c < n; ++c) {
    sums.absolute[c] = sums.squares[c] = 0.0;
    sums.largest[c] = 0.0f;
  }
  return memory;
}

/// |x| and the square of a float are exact in double, so the sums are the same on every target.
template <class T, class Executor>
void observe_channels(const channel_sums& sums, std::size_t cols, matrix_view<const T> X, const Executor& executor) {
  check_batch(X, cols, "the columns that the statistics were made for");
  if (X.empty()) return;
  const std::size_t tasks = task_count(executor, cols, X.rows() * cols * sizeof(T), std::size_t{1} << 17);
  executor.parallel_for(tasks, [&](std::size_t i) {
    const slice own = slice_of(cols, tasks, i);
    for (std::size_t r = 0; r < X.rows(); ++r) {
      const T* const row = X.row(r);
      for (std::size_t c = own.begin; c < own.end; ++c) {
        const float x = abs_of(element<T>::load(row[c]));
        const auto wide = static_cast<double>(x);
        sums.absolute[c] += wide;
        sums.squares[c] += wide * wide;
        sums.largest[c] = max_of(sums.largest[c], x);
      }
    }
  });
}

inline void merge_channels(const channel_sums& sums, std::size_t cols, const channel_sums& other, std::size_t others) {
  check_equal("the columns of the other statistics", others, "those of these", cols);
  for (std::size_t c = 0; c < cols; ++c) {
    sums.absolute[c] += other.absolute[c];
    sums.squares[c] += other.squares[c];
    sums.largest[c] = max_of(sums.largest[c], other.largest[c]);
  }
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// The mean and the largest magnitude and the mean square of each column of all batches of inputs X [M, K].
/// Rows are added one after the other: the bits do not depend on how they are cut into batches, on the executor or on
/// the instruction set. Memory: 20 K bytes.
class activation_stats {
 public:
  QLITE_INLINE activation_stats() noexcept = default;
  /// For layers with K = `cols` inputs.
  QLITE_INLINE explicit activation_stats(std::size_t cols) : memory_(impl::allocate_channels(cols)), cols_(cols) {}
  QLITE_INLINE activation_stats(activation_stats&& other) noexcept { *this = static_cast<activation_stats&&>(other); }
  QLITE_INLINE activation_stats& operator=(activation_stats&& other) noexcept {    // swaps
    memory_ = static_cast<detail::buffer&&>(other.memory_);
    const std::size_t cols = cols_, rows = rows_;
    cols_ = other.cols_;
    rows_ = other.rows_;
    other.cols_ = cols;
    other.rows_ = rows;
    return *this;
  }
  QLITE_INLINE ~activation_stats() = default;

  /// Adds a batch X [M, K] of float, float16 or bfloat16. O(M K); allocates nothing.
  /// Errors: another number of columns, a NaN or an infinity in X (nothing is added then).
  template <class T, class Executor = serial>
  QLITE_INLINE void observe(matrix_view<T> X, const Executor& executor = {}) {
    impl::observe_channels(sums(), cols_, matrix_view<const std::remove_const_t<T>>(X), executor);
    rows_ += X.rows();
  }
  /// Adds what another one has seen. Error: another number of columns.
  QLITE_INLINE void merge(const activation_stats& other) {
    impl::merge_channels(sums(), cols_, other.sums(), other.cols_);
    rows_ += other.rows_;
  }

  QLITE_INLINE std::size_t cols() const noexcept { return cols_; }
  /// Rows seen so far.
  QLITE_INLINE std::size_t rows() const noexcept { return rows_; }
  /// Mean |x| of column c; 0 before the first row.
  QLITE_INLINE double mean_abs(std::size_t c) const noexcept { return mean(sums().absolute[c]); }
  /// Mean x² of column c, llama.cpp's "importance".
  QLITE_INLINE double mean_square(std::size_t c) const noexcept { return mean(sums().squares[c]); }
  /// Largest |x| of column c.
  QLITE_INLINE float max_abs(std::size_t c) const noexcept { return sums().largest[c]; }

 private:
  QLITE_INLINE detail::channel_sums sums() const noexcept { return detail::channel_sums::of(memory_, cols_); }
  QLITE_INLINE double mean(double sum) const noexcept { return rows_ == 0 ? 0.0 : sum / static_cast<double>(rows_); }

  detail::buffer memory_;
  std::size_t cols_ = 0, rows_ = 0;
};

QLITE_END_NAMESPACE
