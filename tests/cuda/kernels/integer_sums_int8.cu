#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int8;

QLITE_TEST_PRODUCT(true, grouped_asymmetric<code>, float, float)
QLITE_TEST_PRODUCT(true, grouped_offset<code>, float, float)
QLITE_TEST_PRODUCT(true, channel_asymmetric<code>, float, float)
QLITE_TEST_PRODUCT(true, channel_offset<code>, float, float)
