// nl4 weights: the bits of the contract with INT8 activations, the bound of weight-only products with floats.
//
// Backends: scalar, generic, avx2, avx_vnni, avx512, avx512_vnni, neon_dotprod, neon_i8mm
#include "gemm/integer_products.hpp"
#include "gemm/weight_only_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::dynamic_extent, ql::nl4, ql::per_channel, ql::per_group, ql::scheme;

TEST_CASE("nl4 x int8 gives the bits of the contract") {
  SECTION("GGUF's groups") { check_integer_products<backend, scheme<nl4, per_group<32>>>(60); }
  SECTION("groups of any size, float scales") {
    check_integer_products<backend, scheme<nl4, per_group<dynamic_extent>, ql::symmetric, float>, ql::bfloat16,
                           ql::float16>(60);
  }
  SECTION("per channel") { check_integer_products<backend, scheme<nl4, per_channel>>(40); }
}

TEST_CASE("nl4 x floats is within the bound") {
  SECTION("GGUF's groups") { check_weight_only<backend, scheme<nl4, per_group<32>>>(60); }
  SECTION("per channel, 16-bit results") {
    check_weight_only<backend, scheme<nl4, per_channel>, ql::bfloat16, ql::float16>(60);
  }
}

// The largest sums that a 16-bit partial sum could meet: codes of -127 against activations of +-127.
TEST_CASE("products of the largest numbers do not overflow") {
  using w4 = scheme<nl4, per_group<32>>;
  const std::size_t n = 17, k = 256;
  const auto q = make_quantized<w4>(
      n, k, w4{}, [](std::size_t r, std::size_t c) { return r % 2 == 0 || c % 3 == 0 ? 0 : 15; },
      [](std::size_t, std::size_t) { return 0; }, [](std::size_t, std::size_t) { return 1.0f; },
      [](std::size_t, std::size_t) { return 0.0f; });
  std::vector<float> x(k, -1.0f), y(n);
  ql::gemm(ql::dynamic<ql::int8>(ql::matrix_view<const float>{x.data(), 1, k}), ql::pack<backend>(q),
           ql::matrix_view<float>{y.data(), 1, n});
  const exact_weights w(q.view());
  const quantized_row row = quantize_row(x, 32);
  for (std::size_t r = 0; r < n; ++r) CHECK(y[r] == w.dot(row, r, false));
  CHECK(y[0] == Approx(127.0 * static_cast<double>(k)));
}

TEST_CASE("a scheme that is a value gives the same as one that is a type") {
  random_source random(1);
  const std::size_t n = 20, k = 100;
  using w4 = scheme<nl4, per_group<64>>;
  const auto q = random_quantized<w4>(random, n, k, w4{});
  const ql::any_packed<backend> packed = ql::pack<backend>(q);
  CHECK(packed.info().codebook == ql::codebook_kind::nl4);
  CHECK(packed.info() != ql::info_of(scheme<ql::nf4, per_group<64>>{}));
  CHECK(packed.info() != ql::info_of(scheme<ql::int4, per_group<64>>{}));
  std::vector<float> x = random.normal_vector(3 * k), any(3 * n), typed(3 * n);
  const auto X = ql::dynamic<ql::int8>(ql::matrix_view<const float>{x.data(), 3, k});
  ql::gemm(X, packed, ql::matrix_view<float>{any.data(), 3, n});
  ql::gemm(X, ql::pack<backend>(q), ql::matrix_view<float>{typed.data(), 3, n});
  CHECK(any == typed);
}
