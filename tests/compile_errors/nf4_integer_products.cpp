// expected error: qlite: nf4 weights take float activations
#include <qlite/gemm.hpp>

using w4 = qlite::scheme<qlite::nf4, qlite::per_group<64>>;

void product(qlite::matrix_view<const float> X, const qlite::packed_matrix<w4, qlite::cpu::native>& packed,
             qlite::matrix_view<float> Y) {
#if defined(QLITE_TEST_MISTAKE)
  qlite::gemm(qlite::dynamic<qlite::int8>(X), packed, Y);
#else
  qlite::gemm(X, packed, Y);
#endif
}
