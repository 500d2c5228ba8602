#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;

QLITE_TEST_PACK(grouped<qlite::int4>)
QLITE_TEST_PACK(grouped_asymmetric<qlite::int4>)
QLITE_TEST_PACK(grouped_offset<qlite::int4>)
QLITE_TEST_PACK(channel_float<qlite::int4>)
QLITE_TEST_PACK(channel_asymmetric<qlite::int4>)
QLITE_TEST_PACK(channel_offset<qlite::int4>)
QLITE_TEST_PACK(tensor<qlite::int4>)
QLITE_TEST_PACK(grouped<qlite::int8>)
QLITE_TEST_PACK(grouped_asymmetric<qlite::int8>)
QLITE_TEST_PACK(grouped_offset<qlite::int8>)
QLITE_TEST_PACK(channel_float<qlite::int8>)
QLITE_TEST_PACK(channel_asymmetric<qlite::int8>)
QLITE_TEST_PACK(channel_offset<qlite::int8>)
QLITE_TEST_PACK(tensor<qlite::int8>)
