#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int8;
using qlite::bfloat16;

QLITE_TEST_PRODUCT(false, grouped_offset<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, channel_offset<code>, bfloat16, float)
