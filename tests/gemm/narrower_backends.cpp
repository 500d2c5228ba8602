// Backends with narrower vectors than the flags of the translation unit allow give the same bits there.
//
// Backends: avx512_vnni
#include "gemm/matrices.hpp"

namespace ql = qlite;
using namespace qlite_test;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;

namespace {

template <class Backend>
std::vector<float> product(const ql::quantized_matrix<w4>& q, const input_matrix<float>& x, std::size_t rows) {
  std::vector<float> y(rows * q.rows());
  ql::gemm(ql::dynamic<ql::int8>(x.view()), ql::pack<Backend>(q), ql::matrix_view<float>{y.data(), rows, q.rows()});
  return y;
}

}    // namespace

TEST_CASE("cpu::avx2 and cpu::avx512 where there is more") {
  random_source random(11);
  const std::size_t m = 31, n = 70, k = 100;
  const auto q = random_quantized<w4>(random, n, k, w4{});
  const input_matrix<float> x = random_inputs<float>(random, m, k);
  const auto scalar = product<ql::cpu::scalar>(q, x, m);
  CHECK(product<ql::cpu::avx2>(q, x, m) == scalar);
  CHECK(product<ql::cpu::avx512>(q, x, m) == scalar);
  CHECK(product<QLITE_TEST_BACKEND>(q, x, m) == scalar);
}
