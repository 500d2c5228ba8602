// Weight-only products against the product in double.
//
// Error bound, in units of u = 2^-24. A tensor core multiplies exactly and adds 16 products and the accumulator after
// aligning them to the largest; nothing finer than the last of 24 bits of the largest need survive (M. Fasi, N. Higham,
// M. Mikaitis, S. Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ CS 2021). So each of 17 addends loses at
// most 2^-23 of the largest, and so does the result: 36 u of the magnitudes that the sum holds, an instruction. A span
// has at most four of them, so 144 u. Then one fma per span, and one addition per part of K (at most 16), each u of the
// magnitudes so far: spans + 16. Offset schemes add a second fma per span, the oracle its own roundings:
//
//     |y - exact| <= gamma(144 + 2 spans + 18) * sum |x| (|scale (code - zero)| + |offset|)
//
// The simple kernel's chains of 8 + K / 256 + 5 roundings are below that. With one group, and in the Hopper and the
// block kernel, the running sum itself passes through all K / 16 instructions, and counted like that they might lose
// 36 K / 16 u; what the tensor cores drop is so much less that the same bound holds in every case tried. Where groups
// end those kernels multiply by a ratio: three roundings for each 32 k or more, within the two spans for each 8 above.
#include "cuda/cases.hpp"

using namespace qlite_test;
namespace ql = qlite;

namespace {

// The number that a code stands for, in units of the scale. Those of a code book are rounded to the type of X.
template <class Scheme, class TX>
double number_of(const ql::quantized_matrix<Scheme>& q, std::size_t n, std::size_t k, std::size_t group) {
  using traits = ql::detail::scheme_traits<Scheme>;
  if constexpr (traits::has_codebook)
    return static_cast<double>(
        to_float(from_float<TX>(ql::impl::book_value<typename traits::code>(static_cast<std::size_t>(q.code(n, k))))));
  else
    return q.code(n, k) - q.zero_point(n, group);
}

template <class Scheme, class TX>
void check(std::uint64_t cases) {
  for_random_cases(cases, [](random_source& random) {
    const device_case c = random_device_case<Scheme, false>(random);
    INFO(ql::name<Scheme>() << ", m " << c.m << ", n " << c.n << ", k " << c.k << ", group " << c.group << ", kernel "
                            << c.kernel.family << " " << c.kernel.row_tiles << " " << c.kernel.token_tiles << " "
                            << c.kernel.warps << " " << c.kernel.cluster << ", aligned " << c.aligned);
    const auto q = random_quantized<Scheme>(random, c.n, c.k, with_group<Scheme>(c.group));
    device_input<TX> x(random, c.m, c.k, c.aligned);
    const std::size_t poisoned = random.chance(0.3) && c.m != 0 && c.k != 0 ? random.integer(0, c.m - 1) : c.m;
    if (poisoned != c.m) x.put(poisoned, random.integer(0, c.k - 1), NAN);
    device_output<float> y(random, c.m, c.n);
    device::request r = request_of(x, y, c);
    r.graph = random.chance(0.1);
    REQUIRE(device::product<Scheme, TX, float>(q.view(), r) == 0);
    REQUIRE(y.gaps_are_intact());

    const auto spans = static_cast<double>(c.k / 8 + 1);
    const double relative = gamma_of(162.0 + 2.0 * spans, 0x1p-24);
    for (std::size_t n = 0; n < c.n; ++n) {
      std::vector<double> w(c.k), size(c.k);
      for (std::size_t k = 0; k < c.k; ++k) {
        const std::size_t g = k / q.group_size();
        const double step = number_of<Scheme, TX>(q, n, k, g), scale = static_cast<double>(q.scale(n, g));
        const double offset = static_cast<double>(q.offset(n, g));
        w[k] = scale * step + offset;
        size[k] = std::fabs(scale * step) + std::fabs(offset);
      }
      for (std::size_t m = 0; m < c.m; ++m) {
        const auto got = static_cast<double>(y.at(m, n));
        if (m == poisoned) {
          if (!std::isnan(got)) REQUIRE(std::isnan(got));
          continue;
        }
        double value = 0, magnitude = 0;
        for (std::size_t k = 0; k < c.k; ++k) {
          value += static_cast<double>(x.rows[m][k]) * w[k];
          magnitude += std::fabs(static_cast<double>(x.rows[m][k])) * size[k];
        }
        const double bound = relative * magnitude;
        if (!(std::fabs(got - value) <= bound)) {
          INFO("Y(" << m << ", " << n << ") = " << got << ", expected " << value << " within " << bound);
          REQUIRE(std::fabs(got - value) <= bound);
        }
      }
    }
  });
}

}    // namespace

