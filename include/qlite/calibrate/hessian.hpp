// The second moments of a layer's inputs, which is the Hessian of its squared output error: what GPTQ needs to know
// about the data.
#pragma once

#include <qlite/calibrate/batch.hpp>
#include <qlite/core/buffer.hpp>
#include <qlite/core/tile_products.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// The upper triangle of a symmetric matrix, row after row: (i, j) with i <= j at i (2 n - i + 1) / 2 + j - i.
struct triangle_view {
  double* data = nullptr;
  std::size_t n = 0;

  // Named so that they are inlined: clang emits an implicit constructor at -O0, and objects would share it.
  QLITE_INLINE constexpr triangle_view() noexcept = default;
  QLITE_INLINE constexpr triangle_view(double* elements, std::size_t order) noexcept : data(elements), n(order) {}

  QLITE_INLINE static constexpr std::size_t size(std::size_t order) noexcept {
    return order % 2 == 0 ? order / 2 * (order + 1) : (order + 1) / 2 * order;
  }
  /// Elements i, i + 1, ... n - 1 of row i.
  QLITE_INLINE double* row(std::size_t i) const noexcept { return data + size(n) - size(n - i); }
  QLITE_INLINE double& at(std::size_t i, std::size_t j) const noexcept {
    return i <= j ? row(i)[j - i] : row(j)[i - j];
  }
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Rows of a batch that are added at once.
inline constexpr std::size_t hessian_depth = 256;

/// X as a factor of products.
template <class T>
struct batch_factor {
  matrix_view<const T> X;
  QLITE_INLINE const T* row(std::size_t r) const noexcept { return X.row(r); }
  QLITE_INLINE float at(const T* row, std::size_t c) const noexcept { return element<T>::load(row[c]); }
};

/// Adds the products of rows [0, depth) of X to H. `tiles` [K / tile_rows][depth][tile_rows] and `panels`
/// [K / tile_cols][depth][tile_cols] are scratch.
template <class T, class Executor>
void add_products(const triangle_view& H, matrix_view<const T> X, float* tiles, double* panels,
                  const Executor& executor) {
  const std::size_t k = H.n, depth = X.rows();
  const std::size_t tile_count = ceil_div(k, tile_rows), panel_count = ceil_div(k, tile_cols);
  const std::size_t copiers = task_count(executor, tile_count, k * depth, std::size_t{1} << 16);
  executor.parallel_for(copiers, [&](std::size_t task) {
    const slice own = slice_of(tile_count, copiers, task);
    for (std::size_t t = own.begin; t < own.end; ++t)
      for (std::size_t s = 0; s < depth; ++s)
        for (std::size_t r = 0; r < tile_rows; ++r) {
          const std::size_t c = t * tile_rows + r;
          tiles[(t * depth + s) * tile_rows + r] = c < k ? element<T>::load(X(s, c)) : 0.0f;
        }
    const slice columns = slice_of(panel_count, copiers, task);
    for (std::size_t p = columns.begin; p < columns.end; ++p)
      fill_panel(batch_factor<T>{X}, 0, depth, p * tile_cols, min_of(tile_cols, k - p * tile_cols),
                 panels + p * depth * tile_cols);
  });

  // Items: for each block of panels, the tiles that reach its triangle.
  constexpr std::size_t block = panel_width / tile_cols;
  const std::size_t blocks = ceil_div(panel_count, block);
  const auto first_tile = [&](std::size_t b) { return b * block * tile_cols / tile_rows; };
  std::size_t items = 0;
  for (std::size_t b = 0; b < blocks; ++b) items += tile_count - first_tile(b);
  const std::size_t tasks = task_count(executor, items, k * k / 2 * depth, std::size_t{1} << 20);
  executor.parallel_for(tasks, [&](std::size_t task) {
    const slice own = slice_of(items, tasks, task);
    std::size_t item = 0;
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t first = first_tile(b), end = item + (tile_count - first);
      for (std::size_t i = max_of(item, own.begin); i < min_of(end, own.end); ++i) {
        const std::size_t t = first + (i - item), col = t * tile_rows;
        for (std::size_t p = b * block; p < min_of((b + 1) * block, panel_count); ++p) {
          if (p * tile_cols >= min_of(col + tile_rows, k)) break;    // below the diagonal from here on
          double sums[tile_cols * tile_rows] = {};
          const auto each = [&](auto&& move) QLITE_LAMBDA {    // what of the tile lies in the triangle
            for (std::size_t c = 0; c < tile_cols; ++c) {
              const std::size_t row = p * tile_cols + c;
              if (row >= k) break;
              double* const h = H.row(row);
              for (std::size_t j = max_of(row, col); j < min_of(col + tile_rows, k); ++j)
                move(h[j - row], sums[c * tile_rows + (j - col)]);
            }
          };
          each([](double& h, double& sum) QLITE_LAMBDA { sum = h; });
          multiply_tile(tiles + t * depth * tile_rows, panels + p * depth * tile_cols, depth, sums);
          each([](double& h, double& sum) QLITE_LAMBDA { h = sum; });
        }
      }
      item = end;
    }
  });
}

