#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
using code = qlite::int4;
using qlite::bfloat16;

QLITE_TEST_PRODUCT(false, grouped<code>, bfloat16, float)
QLITE_TEST_PRODUCT(false, channel_asymmetric<code>, bfloat16, float)
