// X of bfloat16, which an instruction set may multiply as it is, two terms at a time: the bound of all weight-only
// products for every kind of weights, and what instructions for bfloat16 do at the ends of its range.
//
// Backends: scalar, avx512_bf16
#include <limits>

#include "gemm/plain_product.hpp"
#include "gemm/weight_only_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::bfloat16, ql::dynamic_extent, ql::int4, ql::int8, ql::nl4, ql::per_channel, ql::per_group, ql::per_tensor,
    ql::scheme;

TEST_CASE("int4 x bfloat16 is within the bound") {
  SECTION("groups of 32") { check_weight_only<backend, scheme<int4, per_group<32>>, bfloat16>(80); }
  SECTION("groups of any size") {
    check_weight_only<backend, scheme<int4, per_group<dynamic_extent>>, bfloat16, bfloat16>(80);
  }
  SECTION("per channel, float scales") {
    check_weight_only<backend, scheme<int4, per_channel, ql::symmetric, float>, bfloat16>(80);
  }
  SECTION("groups of any size, asymmetric") {
    check_weight_only<backend, scheme<int4, per_group<dynamic_extent>, ql::asymmetric>, bfloat16>(80);
  }
  SECTION("groups of any size, offsets") {
    check_weight_only<backend, scheme<int4, per_group<dynamic_extent>, ql::offset<ql::float16>>, bfloat16>(40);
  }
}

TEST_CASE("int8 x bfloat16 is within the bound") {
  SECTION("per channel") { check_weight_only<backend, scheme<int8, per_channel>, bfloat16>(80); }
  SECTION("groups of any size, float scales") {
    check_weight_only<backend, scheme<int8, per_group<dynamic_extent>, ql::symmetric, float>, bfloat16>(80);
  }
  SECTION("groups of any size, asymmetric") {
    check_weight_only<backend, scheme<int8, per_group<dynamic_extent>, ql::asymmetric>, bfloat16>(80);
  }
}

TEST_CASE("4-bit codes of a book x bfloat16 are within the bound") {
  SECTION("nl4") { check_weight_only<backend, scheme<nl4, per_group<dynamic_extent>>, bfloat16>(80); }
  SECTION("nf4") { check_weight_only<backend, scheme<ql::nf4, per_group<dynamic_extent>>, bfloat16>(40); }
}

namespace {

template <class F>
void for_each_kind(F&& f) {
  f(scheme<int4, per_group<dynamic_extent>>{});
  f(scheme<int4, per_group<dynamic_extent>, ql::asymmetric>{});
  f(scheme<int8, per_group<dynamic_extent>>{});
  f(scheme<int8, per_group<dynamic_extent>, ql::asymmetric>{});
  f(scheme<nl4, per_group<dynamic_extent>>{});
}

// Random codes, and bfloat16 numbers of which each is changed with some probability.
template <class Scheme>
struct problem {
  std::size_t m, n, k;
  ql::quantized_matrix<Scheme> q;
  input_matrix<bfloat16> x;

  template <class Change>
  problem(random_source& random, std::size_t rows, Change&& change)
      : m(rows),
        n(random.extent(1, 70)),
        k(random.extent(1, 300)),
        q(random_quantized<Scheme>(random, n, k, with_group<Scheme>(random.pick<std::size_t>({1, 3, 8, 31, 32, 300})))),
        x(random_inputs<bfloat16>(random, m, k)) {
    for (std::size_t r = 0; r < m; ++r)
      for (std::size_t i = 0; i < k; ++i) x(r, i) = from_float<bfloat16>(change(x.at(r, i)));
  }
};

}    // namespace

