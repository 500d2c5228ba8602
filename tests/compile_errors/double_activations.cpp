// expected error: X is of float, float16 or bfloat16
#include <qlite/gemm.hpp>

using packed = qlite::packed_matrix<qlite::scheme<qlite::int8, qlite::per_channel>, qlite::cpu::native>;

#if defined(QLITE_TEST_MISTAKE)
using element = double;
#else
using element = float;
#endif

void product(qlite::matrix_view<const element> X, const packed& W, qlite::matrix_view<float> Y) {
  qlite::gemm(X, W, Y);
}
