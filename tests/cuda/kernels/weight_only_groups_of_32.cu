#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int4;

QLITE_TEST_PRODUCT(false, groups_of_32<code>, qlite::float16, float)
QLITE_TEST_PRODUCT(false, groups_of_32_asymmetric<code>, qlite::bfloat16, float)
