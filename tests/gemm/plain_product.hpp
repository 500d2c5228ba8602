// A product without epilogue and threads, and whether two have the same bits.
#pragma once

#include <qlite/gemm.hpp>

#include <cstring>
#include <vector>

#include "gemm/matrices.hpp"

namespace qlite_test {

template <class Form, class Packed>
std::vector<float> product(const Form& x, std::size_t m, const Packed& packed) {
  std::vector<float> y(m * packed.rows(), -1.0f);
  qlite::gemm(x, packed, qlite::matrix_view<float>{y.data(), m, packed.rows()});
  return y;
}

inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}    // namespace qlite_test
