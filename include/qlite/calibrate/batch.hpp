// What every observer does with a batch of activations: refuse a view that cannot be read, another number of columns,
// and numbers that are none, before anything is counted.
#pragma once

#include <qlite/core/check.hpp>
#include <qlite/core/executor.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Ends the call if X holds a NaN or an infinity.
template <class T>
void check_finite_inputs(const char* name, matrix_view<const T> X) {
  for (std::size_t r = 0; r < X.rows(); ++r) {
    const T* const row = X.row(r);
    bool finite = true;
    for (std::size_t c = 0; c < X.cols(); ++c) finite = finite && is_finite(element<T>::load(row[c]));
    if (QLITE_LIKELY(finite)) continue;
    for (std::size_t c = 0; c < X.cols(); ++c) {
      const std::uint32_t bits = float_bits(element<T>::load(row[c]));
      if ((bits & 0x7fffffffu) >= float_infinity_bits)
        fail("qlite: %s has %s at row %zu, column %zu; expected finite activations", name,
             (bits & 0x7fffffffu) > float_infinity_bits ? "nan"
             : bits == float_infinity_bits              ? "inf"
                                                        : "-inf",
             r, c);
    }
  }
}

/// The door of `observe`. `cols`: the columns that batches must have, or 0 if any number will do.
template <class T>
void check_batch(matrix_view<const T> X, std::size_t cols, const char* expected) {
  static_assert(is_element<T>, "qlite: a batch is a matrix of float, float16 or bfloat16");
  check_matrix("X", X);
  if (expected != nullptr) check_equal("columns of X", X.cols(), expected, cols);
  check_finite_inputs("X", X);
}

}    // namespace impl
QLITE_END_FUNCTIONS
