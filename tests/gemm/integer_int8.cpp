// INT8 weights times INT8 activations: the bits of the contract on every backend.
#include "gemm/integer_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

TEST_CASE("int8 x int8 gives the bits of the contract") {
  SECTION("per channel") { check_integer_products<backend, ql::scheme<ql::int8, ql::per_channel>>(40); }
  SECTION("groups of any size") {
    check_integer_products<backend, ql::scheme<ql::int8, ql::per_group<ql::dynamic_extent>>, ql::float16, ql::float16>(
        60);
  }
  SECTION("groups of 128, float scales") {
    check_integer_products<backend, ql::scheme<ql::int8, ql::per_group<128>, ql::symmetric, float>>(40);
  }
  SECTION("per tensor") { check_integer_products<backend, ql::scheme<ql::int8, ql::per_tensor>>(30); }
  SECTION("per channel, asymmetric") {
    check_integer_products<backend, ql::scheme<ql::int8, ql::per_channel, ql::asymmetric>, ql::bfloat16, ql::bfloat16>(
        40);
  }
  SECTION("groups of any size, asymmetric") {
    check_integer_products<backend, ql::scheme<ql::int8, ql::per_group<ql::dynamic_extent>, ql::asymmetric, float>>(60);
  }
  SECTION("groups of any size, offsets") {
    check_integer_products<backend, ql::scheme<ql::int8, ql::per_group<ql::dynamic_extent>, ql::offset<ql::float16>>>(
        60);
  }
  SECTION("per tensor, float offsets") {
    check_integer_products<backend, ql::scheme<ql::int8, ql::per_tensor, ql::offset<float>, float>>(30);
  }
}
