// expected error: an executor has concurrency\(\) and parallel_for
#include <qlite/gemm.hpp>

void product(qlite::matrix_view<const float> X,
             const qlite::packed_matrix<qlite::scheme<qlite::int8, qlite::per_channel>, qlite::cpu::scalar>& W,
             qlite::matrix_view<float> Y, qlite::workspace memory) {
#if defined(QLITE_TEST_MISTAKE)
  qlite::gemm(X, W, Y, qlite::epilogue::none{}, memory);
#else
  qlite::gemm(X, W, Y, qlite::epilogue::none{}, qlite::serial{}, memory);
#endif
}
