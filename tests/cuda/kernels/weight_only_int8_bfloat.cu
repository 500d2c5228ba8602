#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int8;
using qlite::bfloat16;

QLITE_TEST_PRODUCT(false, grouped<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, grouped_asymmetric<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, channel_float<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, channel_asymmetric<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, tensor<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, fixed_groups<code>, bfloat16, float)
