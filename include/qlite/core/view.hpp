// Views: pointers with a shape. They own nothing and cost nothing to copy.
#pragma once

#include <qlite/core/config.hpp>

#include <type_traits>

QLITE_BEGIN_NAMESPACE

/// A row-major matrix in somebody else's memory: element (r, c) is data[r * row_stride + c].
///
/// `row_stride` is in elements and at least `cols` (a smaller one is refused where the view is used, unless there is at
/// most one row). Any alignment that is a multiple of alignof(T) will do. T may be const.
template <class T>
class matrix_view {
 public:
  using element_type = T;

  QLITE_INLINE constexpr matrix_view() noexcept = default;
  QLITE_INLINE constexpr matrix_view(T* data, std::size_t rows, std::size_t cols) noexcept
      : data_(data), rows_(rows), cols_(cols), row_stride_(cols) {}
  QLITE_INLINE constexpr matrix_view(T* data, std::size_t rows, std::size_t cols, std::size_t row_stride) noexcept
      : data_(data), rows_(rows), cols_(cols), row_stride_(row_stride) {}

  /// A view of mutable elements is a view of const ones.
  template <class U, std::enable_if_t<std::is_same_v<const U, T> && !std::is_const_v<U>, int> = 0>
  QLITE_INLINE constexpr matrix_view(const matrix_view<U>& other) noexcept    // NOLINT: implicit on purpose
      : data_(other.data()), rows_(other.rows()), cols_(other.cols()), row_stride_(other.row_stride()) {}

  QLITE_INLINE constexpr T* data() const noexcept { return data_; }
  QLITE_INLINE constexpr std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE constexpr std::size_t cols() const noexcept { return cols_; }
  QLITE_INLINE constexpr std::size_t row_stride() const noexcept { return row_stride_; }
  QLITE_INLINE constexpr bool empty() const noexcept { return rows_ == 0 || cols_ == 0; }
  QLITE_INLINE constexpr T* row(std::size_t r) const noexcept { return data_ + r * row_stride_; }
  QLITE_INLINE constexpr T& operator()(std::size_t r, std::size_t c) const noexcept { return row(r)[c]; }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0, cols_ = 0, row_stride_ = 0;
};

/// Bytes of a file or a buffer, read only.
class bytes_view {
 public:
  QLITE_INLINE constexpr bytes_view() noexcept = default;
  QLITE_INLINE constexpr bytes_view(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}
  QLITE_INLINE bytes_view(const void* data, std::size_t size) noexcept
      : data_(static_cast<const std::uint8_t*>(data)), size_(size) {}

  QLITE_INLINE constexpr const std::uint8_t* data() const noexcept { return data_; }
  QLITE_INLINE constexpr std::size_t size() const noexcept { return size_; }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

QLITE_END_NAMESPACE
