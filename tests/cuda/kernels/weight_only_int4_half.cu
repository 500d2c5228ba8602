#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int4;
using qlite::float16;

QLITE_TEST_PRODUCT(false, grouped<code>, float16, float)
QLITE_TEST_PRODUCT(false, grouped_asymmetric<code>, float16, float)
QLITE_TEST_PRODUCT(false, channel_float<code>, float16, float)
QLITE_TEST_PRODUCT(false, channel_asymmetric<code>, float16, float)
QLITE_TEST_PRODUCT(false, tensor<code>, float16, float)
QLITE_TEST_PRODUCT(false, fixed_groups<code>, float16, float)
