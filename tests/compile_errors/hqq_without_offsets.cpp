// expected error: qlite: hqq finds offsets
#include <qlite/quantize.hpp>

#if defined(QLITE_TEST_MISTAKE)
using zero = qlite::asymmetric;
#else
using zero = qlite::offset<>;
#endif

auto quantized(qlite::matrix_view<const float> W) {
  return qlite::quantize<qlite::scheme<qlite::int4, qlite::per_group<32>, zero>>(W, qlite::hqq{});
}
