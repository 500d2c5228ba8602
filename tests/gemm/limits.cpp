// The ends of the ranges: sums that would saturate, sums longer than an INT32 takes, rows of zeros, of denormal and of
// huge numbers.
#include "gemm/integer_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::dynamic_extent, ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;

// Y = dynamic<int8>(X) * q^T against the oracle, for one form of X.
template <class Form, class Scheme>
void check_form(const Form& form, const input_matrix<float>& x, const ql::quantized_matrix<Scheme>& q, bool token) {
  const exact_weights w(q.view());
  std::vector<float> want(x.rows() * w.rows());
  for (std::size_t r = 0; r < x.rows(); ++r) {
    const std::size_t whole = std::max<std::size_t>(x.cols(), 1);
    const quantized_row row = quantize_row(x.row(r), token ? whole : w.group());
    for (std::size_t c = 0; c < w.rows(); ++c) want[r * w.rows() + c] = w.dot(row, c, token);
  }
  random_source random(1);
  const ql::any_packed<backend> packed = ql::pack<backend>(q);
  check_rows<float>(random, form, packed, 0, x.rows(), want);
}

template <class Scheme>
void check_both_forms(const input_matrix<float>& x, const ql::quantized_matrix<Scheme>& q) {
  check_form(ql::dynamic<ql::int8>(x.view()), x, q, !ql::detail::scheme_traits<Scheme>::grouped);
  check_form(ql::dynamic<ql::int8, ql::per_token>(x.view()), x, q, true);
}

// Signs of a run of k: all +, all -, alternating with a period of 1, 2, 4, 8 and 16, and as random as they can be.
inline float sign_of(std::size_t pattern, std::size_t k, random_source& random) {
  if (pattern == 0) return 1.0f;
  if (pattern == 1) return -1.0f;
  if (pattern < 7) return ((k >> (pattern - 2)) & 1) != 0 ? -1.0f : 1.0f;
  return random.chance(0.5) ? -1.0f : 1.0f;
}

// Activations of magnitude 1, hence codes of +-127, in every pattern of signs, for `m` rows.
inline input_matrix<float> extreme_inputs(std::size_t m, std::size_t k) {
  random_source random(7);
  input_matrix<float> x(m, k, 1);
  for (std::size_t r = 0; r < m; ++r)
    for (std::size_t c = 0; c < k; ++c) x(r, c) = sign_of(r, c, random);
  return x;
}

// Weights whose codes are all at an end of the range, one row for each choice; the later rows mix both ends.
template <class Scheme>
ql::quantized_matrix<Scheme> extreme_weights(std::size_t k, std::size_t group) {
  using traits = ql::detail::scheme_traits<Scheme>;
  random_source random(11);
  const int low = traits::code_min, high = traits::code_max;
  return make_quantized<Scheme>(
      20, k, with_group<Scheme>(group),
      [&](std::size_t r, std::size_t c) {
        if (r == 0) return low;
        if (r == 1) return high;
        if (r == 2) return traits::bits == 8 ? -127 : low;
        return sign_of(r % 8, c, random) > 0 ? high : low;
      },
      [&](std::size_t r, std::size_t) { return r % 3 == 0   ? low
                                               : r % 3 == 1 ? high
                                                            : 0; },
      [](std::size_t r, std::size_t) { return r % 2 == 0 ? 0.5f : -0.25f; },
      [](std::size_t r, std::size_t) { return r % 2 == 0 ? 8.0f : -8.0f; });
}

template <class Scheme>
void check_extremes() {
  for (const std::size_t k : {64u, 4096u, 5003u}) {
    INFO(ql::name<Scheme>() << ", k " << k);
    const auto q = extreme_weights<Scheme>(k, 512);
    for (const std::size_t m : {1u, 9u, 20u}) check_both_forms(extreme_inputs(m, k), q);
  }
}

TEST_CASE("no intermediate saturates") {
  check_extremes<scheme<int8, per_channel>>();
  check_extremes<scheme<int8, per_group<dynamic_extent>>>();
  check_extremes<scheme<int8, per_channel, ql::asymmetric>>();
  check_extremes<scheme<int4, per_channel>>();
  check_extremes<scheme<int4, per_group<dynamic_extent>>>();
  check_extremes<scheme<int4, per_channel, ql::asymmetric>>();
  check_extremes<scheme<int4, per_group<dynamic_extent>, ql::offset<float>>>();
}

// Beyond 65,536 k one INT32 sum could overflow: 2 * 65,536 * 255 * 127 > 2^32.
TEST_CASE("long groups are folded at multiples of 65,536") {
  random_source random(3);
  for (const std::size_t k : {65536u, 65537u, 131072u + 5u, 196608u}) {
    for (const std::size_t m : {1u, 10u}) {
      INFO("k " << k << ", m " << m);
      const auto x = extreme_inputs(m, k);
      const auto asymmetric = make_quantized<scheme<int8, per_channel, ql::asymmetric>>(
          3, k, {}, [](std::size_t r, std::size_t) { return r == 0   ? 127
                                                            : r == 1 ? -128
                                                                     : 100; },
          [](std::size_t r, std::size_t) { return r == 0   ? -128
                                                  : r == 1 ? 127
                                                           : -1; },
          [](std::size_t, std::size_t) { return 0.01f; }, [](std::size_t, std::size_t) { return 0.0f; });
      check_both_forms(x, asymmetric);
      check_both_forms(x, random_quantized<scheme<int4, per_group<dynamic_extent>>>(random, 2, k, {{70000}}));
      check_both_forms(
          random_inputs<float>(random, m, k),
          random_quantized<scheme<int4, per_group<dynamic_extent>, ql::offset<float>>>(random, 2, k, {{k}}));
    }
  }
  const auto x = random_inputs<float>(random, 2, 150001);    // more than one fold in each of two groups
  check_both_forms(x, random_quantized<scheme<int8, per_group<dynamic_extent>>>(random, 2, 150001, {{75001}}));
}

