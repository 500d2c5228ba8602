// INT4 weights times INT8 activations: the bits of the contract on every backend.
#include "gemm/integer_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

TEST_CASE("int4 x int8 gives the bits of the contract") {
  SECTION("groups of 32") { check_integer_products<backend, ql::scheme<ql::int4, ql::per_group<32>>>(40); }
  SECTION("groups of any size") {
    check_integer_products<backend, ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>>, ql::bfloat16, ql::float16>(
        60);
  }
  SECTION("per channel, float scales") {
    check_integer_products<backend, ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>>(40);
  }
  SECTION("per tensor, asymmetric") {
    check_integer_products<backend, ql::scheme<ql::int4, ql::per_tensor, ql::asymmetric>>(30);
  }
  SECTION("groups of any size, asymmetric") {
    check_integer_products<backend, ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::asymmetric>,
                           ql::float16, ql::bfloat16>(60);
  }
  SECTION("groups of any size, offsets") {
    check_integer_products<backend, ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::offset<ql::float16>>>(
        60);
  }
  SECTION("per channel, float offsets") {
    check_integer_products<backend, ql::scheme<ql::int4, ql::per_channel, ql::offset<float>, float>>(40);
  }
}
