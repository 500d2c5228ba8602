// NF4 weights times floats, within the derived bound on every backend: a number of the code book is a float, as a step
// is, so the same roundings are counted.
#include "gemm/weight_only_products.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::dynamic_extent, ql::nf4, ql::per_channel, ql::per_group, ql::scheme;

TEST_CASE("nf4 x floats is within the bound") {
  SECTION("QLoRA's blocks") { check_weight_only<backend, scheme<nf4, per_group<64>, ql::symmetric, float>>(60); }
  SECTION("groups of any size") { check_weight_only<backend, scheme<nf4, per_group<dynamic_extent>>, ql::float16>(80); }
  SECTION("per channel, 16-bit results") {
    check_weight_only<backend, scheme<nf4, per_channel>, ql::bfloat16, ql::float16>(60);
  }
}

TEST_CASE("nf4 weights whose scheme is a value take floats, and say so") {
  random_source random(1);
  const std::size_t n = 20, k = 100;
  using w4 = scheme<nf4, per_group<64>>;
  const auto q = random_quantized<w4>(random, n, k, w4{});
  const ql::any_packed<backend> packed = ql::pack<backend>(q);
  CHECK(packed.info().codebook == ql::codebook_kind::nf4);
  CHECK(packed.info() != ql::info_of(scheme<ql::int4, per_group<64>>{}));
  std::vector<float> x = random.normal_vector(3 * k), any(3 * n), typed(3 * n);
  const ql::matrix_view<const float> X{x.data(), 3, k};
  ql::gemm(X, packed, ql::matrix_view<float>{any.data(), 3, n});
  ql::gemm(X, ql::pack<backend>(q), ql::matrix_view<float>{typed.data(), 3, n});
  CHECK(any == typed);
  CHECK_THAT(qlite_test::refusal_of([&] {
               ql::gemm(ql::dynamic<ql::int8>(X), packed, ql::matrix_view<float>{any.data(), 3, n});
             }),
             ContainsSubstring("W is nf4"));
}