template <class T, class Executor>
void observe_hessian(const triangle_view& H, matrix_view<const T> X, const Executor& executor) {
  check_batch(X, H.n, "the columns that the Hessian was made for");
  if (X.empty()) return;
  const std::size_t depth = min_of(hessian_depth, X.rows());
  carver sizes;
  static_cast<void>(sizes.take<float>(round_up(H.n, tile_rows) * depth));
  static_cast<void>(sizes.take<double>(round_up(H.n, tile_cols) * depth));
  const buffer memory(sizes.bytes());
  carver carve(memory.data());
  float* const tiles = carve.take<float>(round_up(H.n, tile_rows) * depth);
  double* const panels = carve.take<double>(round_up(H.n, tile_cols) * depth);
  for (std::size_t s = 0; s < X.rows(); s += depth)
    add_products(H, matrix_view<const T>{X.row(s), min_of(depth, X.rows() - s), X.cols(), X.row_stride()}, tiles,
                 panels, executor);
}

inline void merge_hessians(const triangle_view& H, const triangle_view& other) {
  check_equal("the columns of the other Hessian", other.n, "those of this one", H.n);
  for (std::size_t i = 0; i < triangle_view::size(H.n); ++i) H.data[i] += other.data[i];
}

/// `count` triangles of zeros of order n.
inline buffer allocate_triangles(std::size_t count, std::size_t n) {
  const std::size_t limit = std::size_t{1} << (sizeof n * 4 - 3);
  if (QLITE_UNLIKELY(n > limit || count * n > limit * limit / max_of(n, std::size_t{1})))
    fail("qlite: %zu Hessians of %zu columns exceed the address space", count, n);
  const std::size_t elements = count * triangle_view::size(n);
  buffer memory(elements * sizeof(double));
  double* const data = reinterpret_cast<double*>(memory.data());
  for (std::size_t i = 0; i < elements; ++i) data[i] = 0.0;
  return memory;
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// H = Xᵀ X over all rows of all batches of inputs X [M, K] of a layer. Half the second derivative of the squared
/// output error ||X W'ᵀ - X Wᵀ||² with respect to any row of W', so the error of a row is (w' - w) H (w' - w)ᵀ.
///
/// Sums are in double and products of floats are exact there: an element is off by at most n u H_ij' with u = 2^-53, n
/// rows and H' = |X|ᵀ |X|. Rows are added one after the other, so the bits depend neither on how they are cut into
/// batches, nor on the executor, nor on the instruction set. Memory: 4 K (K + 1) bytes, whatever is observed.
class hessian {
 public:
  QLITE_INLINE hessian() noexcept = default;
  /// For layers with K = `cols` inputs.
  QLITE_INLINE explicit hessian(std::size_t cols)
      : memory_(impl::allocate_triangles(1, cols)), view_{reinterpret_cast<double*>(memory_.data()), cols} {}
  QLITE_INLINE hessian(hessian&& other) noexcept { *this = static_cast<hessian&&>(other); }
  QLITE_INLINE hessian& operator=(hessian&& other) noexcept {    // swaps
    memory_ = static_cast<detail::buffer&&>(other.memory_);
    const detail::triangle_view view = view_;
    const std::size_t rows = rows_, batches = batches_;
    view_ = other.view_;
    rows_ = other.rows_;
    batches_ = other.batches_;
    other.view_ = view;
    other.rows_ = rows;
    other.batches_ = batches;
    return *this;
  }
  QLITE_INLINE ~hessian() = default;

  /// Adds a batch X [M, K] of float, float16 or bfloat16. O(M K²); allocates 12 K bytes for each of up to 256 rows.
  /// Errors: another number of columns, a NaN or an infinity in X (nothing is added then).
  template <class T, class Executor = serial>
  QLITE_INLINE void observe(matrix_view<T> X, const Executor& executor = {}) {
    impl::observe_hessian(view_, matrix_view<const T>(X), executor);
    rows_ += X.rows();
    batches_ += 1;
  }

  /// Adds what another one has seen. The sums are those of both, rounded once more.
  /// Error: another number of columns.
  QLITE_INLINE void merge(const hessian& other) {
    impl::merge_hessians(view_, other.view_);
    rows_ += other.rows_;
    batches_ += other.batches_;
  }

  QLITE_INLINE std::size_t cols() const noexcept { return view_.n; }
  /// Rows and calls of observe so far.
  QLITE_INLINE std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE std::size_t batches() const noexcept { return batches_; }

  /// Element (i, j), which is (j, i) too. May be written: a Hessian from elsewhere is as good.
  QLITE_INLINE double& operator()(std::size_t i, std::size_t j) noexcept { return view_.at(i, j); }
  QLITE_INLINE double operator()(std::size_t i, std::size_t j) const noexcept { return view_.at(i, j); }
  /// Elements (i, i), (i, i + 1), ... (i, K - 1).
  QLITE_INLINE const double* row(std::size_t i) const noexcept { return view_.row(i); }

 private:
  detail::buffer memory_;
  detail::triangle_view view_;
  std::size_t rows_ = 0, batches_ = 0;
};

QLITE_END_NAMESPACE
