#include "cuda/product.cuh"

using namespace qlite;
template <class Granularity, class Zero = symmetric>
using w4 = scheme<qlite::int4, Granularity, Zero>;
using zero_g128 = w4<per_group<128>, asymmetric>;

QLITE_BENCH_KIND(w4a16_g128, w4<per_group<128>>, __half, plain)
QLITE_BENCH_KIND(w4a16_g128_zero, zero_g128, __half, plain)
QLITE_BENCH_KIND(w4a16_channel, w4<per_channel>, __half, plain)
