// expected error: qlite: gemm takes packed weights
#include <qlite/gemm.hpp>

using w8 = qlite::scheme<qlite::int8, qlite::per_channel>;

void product(qlite::matrix_view<const float> X, const qlite::quantized_matrix<w8>& q, qlite::matrix_view<float> Y) {
#if defined(QLITE_TEST_MISTAKE)
  qlite::gemm(X, q, Y);
#else
  qlite::gemm(X, qlite::pack<qlite::cpu::native>(q), Y);
#endif
}
