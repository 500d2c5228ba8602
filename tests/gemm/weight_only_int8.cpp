// INT8 weights times floats, within the derived bound on every backend.
//
// Backends: every
#include "gemm/weight_only_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::dynamic_extent, ql::int8, ql::per_channel, ql::per_group, ql::per_tensor, ql::scheme;

TEST_CASE("int8 x floats is within the bound") {
  SECTION("per channel") { check_weight_only<backend, scheme<int8, per_channel>>(60); }
  SECTION("groups of any size, bfloat16 in") {
    check_weight_only<backend, scheme<int8, per_group<dynamic_extent>>, ql::bfloat16>(80);
  }
  SECTION("per tensor, asymmetric, float16 in and out") {
    check_weight_only<backend, scheme<int8, per_tensor, ql::asymmetric>, ql::float16, ql::float16>(60);
  }
  SECTION("groups of any size, asymmetric, float scales, bfloat16 out") {
    check_weight_only<backend, scheme<int8, per_group<dynamic_extent>, ql::asymmetric, float>, float, ql::bfloat16>(80);
  }
  SECTION("groups of any size, offsets") {
    check_weight_only<backend, scheme<int8, per_group<dynamic_extent>, ql::offset<float>>>(80);
  }
}
