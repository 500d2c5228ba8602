// Weights whose scheme is a value: what depends on the backend. any_packed_schemes.cpp has all schemes.
//
// Backends: every
#include <qlite/gemm/any_packed.hpp>

#include "gemm/executors.hpp"
#include "gemm/plain_product.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

// What else depends on the weights: other forms of X, and sizes.
TEST_CASE("any_packed serves every form of X") {
  using scheme = ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::asymmetric>;
  for_random_cases(20, [](random_source& random) {
    const std::size_t m = random.extent(0, 20), n = random.extent(1, 70), k = random.extent(1, 300);
    const auto q = random_quantized<scheme>(random, n, k, {{random.integer(1, 80)}});
    const auto packed = ql::pack<backend>(q);
    const ql::any_packed<backend> any = ql::pack<backend>(q);
    const auto x = random_inputs<float>(random, m, k);
    const auto dynamic = ql::dynamic<ql::int8>(x.view());
    const auto fixed = ql::fixed<ql::int8>(x.view(), 0.05f);
    REQUIRE(same(product(fixed, m, any), product(fixed, m, packed)));
    const auto tensor = ql::dynamic<ql::int8, ql::per_tensor>(x.view());
    REQUIRE(same(product(tensor, m, any), product(tensor, m, packed)));

    // Activations that were quantized for one serve the other.
    const std::size_t bytes = ql::quantized_activations_bytes(dynamic, any);
    REQUIRE(bytes == ql::quantized_activations_bytes(dynamic, packed));
    std::vector<std::byte> memory(bytes);
    const auto once = ql::quantize_activations(dynamic, any, ql::workspace{memory.data(), bytes});
    REQUIRE(same(product(once, m, packed), product(dynamic, m, packed)));
    REQUIRE(same(product(once, m, any), product(dynamic, m, packed)));
    for (const std::size_t threads : {1u, 3u}) {
      const any_executor executor(threads);
      REQUIRE(ql::gemm_workspace_bytes(dynamic, any, executor) == ql::gemm_workspace_bytes(dynamic, packed, executor));
      REQUIRE(ql::gemm_workspace_bytes(x.view(), any, executor) ==
              ql::gemm_workspace_bytes(x.view(), packed, executor));
    }
  });
}

TEST_CASE("any_packed holds a scheme that a config names") {
  random_source random(1);
  const auto w = random.normal_vector(40 * 96);
  ql::scheme_info info;
  info.bits = 4;
  info.group_size = 24;    // none of the sizes with a type of their own
  info.symmetric = false;
  ql::any_packed<backend> layer;
  using some = ql::scheme_list<ql::scheme<ql::int4, ql::per_group<32>, ql::asymmetric>,
                               ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::asymmetric>>;
  ql::visit_scheme<some>(info, [&](auto scheme) {
    layer = ql::pack<backend>(ql::quantize(scheme, ql::matrix_view<const float>{w.data(), 40, 96}, ql::rtn{}));
  });
  CHECK(layer.info() == info);
  CHECK(layer.group_size() == 24);
}

TEST_CASE("packed matrices move; what they were moved from is empty") {
  using scheme = ql::scheme<ql::int4, ql::per_group<32>>;
  random_source random(2);
  const auto x = random_inputs<float>(random, 3, 64);
  const auto q = random_quantized<scheme>(random, 20, 64, {});
  const auto other = random_quantized<scheme>(random, 7, 96, {});
  const auto want = product(x.view(), 3, ql::pack<backend>(q));

  auto a = ql::pack<backend>(q);
  const std::byte* const data = a.data();
  ql::packed_matrix<scheme, backend> b(std::move(a));
  CHECK(b.data() == data);
  CHECK(a.rows() == 0);    // NOLINT: what is left is defined
  CHECK(a.data() == nullptr);
  a = ql::pack<backend>(other);
  a = std::move(b);
  CHECK(a.data() == data);
  CHECK(b.rows() == 0);    // NOLINT
  CHECK(same(product(x.view(), 3, a), want));

  ql::any_packed<backend> c(std::move(a));
  CHECK(a.rows() == 0);    // NOLINT
  ql::any_packed<backend> d(std::move(c));
  CHECK(c.rows() == 0);    // NOLINT
  CHECK(c.cols() == 0);
  CHECK(c.bytes() == 0);
  c = ql::pack<backend>(other);
  c = std::move(d);
  CHECK(d.rows() == 0);    // NOLINT
  CHECK(c.raw().data == data);
  CHECK(same(product(x.view(), 3, c), want));
}
