#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int4;
using qlite::bfloat16;
using qlite::float16;

QLITE_TEST_PRODUCT(false, grouped<code>, float16, float16)
QLITE_TEST_PRODUCT(false, grouped<code>, bfloat16, bfloat16)
