// The bounds that docs/numerics.md derives, as they stand there, on every backend.
//
// Backends: every
#include <qlite/gemm.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "support/property.hpp"

namespace ql = qlite;
using qlite_test::random_source;
using backend = QLITE_TEST_BACKEND;

namespace {

constexpr double u = 0x1p-24;
double gamma_of(std::size_t n) { return static_cast<double>(n) * u / (1 - static_cast<double>(n) * u); }

// Numbers of one sign are the worst case of a bound on sums: nothing cancels.
std::vector<float> numbers(random_source& random, std::size_t count) {
  auto values = random.normal_vector(count, random.uniform(0.1f, 3.0f));
  if (random.chance(0.5))
    for (float& v : values) v = std::fabs(v);
  return values;
}

template <class Scheme>
Scheme with_group(std::size_t group) {
  Scheme scheme{};
  if constexpr (ql::detail::scheme_traits<Scheme>::dynamic_group) scheme.granularity.size = group;
  static_cast<void>(group);
  return scheme;
}

struct shape {
  std::size_t m, n, k, group;
  explicit shape(random_source& random)
      : m(random.extent(1, 20)),
        n(random.extent(1, 40)),
        k(random.extent(1, 600)),
        group(random.pick<std::size_t>({1, 2, 3, 8, 13, 32, 100, 700})) {}
};

template <class Scheme>
void check_weights() {
  qlite_test::for_random_cases(40, [](random_source& random) {
    const shape s(random);
    const auto w = numbers(random, s.n * s.k);
    const auto q = ql::quantize(with_group<Scheme>(s.group), ql::matrix_view<const float>{w.data(), s.n, s.k},
                                ql::basic_rtn<ql::scale_rule::absmax>{});
    std::vector<float> back(w.size());
    ql::dequantize(q, ql::matrix_view<float>{back.data(), s.n, s.k});
    using traits = ql::detail::scheme_traits<Scheme>;
    for (std::size_t r = 0; r < s.n; ++r)
      for (std::size_t c = 0; c < s.k; ++c) {
        const std::size_t g = c / q.group_size();
        const double scale = q.scale(r, g), offset = q.offset(r, g), x = w[r * s.k + c], y = back[r * s.k + c];
        const double steps = (x - offset) / scale + q.zero_point(r, g);
        if (steps > traits::code_max + 0.5 || steps < traits::code_min - 0.5) continue;    // clipped
        const double bound = std::fabs(scale) / 2 + 2 * u * std::fabs(x - offset) + u * std::fabs(y);
        REQUIRE(std::fabs(x - y) <= bound);
      }
  });
}

template <class Scheme>
void check_products() {
  qlite_test::for_random_cases(40, [](random_source& random) {
    const shape s(random);
    const auto w = numbers(random, s.n * s.k), x = numbers(random, s.m * s.k);
    const auto q =
        ql::quantize(with_group<Scheme>(s.group), ql::matrix_view<const float>{w.data(), s.n, s.k}, ql::rtn{});
    const auto packed = ql::pack<backend>(q);
    const ql::matrix_view<const float> X{x.data(), s.m, s.k};
    std::vector<float> y(s.m * s.n);
    const ql::matrix_view<float> Y{y.data(), s.m, s.n};
    const auto weight = [&](std::size_t r, std::size_t k) {
      const std::size_t g = k / q.group_size();
      return static_cast<double>(q.scale(r, g)) * (q.code(r, k) - q.zero_point(r, g)) + q.offset(r, g);
    };

    // Weight-only: gamma(K + 2), and the roundings of this sum in double.
    const auto check_bound = [&](const auto& input) {
      for (std::size_t m = 0; m < s.m; ++m)
        for (std::size_t n = 0; n < s.n; ++n) {
          double exact = 0, magnitude = 0;
          for (std::size_t k = 0; k < s.k; ++k) {
            const double term = static_cast<double>(input[m * s.k + k]) * weight(n, k);
            exact += term;
            magnitude += std::fabs(term);
          }
          REQUIRE(std::fabs(y[m * s.n + n] - exact) <= (gamma_of(s.k + 2) + 1e-12) * magnitude);
        }
    };
    ql::gemm(X, packed, Y);
    check_bound(x);
    std::vector<ql::bfloat16> x16(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x16[i] = ql::bfloat16::from_float(x[i]);
    std::vector<float> rounded(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) rounded[i] = x16[i].to_float();
    ql::gemm(ql::matrix_view<const ql::bfloat16>{x16.data(), s.m, s.k}, packed, Y);
    check_bound(rounded);

    // Activations: each within 0.50003 steps of its scale.
    const auto form = ql::dynamic<ql::int8>(X);
    std::vector<std::byte> memory(ql::quantized_activations_bytes(form, packed));
    const auto quantized = ql::quantize_activations(form, packed, {memory.data(), memory.size()});
    const auto rows = quantized.data();
    const std::size_t group = std::min(q.group_size(), s.k);
    // as gemm/input_rows.hpp draws them
    using isa = ql::impl::isa<backend>;
    struct place {
      const std::byte* run;
      std::size_t rows, row;
    };
    const auto place_of = [&](std::size_t m, std::size_t k) {
      const std::size_t begin = m / isa::integer_tiles[0] * isa::integer_tiles[0];
      const std::size_t count = ql::detail::panel_rows(isa::integer_tiles, begin, s.m);
      return place{rows.panel(begin) + count * (k / group * ql::detail::run_bytes(group)), count, m - begin};
    };
    const auto code = [&](std::size_t m, std::size_t k) -> double {
      const place p = place_of(m, k);
      const std::size_t unit = k % group / isa::k_unit * isa::k_unit;
      return static_cast<std::int8_t>(
          p.run[p.rows * (ql::detail::run_bytes(0) + unit) + p.row * isa::k_unit + k % group % isa::k_unit]);
    };
    const auto scale = [&](std::size_t m, std::size_t k) -> double {
      const place p = place_of(m, k);
      float value;
      std::memcpy(&value, p.run + p.rows * sizeof(std::int32_t) + p.row * sizeof value, sizeof value);
      return value;
    };
    for (std::size_t m = 0; m < s.m; ++m)
      for (std::size_t k = 0; k < s.k; ++k)
        REQUIRE(std::fabs(x[m * s.k + k] - scale(m, k) * code(m, k)) <= 0.50003 * scale(m, k));

    // The integer product: gamma(F + 2) or gamma(2 F + 2) of its terms.
    ql::gemm(quantized, packed, Y);
    const std::size_t pieces = (s.k + group - 1) / group;
    const double relative = gamma_of((ql::detail::scheme_traits<Scheme>::has_offset ? 2 * pieces : pieces) + 2) + 1e-12;
    for (std::size_t m = 0; m < s.m; ++m)
      for (std::size_t n = 0; n < s.n; ++n) {
        double exact = 0, magnitude = 0;
        for (std::size_t begin = 0; begin < s.k; begin += group) {
          const std::size_t g = begin / q.group_size();
          double sum = 0, total = 0;
          for (std::size_t k = begin; k < std::min(s.k, begin + group); ++k) {
            sum += (q.code(n, k) - q.zero_point(n, g)) * code(m, k);
            total += code(m, k);
          }
          const double sx = scale(m, begin), terms[] = {q.scale(n, g) * sx * sum, q.offset(n, g) * sx * total};
          exact += terms[0] + terms[1];
          magnitude += std::fabs(terms[0]) + std::fabs(terms[1]);
        }
        REQUIRE(std::fabs(y[m * s.n + n] - exact) <= relative * magnitude);
      }
  });
}

}    // namespace

TEST_CASE("the error of a weight") {
  check_weights<ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>>>();
  check_weights<ql::scheme<ql::int8, ql::per_channel, ql::asymmetric, float>>();
  check_weights<ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::offset<float>, float>>();
}

TEST_CASE("the errors of activations and products") {
  check_products<ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>>>();
  check_products<ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::offset<float>, float>>();
  check_products<ql::scheme<ql::int8, ql::per_channel, ql::asymmetric, float>>();
}
