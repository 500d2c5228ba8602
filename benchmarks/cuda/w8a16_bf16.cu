#include "cuda/product.cuh"

using namespace qlite;
template <class Granularity>
using w8 = scheme<qlite::int8, Granularity>;

QLITE_BENCH_KIND(w8a16_channel_bf16, w8<per_channel>, __nv_bfloat16, plain)
