// expected error: (conversion|could not convert|no viable conversion)
#include <qlite/gemm.hpp>

using w8 = qlite::scheme<qlite::int8, qlite::per_channel>;

#if defined(QLITE_TEST_MISTAKE)
using wanted = qlite::cpu::generic;
#else
using wanted = qlite::cpu::scalar;
#endif

qlite::packed_matrix<w8, wanted> packed(const qlite::quantized_matrix<w8>& q) {
  return qlite::pack<qlite::cpu::scalar>(q);
}