TEST_CASE("every number of rows, by any executor, as any_packed, with an epilogue: the same bits") {
  for_each_kind([](auto kind) {
    using weights = decltype(kind);
    INFO(ql::name<weights>());
    for (std::size_t m = 0; m <= 40; ++m) {
      random_source random(m + 1);
      problem<weights> p(random, m, [](float x) { return x; });
      const auto packed = ql::pack<backend>(p.q);
      const auto want = product(p.x.view(), m, packed);
      const exact_weights w(p.q.view());
      std::size_t wrong = 0;
      for (std::size_t r = 0; r < m; ++r)
        for (std::size_t c = 0; c < p.n; ++c) {
          const auto exact = w.dot(p.x.row(r), c);
          const double bound = (gamma_of(p.k + 2, 0x1p-24) + gamma_of(p.k + 2, 0x1p-53)) * exact.magnitude;
          wrong += !(std::fabs(static_cast<double>(want[r * p.n + c]) - exact.value) <= bound);
        }
      REQUIRE(wrong == 0);

      const ql::any_packed<backend> any = ql::pack<backend>(p.q);
      REQUIRE(same(product(p.x.view(), m, any), want));

      // The bias is a number of its own: y + bias is rounded once.
      const auto bias = random.normal_vector(p.n);
      std::vector<float> y(m * p.n);
      const any_executor executor = random_executor(random);
      guarded_memory scratch(ql::gemm_workspace_bytes(p.x.view(), packed, executor));
      ql::gemm(p.x.view(), packed, ql::matrix_view<float>{y.data(), m, p.n}, ql::epilogue::bias{bias.data(), p.n},
               executor, scratch.workspace());
      REQUIRE(scratch.guards_are_intact());
      for (std::size_t i = 0; i < y.size(); ++i) wrong += !same_float(y[i], want[i] + bias[i % p.n]);
      REQUIRE(wrong == 0);
    }
  });
}

TEST_CASE("infinities and NaN in X follow IEEE arithmetic") {
  for_each_kind([](auto kind) {
    using weights = decltype(kind);
    INFO(ql::name<weights>());
    for_random_cases(20, [](random_source& random) {
      const float special[] = {INFINITY, -INFINITY, NAN};
      problem<weights> p(random, random.integer(1, 20),
                         [&](float x) { return random.chance(0.005) ? special[random.integer(0, 2)] : x; });
      const auto y = product(p.x.view(), p.m, ql::pack<backend>(p.q));
      const exact_weights w(p.q.view());
      std::size_t wrong = 0;
      for (std::size_t r = 0; r < p.m; ++r)
        for (std::size_t c = 0; c < p.n; ++c) {
          const double want = w.dot(p.x.row(r), c).value, got = static_cast<double>(y[r * p.n + c]);
          wrong += std::isnan(want) ? !std::isnan(got) : std::isinf(want) ? got != want : !std::isfinite(got);
        }
      REQUIRE(wrong == 0);
    });
  });
}

// docs/numerics.md: subnormal numbers of X, and sums below 2^-126, may count as 0, which is off by less than 2^-126
// each: once per term for X, times the weight, and once per term for the sum, times the scale. The products with the
// scales, and the sums of what they give, round to multiples of 2^-149. Later roundings grow all that by 1 + gamma.
TEST_CASE("numbers near the end of the range of bfloat16 are within the bound") {
  for_each_kind([](auto kind) {
    using weights = decltype(kind);
    INFO(ql::name<weights>());
    for_random_cases(20, [](random_source& random) {
      problem<weights> p(random, random.integer(1, 20),
                         [&](float x) { return std::ldexp(x, -static_cast<int>(random.integer(110, 132))); });
      const auto y = product(p.x.view(), p.m, ql::pack<backend>(p.q));
      const exact_weights w(p.q.view());
      const std::vector<float> ones(p.k, 1.0f);
      const double relative = gamma_of(p.k + 2, 0x1p-24) + gamma_of(p.k + 2, 0x1p-53);
      std::size_t wrong = 0;
      for (std::size_t c = 0; c < p.n; ++c) {
        double scales = 0;
        for (std::size_t k = 0; k < p.k; ++k)
          scales += std::fabs(static_cast<double>(p.q.scale(c, k / p.q.group_size())));
        const double flushed =
            0x1p-126 * (w.dot(ones, c).magnitude + scales) + 0x1p-150 * static_cast<double>(2 * p.q.groups());
        for (std::size_t r = 0; r < p.m; ++r) {
          const auto want = w.dot(p.x.row(r), c);
          const double bound = relative * want.magnitude + (1 + relative) * flushed;
          wrong += !(std::fabs(static_cast<double>(y[r * p.n + c]) - want.value) <= bound);
        }
      }
      REQUIRE(wrong == 0);
    });
  });
}
