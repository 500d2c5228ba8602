#include <numeric>
#include <qlite/core/check.hpp>
#include <qlite/core/view.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/refusal.hpp"

using qlite::matrix_view;
using qlite_test::refusal_of;

TEST_CASE("matrix_view addresses row-major elements with a stride") {
  std::vector<float> memory(30);
  std::iota(memory.begin(), memory.end(), 0.0f);
  const matrix_view<float> dense(memory.data(), 5, 6), strided(memory.data(), 3, 4, 10);
  CHECK(dense.row_stride() == 6);
  CHECK(dense(4, 5) == 29.0f);
  CHECK(strided(2, 3) == 23.0f);
  CHECK(strided.row(1) == memory.data() + 10);
  strided(2, 3) = -1.0f;
  CHECK(memory[23] == -1.0f);

  const matrix_view<const float> constant = strided;
  CHECK(constant(2, 3) == -1.0f);
  CHECK(constant.row_stride() == 10);
  static_assert(!std::is_convertible_v<matrix_view<const float>, matrix_view<float>>);
  static_assert(!std::is_convertible_v<matrix_view<double>, matrix_view<const float>>);

  CHECK(matrix_view<float>{}.empty());
  CHECK(matrix_view<float>(memory.data(), 0, 6).empty());
  CHECK(matrix_view<float>(memory.data(), 6, 0).empty());
  CHECK_FALSE(dense.empty());
}

TEST_CASE("a view that cannot be read is refused by name and value") {
  using qlite::impl::check_matrix;
  alignas(8) unsigned char memory[64];
  auto* const floats = reinterpret_cast<float*>(memory);
  const std::size_t huge = ~std::size_t{0};
  const auto refusal = [](matrix_view<const float> m) { return refusal_of([&] { check_matrix("X", m); }); };

  CHECK(refusal({floats, 2, 3}).empty());
  CHECK(refusal({floats, 2, 3, 5}).empty());
  CHECK(refusal({floats, 1, 3, 0}).empty());    // one row needs no stride
  CHECK(refusal({nullptr, 0, 3}).empty());
  CHECK(refusal({nullptr, 3, 0}).empty());

  CHECK_THAT(refusal({nullptr, 2, 3}), ContainsSubstring("X is null"));
  CHECK_THAT(refusal({floats, 2, 3, 2}), ContainsSubstring("row_stride 2") && ContainsSubstring("3 columns"));
  CHECK_THAT(refusal({floats, huge / 4, 8}), ContainsSubstring("address space"));
  CHECK_THAT(refusal({floats, 2, huge / 2}), ContainsSubstring("address space"));
  CHECK_THAT(refusal({floats, 2, 1, huge}), ContainsSubstring("address space"));
  CHECK_THAT(refusal({reinterpret_cast<float*>(memory + 2), 2, 3}), ContainsSubstring("multiple of 4"));
}

TEST_CASE("sizes and arrays are refused by name and value") {
  using namespace qlite::impl;
  CHECK(refusal_of([] { check_equal("columns of X", 64, "K", 64); }).empty());
  CHECK_THAT(refusal_of([] { check_equal("columns of X", 63, "K", 64); }),
             ContainsSubstring("columns of X is 63, expected 64 (K)"));
  alignas(8) unsigned char memory[16] = {};
  CHECK(refusal_of([&] { check_array<float>("bias", nullptr, 0); }).empty());
  CHECK(refusal_of([&] { check_array("bias", reinterpret_cast<float*>(memory), 4); }).empty());
  CHECK_THAT(refusal_of([&] { check_array<float>("bias", nullptr, 4); }), ContainsSubstring("bias is null"));
  CHECK_THAT(refusal_of([&] { check_array("bias", reinterpret_cast<float*>(memory + 1), 2); }),
             ContainsSubstring("multiple of 4"));
}

TEST_CASE("bytes_view keeps what it is given") {
  const int x = 5;
  const qlite::bytes_view bytes(&x, sizeof x);
  CHECK(bytes.size() == 4);
  CHECK(static_cast<const void*>(bytes.data()) == &x);
  CHECK(qlite::bytes_view{}.size() == 0);
}
