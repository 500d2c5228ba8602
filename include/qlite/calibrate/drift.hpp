// How far a quantized model has drifted from the original by the time it reaches a layer, as that layer's inputs see
// it.
#pragma once

#include <qlite/calibrate/hessian.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline buffer allocate_drift(std::size_t rows, std::size_t cols) {
  if (QLITE_UNLIKELY(rows != 0 && cols > ~std::size_t{0} / 64 / rows))
    fail("qlite: a drift of %zu x %zu sums exceeds the address space", rows, cols);
  buffer memory(rows * cols * sizeof(double));
  double* const data = reinterpret_cast<double*>(memory.data());
  for (std::size_t i = 0; i < rows * cols; ++i) data[i] = 0.0;
  return memory;
}

/// Tiles of differences that one copy of the inputs serves.
inline constexpr std::size_t drift_tiles = 4;

/// sums [rows, cols] += (A - B)ᵀ X, row after row.
template <class T, class U, class V, class Executor>
void observe_drift(double* sums, std::size_t rows, std::size_t cols, matrix_view<const T> A, matrix_view<const U> B,
                   matrix_view<const V> X, const Executor& executor) {
  check_batch(A, rows, "the rows that the drift was made for");
  check_batch(B, rows, "the rows that the drift was made for");
  check_batch(X, cols, "the columns that the drift was made for");
  check_equal("rows of the quantized model's numbers", B.rows(), "rows of the original's", A.rows());
  check_equal("rows of X", X.rows(), "rows of the original's numbers", A.rows());
  if (A.empty() || X.empty()) return;
  const std::size_t tiles = ceil_div(rows, tile_rows), runs = ceil_div(tiles, drift_tiles);
  const std::size_t most = min_of(A.rows(), hessian_depth), stride = round_up(cols, tile_cols) * tile_rows;
  const std::size_t tasks = task_count(executor, runs, rows * cols * A.rows(), std::size_t{1} << 20);
  const auto carve = [&](carver& memory, float*& differences, double*& products, double*& panels) {
    differences = memory.take<float>(drift_tiles * most * tile_rows);
    products = memory.take<double>(drift_tiles * stride);
    panels = memory.take<double>(panel_size(panel_depth, panel_width));
  };
  carver sizes;
  float* differences;
  double *products, *panels;
  carve(sizes, differences, products, panels);
  const std::size_t each = sizes.bytes() + cache_line;
  const buffer memory(tasks * each);
  executor.parallel_for(tasks, [&](std::size_t task) {
    carver mine(memory.data() + task * each);
    float* own_differences;
    double *own_products, *own_panels;
    carve(mine, own_differences, own_products, own_panels);
    const slice own = slice_of(runs, tasks, task);
    for (std::size_t i = own.begin; i < own.end; ++i) {
      const std::size_t first = i * drift_tiles * tile_rows, count = min_of(drift_tiles, tiles - i * drift_tiles);
      const auto each_sum = [&](auto&& move) {
        for (std::size_t r = first; r < min_of(first + count * tile_rows, rows); ++r)
          for (std::size_t c = 0; c < cols; ++c)
            move(sums[r * cols + c],
                 own_products[(r - first) / tile_rows * stride + c * tile_rows + (r - first) % tile_rows]);
      };
      for (std::size_t j = 0; j < count * stride; ++j) own_products[j] = 0.0;
      each_sum([](double& sum, double& product) { product = sum; });
      for (std::size_t s = 0; s < A.rows(); s += most) {
        const std::size_t depth = min_of(most, A.rows() - s);
        for (std::size_t t = 0; t < count; ++t)
          for (std::size_t k = 0; k < depth; ++k)
            for (std::size_t r = 0; r < tile_rows; ++r) {
              const std::size_t c = first + t * tile_rows + r;
              own_differences[(t * depth + k) * tile_rows + r] =
                  c < rows ? element<T>::load(A(s + k, c)) - element<U>::load(B(s + k, c)) : 0.0f;
            }
        const tile_run run{own_differences, depth * tile_rows, 0, own_products, stride, 0, count};
        accumulate_tiles(run, batch_factor<V>{{X.row(s), depth, cols, X.row_stride()}}, 0, depth, 0, cols, own_panels);
      }
      each_sum([](double& sum, double& product) { sum = product; });
    }
  });
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// (A - Â)ᵀ X̂ over all rows of all batches: A [M, rows] are numbers of the original model, Â the same ones in the
/// quantized model, X̂ [M, cols] the inputs of a layer there. With the inputs themselves as A, or with the residual
/// stream that the layer's outputs are added to, it is what compensate (quantize/compensate.hpp) needs.
///
/// Differences are rounded to float, their products with X̂ summed in double, row after row: the bits do not depend on
/// how rows are cut into batches, nor on the executor, nor on the instruction set. Memory: 8 rows cols bytes.
class drift {
 public:
  QLITE_INLINE drift() noexcept = default;
  QLITE_INLINE drift(std::size_t rows, std::size_t cols)
      : memory_(impl::allocate_drift(rows, cols)), rows_(rows), cols_(cols) {}
  QLITE_INLINE drift(drift&& other) noexcept { *this = static_cast<drift&&>(other); }
  QLITE_INLINE drift& operator=(drift&& other) noexcept {    // swaps
    memory_ = static_cast<detail::buffer&&>(other.memory_);
    const std::size_t rows = rows_, cols = cols_;
    rows_ = other.rows_;
    cols_ = other.cols_;
    other.rows_ = rows;
    other.cols_ = cols;
    return *this;
  }
  QLITE_INLINE ~drift() = default;

  /// Adds a batch: A and Â [M, rows], X̂ [M, cols], each of float, float16 or bfloat16. O(M rows cols); allocates 800
  /// bytes a column and 600 KiB for each task. Errors: other shapes, a NaN or an infinity (nothing is added then).
  template <class T, class U, class V, class Executor = serial>
  QLITE_INLINE void observe(matrix_view<T> original, matrix_view<U> quantized, matrix_view<V> inputs,
                            const Executor& executor = {}) {
    impl::observe_drift(sums(), rows_, cols_, matrix_view<const std::remove_const_t<T>>(original),
                        matrix_view<const std::remove_const_t<U>>(quantized),
                        matrix_view<const std::remove_const_t<V>>(inputs), executor);
  }
  /// Adds what another one has seen. Error: another shape.
  QLITE_INLINE void merge(const drift& other) {
    impl::check_equal("rows of the other drift", other.rows_, "those of this one", rows_);
    impl::check_equal("columns of the other drift", other.cols_, "those of this one", cols_);
    for (std::size_t i = 0; i < rows_ * cols_; ++i) sums()[i] += other.sums()[i];
  }

  QLITE_INLINE std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE std::size_t cols() const noexcept { return cols_; }
  QLITE_INLINE double operator()(std::size_t i, std::size_t j) const noexcept { return sums()[i * cols_ + j]; }

 private:
  QLITE_INLINE double* sums() const noexcept { return reinterpret_cast<double*>(memory_.data()); }

  detail::buffer memory_;
  std::size_t rows_ = 0, cols_ = 0;
};

QLITE_END_NAMESPACE
