// expected error: cpu::avx512_vnni needs -march=x86-64-v4 -mavx512vnni
#include <qlite/gemm.hpp>

using w8 = qlite::scheme<qlite::int8, qlite::per_channel>;

#if defined(QLITE_TEST_MISTAKE)
using backend = qlite::cpu::avx512_vnni;
#else
using backend = qlite::cpu::native;
#endif

auto packed(const qlite::quantized_matrix<w8>& q) { return qlite::pack<backend>(q); }