// Each pair of a type of codes and a type of activations with some schemes, so that every scheme occurs with either: a
// kernel costs seconds of compilation.
TEST_CASE("W4A16, float16") {
  check<grouped<ql::int4>, ql::float16>(60);
  check<grouped_asymmetric<ql::int4>, ql::float16>(60);
  check<grouped_offset<ql::int4>, ql::float16>(50);
  check<channel_float<ql::int4>, ql::float16>(40);
  check<channel_asymmetric<ql::int4>, ql::float16>(40);
  check<channel_offset<ql::int4>, ql::float16>(30);
  check<tensor<ql::int4>, ql::float16>(30);
  check<fixed_groups<ql::int4>, ql::float16>(30);
  check<groups_of_32<ql::int4>, ql::float16>(60);
}
TEST_CASE("W4A16, bfloat16") {
  check<grouped<ql::int4>, ql::bfloat16>(60);
  check<channel_asymmetric<ql::int4>, ql::bfloat16>(40);
  check<groups_of_32_asymmetric<ql::int4>, ql::bfloat16>(60);
}
TEST_CASE("W8A16, float16") {
  check<grouped_asymmetric<ql::int8>, ql::float16>(60);
  check<tensor<ql::int8>, ql::float16>(40);
}
TEST_CASE("W8A16, bfloat16") {
  check<grouped<ql::int8>, ql::bfloat16>(60);
  check<grouped_asymmetric<ql::int8>, ql::bfloat16>(60);
  check<grouped_offset<ql::int8>, ql::bfloat16>(50);
  check<channel_float<ql::int8>, ql::bfloat16>(40);
  check<channel_asymmetric<ql::int8>, ql::bfloat16>(40);
  check<channel_offset<ql::int8>, ql::bfloat16>(30);
  check<tensor<ql::int8>, ql::bfloat16>(30);
  check<fixed_groups<ql::int8>, ql::bfloat16>(30);
}

TEST_CASE("nf4 and nl4") {
  check<grouped<ql::nf4>, ql::float16>(60);
  check<qlora, ql::bfloat16>(60);
  check<grouped<ql::nl4>, ql::bfloat16>(60);
  check<channel_float<ql::nl4>, ql::float16>(40);
}

