// Quantization on the device gives the bits of the host: codes, scales, zero points and offsets of weights, codes and
// scales of activations.
#include "cuda/cases.hpp"

#include <qlite/quantize.hpp>

using namespace qlite_test;
namespace ql = qlite;

namespace {

template <class Scheme, class T>
void check(std::uint64_t cases) {
  for_random_cases(cases, [](random_source& random) {
    const std::size_t n = random.extent(1, 60), k = random.extent(1, 700);
    const std::size_t group = random.pick<std::size_t>({8, 16, 32, 40, 64, 128, 1024});
    INFO(ql::name<Scheme>() << " of " << ql::detail::element<T>::name << ", n " << n << ", k " << k << ", group "
                            << group);
    const std::size_t stride = k + random.integer(0, 3);
    std::vector<T> w((n - 1) * stride + k);
    // Few distinct values now and then, so that extremes of both signs tie and whole groups are 0.
    const int kind = static_cast<int>(random.integer(0, 3));
    for (T& x : w) {
      const float value = kind == 0 ? static_cast<float>(random.integer(0, 4)) - 2.0f : random.normal();
      x = from_float<T>(value * (kind == 3 ? 1e-6f : 1.0f));
    }
    const Scheme scheme = with_group<Scheme>(group);
    ql::quantized_matrix<Scheme> got(n, k, scheme);
    int fault = -1;
    REQUIRE((device::quantize<Scheme, T>(scheme, w.data(), stride, got, fault) == 0));
    REQUIRE(fault == 0);
    const auto want = ql::quantize(scheme, ql::matrix_view<const T>{w.data(), n, k, stride}, ql::rtn{});
    REQUIRE(same_bytes(got.view(), want.view()));

    w[random.integer(0, n - 1) * stride + random.integer(0, k - 1)] =
        from_float<T>(random.chance(0.5) ? NAN : INFINITY);
    REQUIRE((device::quantize<Scheme, T>(scheme, w.data(), stride, got, fault) == 0));
    REQUIRE((fault & 1) == 1);
  });
}

template <class T>
void check_activations() {
  for_random_cases(60, [](random_source& random) {
    const std::size_t m = random.extent(1, 20), k = random.extent(1, 700);
    const std::size_t group = random.pick<std::size_t>({8, 32, 64, 128, 1024});
    const std::size_t stride = k + random.pick<std::size_t>({0, 1, 8});
    std::vector<T> x((m - 1) * stride + k);
    for (T& v : x) v = from_float<T>(random.normal());
    if (random.chance(0.3))
      for (std::size_t c = 0; c < k; ++c) x[c] = from_float<T>(0.0f);    // a row of zeros
    if (random.chance(0.3)) x[random.integer(0, m - 1) * stride] = from_float<T>(NAN);
    std::vector<std::int8_t> codes;
    std::vector<float> scales;
    REQUIRE((device::quantize_activations<grouped<ql::int8>, T>(x.data(), m, k, stride, group, codes, scales) == 0));
    for (std::size_t r = 0; r < m; ++r) {
      std::vector<float> row(k);
      for (std::size_t c = 0; c < k; ++c) row[c] = to_float(x[r * stride + c]);
      const quantized_row want = quantize_row(row, group);
      REQUIRE(scales.size() == m * want.scales.size());
      for (std::size_t c = 0; c < k; ++c)
        if (codes[r * k + c] != want.codes[c]) REQUIRE(static_cast<int>(codes[r * k + c]) == want.codes[c]);
      for (std::size_t g = 0; g < want.scales.size(); ++g)
        REQUIRE(same_float(scales[r * want.scales.size() + g], want.scales[g]));
    }
  });
}

}    // namespace

TEST_CASE("weights, int4") {
  check<grouped<ql::int4>, float>(40);
  check<grouped<ql::int4>, ql::float16>(20);
  check<grouped_asymmetric<ql::int4>, float>(40);
  check<grouped_offset<ql::int4>, float>(40);
  check<channel_float<ql::int4>, float>(20);
  check<channel_offset<ql::int4>, ql::bfloat16>(20);
  check<tensor<ql::int4>, float>(20);
}
TEST_CASE("weights, int8") {
  check<grouped<ql::int8>, float>(40);
  check<grouped_asymmetric<ql::int8>, float>(40);
  check<grouped_offset<ql::int8>, float>(40);
  check<channel_asymmetric<ql::int8>, ql::bfloat16>(20);
  check<channel_offset<ql::int8>, float>(20);
  check<tensor<ql::int8>, float>(20);
}
TEST_CASE("activations") {
  check_activations<float>();
  check_activations<ql::float16>();
  check_activations<ql::bfloat16>();
}
