#include "cuda/product.cuh"

using namespace qlite;
template <class Granularity, class Zero = symmetric>
using w4 = scheme<qlite::int4, Granularity, Zero>;

QLITE_BENCH_KIND(w4a16_g32, w4<per_group<32>>, __half, plain)