// Rows whose scale is at the edge of what a float holds, beside ordinary ones.
TEST_CASE("rows of zeros, denormal and huge numbers") {
  constexpr float least_normal = 1.17549435e-38f, largest = 3.40282347e+38f;
  const float magnitudes[] = {0.0f, -0.0f, 1e-45f,  least_normal,  3.7e-37f, 3.8e-37f, 4e-37f,  1e-20f,
                              1.0f, 1e20f, largest, largest / 127, 127.0f,   254.0f,   1.0f / 3};
  random_source random(5);
  for (const std::size_t k : {1u, 33u, 160u}) {
    const std::size_t m = sizeof magnitudes / sizeof *magnitudes;
    input_matrix<float> x(m, k, 2);
    for (std::size_t r = 0; r < m; ++r) {
      for (std::size_t c = 0; c < k; ++c) x(r, c) = magnitudes[r] * random.uniform(-1.0f, 1.0f);
      x(r, random.integer(0, k - 1)) = -magnitudes[r];
    }
    check_both_forms(x, random_quantized<scheme<int8, per_channel>>(random, 35, k, {}));
    check_both_forms(x, random_quantized<scheme<int4, per_group<dynamic_extent>>>(random, 35, k, {{32}}));
  }
}

// Halves between two codes go to the even one.
TEST_CASE("activation codes are rounded to nearest even and clamped") {
  input_matrix<float> x(1, 300, 0);
  for (std::size_t k = 0; k < 300; ++k) x(0, k) = 0.5f * (static_cast<float>(k) - 150.0f);
  const auto one = make_quantized<scheme<int8, per_channel>>(
      16, 300, {}, [](std::size_t r, std::size_t k) { return static_cast<int>((k * (r + 1)) % 127); },
      [](std::size_t, std::size_t) { return 0; }, [](std::size_t, std::size_t) { return 1.0f; },
      [](std::size_t, std::size_t) { return 0.0f; });
  const exact_weights w(one.view());
  for (const float scale : {1.0f, 0.5f, 0.25f}) {
    const quantized_row row = quantize_row(x.row(0), scale, 1.0f / scale);
    if (scale == 1.0f) {
      CHECK(row.codes[149] == 0);     // -0.5
      CHECK(row.codes[147] == -2);    // -1.5
      CHECK(row.codes[151] == 0);     // 0.5
      CHECK(row.codes[155] == 2);     // 2.5
    } else if (scale == 0.25f) {
      CHECK(row.codes[0] == -127);
      CHECK(row.codes[299] == 127);
    }
    std::vector<float> want;
    for (std::size_t c = 0; c < 16; ++c) want.push_back(w.dot(row, c, true));
    random_source random(1);
    check_rows<float>(random, ql::fixed<ql::int8>(x.view(), scale), ql::any_packed<backend>(ql::pack<backend>(one)), 0,
                      1, want);
  }
}

// A row with a NaN or an infinity is NaN throughout, and says nothing about the others.
TEST_CASE("rows that are not finite give NaN") {
  random_source random(9);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const std::size_t m : {1u, 3u, 17u}) {
      const std::size_t k = 100, row = random.integer(0, m - 1);
      input_matrix<float> x = random_inputs<float>(random, m, k);
      x(row, random.integer(0, k - 1)) = bad;
      x(row, random.integer(0, k - 1)) = bad;
      const auto q = random_quantized<scheme<int4, per_group<dynamic_extent>>>(random, 40, k, {{32}});
      const auto channel = random_quantized<scheme<int8, per_channel>>(random, 40, k, {});
      const auto all_nan = [&](const auto& form, const auto& w) {
        std::vector<float> y(m * 40, 0.0f);
        const ql::any_packed<backend> packed = ql::pack<backend>(w);
        ql::gemm(form, packed, ql::matrix_view<float>{y.data(), m, 40}, ql::epilogue::relu{});
        for (std::size_t r = 0; r < m; ++r) {
          for (std::size_t c = 0; c < 40; ++c) {
            const bool nan = std::isnan(y[r * 40 + c]);
            REQUIRE(nan == (r == row));
          }
        }
      };
      all_nan(ql::dynamic<ql::int8>(x.view()), q);
      all_nan(ql::dynamic<ql::int8>(x.view()), channel);
      all_nan(ql::dynamic<ql::int8, ql::per_token>(x.view()), q);
      all_nan(ql::dynamic<ql::int8, ql::per_tensor>(x.view()), q);
      all_nan(ql::dynamic<ql::int8, ql::per_tensor>(x.view()), channel);
      all_nan(ql::fixed<ql::int8>(x.view(), 0.01f), q);
      all_nan(ql::fixed<ql::int8>(x.view(), 0.01f), channel);
      check_both_forms(x, q);
      check_both_forms(x, channel);
    }
  }
}
