// Weights whose scheme is a value give the same products as those whose scheme is a type, for every default scheme.
// Once, not for every backend: what any_packed adds does not depend on it, and twenty schemes take long to compile.
#include <qlite/gemm.hpp>
#include <qlite/gemm/any_packed.hpp>

#include "gemm/plain_product.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = ql::cpu::scalar;

template <class Scheme>
void check_scheme(random_source& random, Scheme scheme) {
  const std::size_t m = random.extent(0, 20), n = random.extent(1, 70), k = random.extent(1, 300);
  INFO(ql::name<Scheme>() << ", m " << m << ", n " << n << ", k " << k);
  const auto q = random_quantized<Scheme>(random, n, k, scheme);
  const auto packed = ql::pack<backend>(q);
  const ql::any_packed<backend> any = ql::pack<backend>(q);
  CHECK(any.rows() == n);
  CHECK(any.cols() == k);
  CHECK(any.bytes() == packed.bytes());
  CHECK(any.group_size() == packed.group_size());
  CHECK(any.info() == ql::info_of(scheme));
  CHECK(std::strcmp(any.scheme_name(), ql::name<Scheme>()) == 0);

  const auto x = random_inputs<float>(random, m, k);
  REQUIRE(same(product(x.view(), m, any), product(x.view(), m, packed)));
  const auto dynamic = ql::dynamic<ql::int8>(x.view());
  REQUIRE(same(product(dynamic, m, any), product(dynamic, m, packed)));
}

template <class... Schemes>
void check_list(random_source& random, ql::scheme_list<Schemes...>) {
  (check_scheme(random, with_group<Schemes>(random.integer(1, 80))), ...);
}

TEST_CASE("any_packed gives the bits of packed_matrix for every default scheme") {
  for_random_cases(8, [](random_source& random) { check_list(random, ql::default_schemes{}); });
}
