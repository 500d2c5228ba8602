#include "cuda/product.cuh"

using namespace qlite;
using w8 = scheme<qlite::int8, per_channel>;
using w4 = scheme<qlite::int4, per_group<128>>;

QLITE_BENCH_KIND(w8a8, w8, __half, prepared)
QLITE_BENCH_KIND(w8a8_quantizing, w8, __half, quantizing)
QLITE_BENCH_KIND(w4a8_g128, w4, __half, prepared)
