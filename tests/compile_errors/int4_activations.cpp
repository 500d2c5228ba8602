// expected error: activations are quantized to int8
#include <qlite/gemm.hpp>

#if defined(QLITE_TEST_MISTAKE)
using code = qlite::int4;
#else
using code = qlite::int8;
#endif

auto activations(qlite::matrix_view<const float> X) { return qlite::dynamic<code>(X); }
