// Products with INT8 activations. With one scale per row of W the results are the CPU's, bit by bit: integer sums are
// exact, and two multiplications follow. With groups the sums of spans are added in an order of the GPU's own:
//
//     |y - exact| <= gamma(2 spans + 16 + 4) * sum over groups of |scale sx| sum |code - zero| |a| + |offset sx| sum
//     |a|
//
// since each term passes the conversion of its span's sum, a product of two scales, an fma for each span (two with
// offsets), an addition for each part of K and the product with the token's scale. "exact" is in double, from the same
// activation codes, which are the contract's.
#include "cuda/cases.hpp"

using namespace qlite_test;
namespace ql = qlite;

namespace {

template <class Scheme>
void check(std::uint64_t cases) {
  using traits = ql::detail::scheme_traits<Scheme>;
  for_random_cases(cases, [](random_source& random) {
    const device_case c = random_device_case<Scheme, true>(random);
    INFO(ql::name<Scheme>() << ", m " << c.m << ", n " << c.n << ", k " << c.k << ", group " << c.group << ", kernel "
                            << c.kernel.family << " " << c.kernel.row_tiles << " " << c.kernel.token_tiles << " "
                            << c.kernel.warps);
    const auto q = random_quantized<Scheme>(random, c.n, c.k, with_group<Scheme>(c.group));
    device_input<float> x(random, c.m, c.k, c.aligned);
    const std::size_t poisoned = random.chance(0.3) && c.m != 0 && c.k != 0 ? random.integer(0, c.m - 1) : c.m;
    if (poisoned != c.m) x.put(poisoned, random.integer(0, c.k - 1), random.chance(0.5) ? NAN : INFINITY);
    device_output<float> y(random, c.m, c.n);
    device::request r = request_of(x, y, c);
    r.x_form =
        random.pick({device::form::dynamic, device::form::dynamic_token, device::form::fixed, device::form::prepared});
    r.fixed_scale = random.uniform(0.01f, 0.05f);
    r.graph = random.chance(0.1);
    REQUIRE(device::product<Scheme, float, float>(q.view(), r) == 0);
    REQUIRE(y.gaps_are_intact());

    const bool by_group =
        traits::grouped && q.groups() > 1 && (r.x_form == device::form::dynamic || r.x_form == device::form::prepared);
    const exact_weights w(q.view());
    for (std::size_t m = 0; m < c.m; ++m) {
      const quantized_row row =
          r.x_form == device::form::fixed
              ? quantize_row(x.rows[m], r.fixed_scale, 1.0f / r.fixed_scale)
              : quantize_row(x.rows[m], by_group ? q.group_size() : std::max<std::size_t>(c.k, 1));
      for (std::size_t n = 0; n < c.n; ++n) {
        const float got = y.at(m, n);
        if (m == poisoned) {
          if (!std::isnan(got)) REQUIRE(std::isnan(got));
          continue;
        }
        if (!traits::grouped && !traits::has_offset) {
          if (!same_float(got, w.dot(row, n, true))) {
            INFO("Y(" << m << ", " << n << ")");
            REQUIRE(got == w.dot(row, n, true));
          }
          continue;
        }
        double value = 0, magnitude = 0;
        for (std::size_t k = 0; k < c.k; ++k) {
          const std::size_t g = k / q.group_size();
          const double sx = static_cast<double>(row.scales[by_group ? g : 0]), a = row.codes[k];
          const double term = static_cast<double>(q.scale(n, g)) * sx * (q.code(n, k) - q.zero_point(n, g)) * a;
          const double more = static_cast<double>(q.offset(n, g)) * sx * a;
          value += term + more;
          magnitude += std::fabs(term) + std::fabs(more);
        }
        const double bound = gamma_of(2.0 * static_cast<double>(c.k / 8 + 1) + 20.0, 0x1p-24) * magnitude;
        if (!(std::fabs(static_cast<double>(got) - value) <= bound)) {
          INFO("Y(" << m << ", " << n << ") = " << got << ", expected " << value << " within " << bound);
          REQUIRE(std::fabs(static_cast<double>(got) - value) <= bound);
        }
      }
    }
  });
}

template <class Code>
void check_all() {
  check<grouped<Code>>(60);
  check<grouped_asymmetric<Code>>(50);
  check<grouped_offset<Code>>(50);
  check<channel_float<Code>>(60);
  check<channel_asymmetric<Code>>(50);
  check<channel_offset<Code>>(30);
  check<tensor<Code>>(20);
}

}    // namespace

TEST_CASE("W8A8") { check_all<ql::int8>(); }
TEST_CASE("W4A8") {
  check_all<ql::int4>();
  check<groups_of_32<ql::int4>>(40);
}
