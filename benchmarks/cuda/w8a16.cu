#include "cuda/product.cuh"

using namespace qlite;
template <class Granularity>
using w8 = scheme<qlite::int8, Granularity>;

QLITE_BENCH_KIND(w8a16_channel, w8<per_channel>, __half, plain)
QLITE_BENCH_KIND(w8a16_g128, w8<per_group<128>>, __half, plain)
