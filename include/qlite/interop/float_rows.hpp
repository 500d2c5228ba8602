// Rows of numbers from a file as floats: what the readers of foreign files share.
#pragma once

#include <qlite/core/check.hpp>
#include <qlite/interop/byte_reader.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Refuses rows outside a tensor.
inline void check_rows(const char* name, std::size_t first, std::size_t count, std::size_t rows) {
  if (first > rows || count > rows - first)
    fail("qlite: rows %zu to %zu of tensor \"%s\", expected rows of its %zu", first, first + count, name, rows);
}

/// `count` numbers of type T, at any alignment, as floats. Exact for float, float16 and bfloat16; integers are rounded
/// to the nearest float.
template <class T>
void load_row(const std::uint8_t* bytes, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const T x = load<T>(bytes + i * sizeof(T));
    if constexpr (is_element<T>)
      out[i] = element<T>::load(x);
    else
      out[i] = static_cast<float>(x);
  }
}

}    // namespace impl
QLITE_END_FUNCTIONS
