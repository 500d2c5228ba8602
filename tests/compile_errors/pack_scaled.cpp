// expected error: qlite: a scaled_matrix is packed once its input scale is seen to
#include <qlite/gemm.hpp>

using w4 = qlite::scheme<qlite::int4, qlite::per_group<32>>;

auto packed(const qlite::scaled_matrix<w4>& q) {
#if defined(QLITE_TEST_MISTAKE)
  return qlite::pack<qlite::cpu::native>(q);
#else
  return qlite::pack<qlite::cpu::native>(q.codes());
#endif
}
