#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int4;
using qlite::float16;

QLITE_TEST_PRODUCT(false, grouped_offset<code>, float16, float)
QLITE_TEST_PRODUCT(false, channel_offset<code>, float16, float)