// Small integers and scales that are powers of two: every sum is exact, whatever its order, so any slip shows.
void check_exact(random_source& random, const device_case& c) {
  using scheme = grouped<ql::int4>;
  INFO("m " << c.m << ", n " << c.n << ", k " << c.k << ", group " << c.group << ", kernel " << c.kernel.family);
  const auto q = make_quantized<scheme>(
      c.n, c.k, with_group<scheme>(c.group),
      [&](std::size_t, std::size_t) { return static_cast<int>(random.integer(0, 15)) - 8; },
      [](std::size_t, std::size_t) { return 0; },
      [&](std::size_t, std::size_t) { return std::ldexp(1.0f, -static_cast<int>(random.integer(0, 3))); },
      [](std::size_t, std::size_t) { return 0.0f; });
  device_input<ql::float16> x(random, c.m, c.k, c.aligned);
  for (std::size_t m = 0; m < c.m; ++m)
    for (std::size_t k = 0; k < c.k; ++k) x.put(m, k, static_cast<float>(random.integer(0, 8)) - 4.0f);
  device_output<float> y(random, c.m, c.n);
  REQUIRE(device::product<scheme, ql::float16, float>(q.view(), request_of(x, y, c)) == 0);
  const exact_weights w(q.view());
  for (std::size_t m = 0; m < c.m; ++m)
    for (std::size_t n = 0; n < c.n; ++n)
      if (static_cast<double>(y.at(m, n)) != w.dot(x.rows[m], n).value) {
        INFO("Y(" << m << ", " << n << ")");
        REQUIRE(static_cast<double>(y.at(m, n)) == w.dot(x.rows[m], n).value);
      }
}
TEST_CASE("exact numbers give exact results from every kernel") {
  for_random_cases(
      120, [](random_source& random) { check_exact(random, random_device_case<grouped<ql::int4>, false>(random)); });
}
// 67 pairs of row blocks are one more than the 132 multiprocessors of an H100 take at once: the last is cut in two,
// whose second half is beyond M, or ends within.
TEST_CASE("what is left for a last round of the Hopper kernel") {
  random_source random(1);
  for (std::size_t m : {std::size_t{40}, std::size_t{200}}) {
    device_case c{m, 17100, 72, 64, {}, true};
    if (device::has_hopper()) {
      c.kernel.family = 4;
      c.kernel.token_tiles = 32;
      c.kernel.cluster = 1;
    }
    check_exact(random, c);
  }
}

// Y of 16 bits is the rounded Y of float, whatever the way by which a kernel writes it.
template <class T>
void check_rounding() {
  using scheme = grouped<ql::int4>;
  for_random_cases(60, [](random_source& random) {
    const device_case c = random_device_case<scheme, false>(random);
    INFO("m " << c.m << ", n " << c.n << ", k " << c.k << ", group " << c.group << ", kernel " << c.kernel.family << " "
              << c.kernel.token_tiles << " " << c.kernel.cluster);
    const auto q = random_quantized<scheme>(random, c.n, c.k, with_group<scheme>(c.group));
    device_input<T> x(random, c.m, c.k, c.aligned);
    device_output<float> wide(random, c.m, c.n);
    device_output<T> narrow(random, c.m, c.n);
    REQUIRE(device::product<scheme, T, float>(q.view(), request_of(x, wide, c)) == 0);
    REQUIRE(device::product<scheme, T, T>(q.view(), request_of(x, narrow, c)) == 0);
    REQUIRE(narrow.gaps_are_intact());
    for (std::size_t m = 0; m < c.m; ++m)
      for (std::size_t n = 0; n < c.n; ++n) {
        const float want = to_float(from_float<T>(wide.at(m, n)));
        if (!same_float(narrow.at(m, n), want)) {
          INFO("Y(" << m << ", " << n << ")");
          REQUIRE(narrow.at(m, n) == want);
        }
      }
  });
}
TEST_CASE("results of 16 bits are rounded ones of float") {
  check_rounding<ql::float16>();
  check_rounding<ql::bfloat16>();
}

// A row's bits do not depend on the rows that come with it, up to 16 rows.
TEST_CASE("up to 16 rows, a row does not depend on the others") {
  using scheme = grouped<ql::int4>;
  for_random_cases(20, [](random_source& random) {
    device_case c{16, random.integer(1, 200), 8 * random.integer(1, 300), 128, {}, true};
    const auto q = random_quantized<scheme>(random, c.n, c.k, with_group<scheme>(c.group));
    device_input<ql::float16> x(random, c.m, c.k, true);
    device_output<float> all(random, c.m, c.n);
    REQUIRE(device::product<scheme, ql::float16, float>(q.view(), request_of(x, all, c)) == 0);
    for (std::size_t rows : {std::size_t{1}, std::size_t{3}, std::size_t{8}, std::size_t{9}}) {
      c.m = rows;
      device_output<float> some(random, c.m, c.n);
      REQUIRE(device::product<scheme, ql::float16, float>(q.view(), request_of(x, some, c)) == 0);
      for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t n = 0; n < c.n; ++n)
          if (!same_float(some.at(m, n), all.at(m, n))) REQUIRE(same_float(some.at(m, n), all.at(m, n)));
    }
  });
}
