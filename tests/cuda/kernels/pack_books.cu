#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;

QLITE_TEST_PACK(grouped<qlite::nf4>)
QLITE_TEST_PACK(qlora)
QLITE_TEST_PACK(grouped<qlite::nl4>)
QLITE_TEST_PACK(channel_float<qlite::nl4>)
