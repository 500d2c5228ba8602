// expected error: qlite: nf4 and nl4 have no zero points and no offsets
#include <qlite/quantize.hpp>

#if defined(QLITE_TEST_MISTAKE)
using zero = qlite::asymmetric;
#else
using zero = qlite::symmetric;
#endif

auto quantized(qlite::matrix_view<const float> W) {
  return qlite::quantize<qlite::scheme<qlite::nf4, qlite::per_group<64>, zero>>(W, qlite::rtn{});
}
