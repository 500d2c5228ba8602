// INT4 weights times floats, within the derived bound on every backend.
//
// Backends: every
#include "gemm/weight_only_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::dynamic_extent, ql::int4, ql::per_channel, ql::per_group, ql::per_tensor, ql::scheme;

TEST_CASE("int4 x floats is within the bound") {
  SECTION("groups of 32") { check_weight_only<backend, scheme<int4, per_group<32>>>(60); }
  SECTION("groups of any size") {
    check_weight_only<backend, scheme<int4, per_group<dynamic_extent>>, ql::float16>(80);
  }
  SECTION("per channel, float scales, float16 results") {
    check_weight_only<backend, scheme<int4, per_channel, ql::symmetric, float>, float, ql::float16>(60);
  }
  SECTION("groups of any size, asymmetric, bfloat16 in and out") {
    check_weight_only<backend, scheme<int4, per_group<dynamic_extent>, ql::asymmetric>, ql::bfloat16, ql::bfloat16>(80);
  }
  SECTION("groups of any size, offsets") {
    check_weight_only<backend, scheme<int4, per_group<dynamic_extent>, ql::offset<ql::float16>>>(80);
  }
  SECTION("per tensor, float offsets") {
    check_weight_only<backend, scheme<int4, per_tensor, ql::offset<float>, float>>(40);
  }
}
