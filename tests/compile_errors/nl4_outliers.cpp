// expected error: qlite: split_outliers needs a scheme with a code that means 0
#include <qlite/quantize.hpp>

#if defined(QLITE_TEST_MISTAKE)
using code = qlite::nl4;
#else
using code = qlite::nf4;
#endif

auto split(qlite::matrix_view<const float> W, const qlite::activation_stats& stats) {
  return qlite::quantize<qlite::scheme<code, qlite::per_group<64>>>(W, qlite::split_outliers<>{stats, 6.0f});
}
