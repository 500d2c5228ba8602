#include "cuda/product.cuh"

using namespace qlite;
using qlora = scheme<nf4, per_group<64>, symmetric, float>;
using table = scheme<nl4, per_group<32>>;

QLITE_BENCH_KIND(nf4_g64, qlora, __half, plain)
QLITE_BENCH_KIND(nl4_g32, table, __half, plain)
