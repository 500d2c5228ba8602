#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int4;

QLITE_TEST_PRODUCT(true, grouped<code>, float, float)
QLITE_TEST_PRODUCT(true, channel_float<code>, float, float)
QLITE_TEST_PRODUCT(true, tensor<code>, float, float)
QLITE_TEST_PRODUCT(true, groups_of_32<code>, float, float)
