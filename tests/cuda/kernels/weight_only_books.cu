#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using qlite::bfloat16;
using qlite::float16;

QLITE_TEST_PRODUCT(false, grouped<qlite::nf4>, float16, float)
QLITE_TEST_PRODUCT(false, qlora, bfloat16, float)
QLITE_TEST_PRODUCT(false, grouped<qlite::nl4>, bfloat16, float)
QLITE_TEST_PRODUCT(false, channel_float<qlite::nl4>, float16, float)
