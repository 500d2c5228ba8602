// The door: one O(1) check per argument, each with a message that has the name, the value and what was expected.
#pragma once

#include <qlite/core/error.hpp>
#include <qlite/core/half.hpp>
#include <qlite/core/view.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

[[noreturn]] QLITE_COLD inline void fail_matrix(const char* name, const void* data, std::size_t rows, std::size_t cols,
                                                std::size_t stride, std::size_t alignment, std::size_t element_bytes) {
  if (rows > 1 && stride < cols)
    fail("qlite: %s has row_stride %zu, expected at least its %zu columns", name, stride, cols);
  const std::size_t limit = ~std::size_t{0} / 2 / element_bytes;
  if (stride > limit || cols > limit || (stride != 0 && rows > limit / stride))
    fail("qlite: %s is %zu x %zu with row_stride %zu, which exceeds the address space", name, rows, cols, stride);
  if (data == nullptr) fail("qlite: %s is null, expected %zu x %zu elements", name, rows, cols);
  fail("qlite: %s is at address %p, expected a multiple of %zu bytes", name, data, alignment);
}

/// Refuses a view that cannot be read: null, misaligned, overlapping rows, or larger than memory. An empty view may be
/// null. `name` is the argument as the caller knows it.
template <class T>
QLITE_INLINE void check_matrix(const char* name, matrix_view<T> m) {
  const std::size_t limit = ~std::size_t{0} / 2 / sizeof(T);
  const bool strided = m.rows() <= 1 || m.row_stride() >= m.cols();
  const bool sized =
      m.row_stride() <= limit && m.cols() <= limit && (m.row_stride() == 0 || m.rows() <= limit / m.row_stride());
  const bool readable =
      m.empty() || (m.data() != nullptr && reinterpret_cast<std::uintptr_t>(m.data()) % alignof(T) == 0);
  if (QLITE_UNLIKELY(!(strided && sized && readable)))
    fail_matrix(name, m.data(), m.rows(), m.cols(), m.row_stride(), alignof(T), sizeof(T));
}

/// Refuses `value` of `name` unless it equals `expected` of `other`.
QLITE_INLINE void check_equal(const char* name, std::size_t value, const char* other, std::size_t expected) {
  if (QLITE_UNLIKELY(value != expected)) fail("qlite: %s is %zu, expected %zu (%s)", name, value, expected, other);
}

/// Refuses a null or misaligned array of `count` elements.
template <class T>
QLITE_INLINE void check_array(const char* name, const T* data, std::size_t count) {
  if (QLITE_UNLIKELY(count != 0 && data == nullptr)) fail("qlite: %s is null, expected %zu elements", name, count);
  if (QLITE_UNLIKELY(reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0))
    fail("qlite: %s is at address %p, expected a multiple of %zu bytes", name, static_cast<const void*>(data),
         alignof(T));
}

}    // namespace impl
QLITE_END_FUNCTIONS
