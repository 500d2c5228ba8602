// Round to nearest against the oracle: every kind of scheme, every rule, shapes and group sizes of every kind.
#include "quantize/oracle.hpp"
#include "support/catch.hpp"

namespace ql = qlite;
using namespace qlite_test;

namespace {

// Quantizes a random matrix by `method` and compares every scale, zero point, offset and code.
template <class Scheme, class T, class ScaleRule, class RoundRule, class ZeroRule>
void check(random_source& random, Scheme scheme, const ql::basic_rtn<ScaleRule, RoundRule, ZeroRule>& method) {
  using traits = ql::detail::scheme_traits<Scheme>;
  strided_matrix<T> W(random.extent(1, 7), random.extent(1, 700), random.integer(0, 3));
  fill(W, random);
  const auto q = ql::quantize(scheme, W.view(), method);
  REQUIRE(q.rows() == W.rows());
  REQUIRE(q.cols() == W.cols());
  const std::size_t size = q.group_size();
  CAPTURE(ql::name<Scheme>(), W.rows(), W.cols(), size);

  group_numbers g;
  std::size_t wrong_numbers = 0, wrong_codes = 0, beyond_bound = 0;
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) {
      const std::size_t index = traits::grouped ? c / size : 0;
      if (traits::one_scale ? r + c == 0 : c % size == 0) {
        g = fit<Scheme>(group_of<Scheme>(W, r, c, size), choice_of_scale<ScaleRule>, ZeroRule::contains);
        wrong_numbers += static_cast<double>(q.scale(r, index)) != g.scale || q.zero_point(r, index) != g.zero ||
                         static_cast<double>(q.offset(r, index)) != g.offset;
      }
      const auto w = static_cast<double>(W.value(r, c));
      const int code = q.code(r, c);
      wrong_codes += code != code_of<Scheme>(w, g, choice_of_round<RoundRule>);

      // half a step from the nearest number in reach, apart from the roundings of w - offset and of the quotient
      const double a = number_of<Scheme>(traits::code_min, g), b = number_of<Scheme>(traits::code_max, g);
      const double reach = std::max(std::min(a, b) - w, std::max(w - std::max(a, b), 0.0));
      const double rounding = 0x1p-23 * (std::abs(w) + std::abs(g.offset) + 128 * std::abs(g.scale));
      beyond_bound += std::abs(w - number_of<Scheme>(code, g)) > std::abs(g.scale) / 2 + reach + rounding;
    }
  CHECK(wrong_numbers == 0);
  CHECK(wrong_codes == 0);
  CHECK(beyond_bound == 0);
}

template <class Scheme>
Scheme with_size(random_source& random) {
  Scheme scheme{};
  if constexpr (ql::detail::scheme_traits<Scheme>::dynamic_group)
    scheme.granularity.size = random.chance(0.2) ? 1000 : random.extent(1, 150);
  return scheme;
}

}    // namespace

TEMPLATE_TEST_CASE("round to nearest agrees with the oracle", "", (ql::scheme<ql::int4, group<32>>),
                   (ql::scheme<ql::int4, group<1>>), (ql::scheme<ql::int4, group<3>>),
                   (ql::scheme<ql::int4, group<31>, ql::asymmetric>), (ql::scheme<ql::int4, group<8>, ql::offset<>>),
                   (ql::scheme<ql::int4, any_group>), (ql::scheme<ql::int4, any_group, ql::asymmetric>),
                   (ql::scheme<ql::int4, any_group, ql::offset<float>, float>),
                   (ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>),
                   (ql::scheme<ql::int4, ql::per_tensor>),
                   (ql::scheme<ql::int4, ql::per_tensor, ql::asymmetric, float>),
                   (ql::scheme<ql::int8, group<32>, ql::symmetric, float>), (ql::scheme<ql::int8, group<100>>),
                   (ql::scheme<ql::int8, any_group, ql::asymmetric>), (ql::scheme<ql::int8, any_group, ql::offset<>>),
                   (ql::scheme<ql::int8, ql::per_channel>),
                   (ql::scheme<ql::int8, ql::per_channel, ql::asymmetric, float>),
                   (ql::scheme<ql::int8, ql::per_tensor, ql::offset<float>, float>)) {
  for_random_cases(60, [](random_source& random) {
    const auto scheme = with_size<TestType>(random);
    check<TestType, float>(random, scheme, ql::rtn{});
    check<TestType, ql::float16>(random, scheme, ql::rtn{});
    check<TestType, ql::bfloat16>(random, scheme, ql::rtn{});
  });
}

namespace {
template <class Scale, class Round>
struct rules {
  using scale = Scale;
  using round = Round;
};
}    // namespace

TEMPLATE_TEST_CASE("each named rule agrees with the oracle", "",
                   (rules<ql::scale_rule::absmax, ql::round_rule::half_even>),
                   (rules<ql::scale_rule::absmax, ql::round_rule::half_away>),
                   (rules<ql::scale_rule::absmax_wide, ql::round_rule::half_even>),
                   (rules<ql::scale_rule::absmax_wide, ql::round_rule::half_up_truncate>),
                   (rules<ql::scale_rule::signed_max, ql::round_rule::half_away>),
                   (rules<ql::scale_rule::signed_max, ql::round_rule::half_up_truncate>)) {
  using scale = typename TestType::scale;
  using round = typename TestType::round;
  using contains_zero = ql::zero_rule::contains_zero;
  using raw = ql::zero_rule::raw;
  for_random_cases(40, [](random_source& random) {
    check<ql::scheme<ql::int4, group<32>>, float>(random, {}, ql::basic_rtn<scale, round, contains_zero>{});
    check<ql::scheme<ql::int8, any_group, ql::symmetric, float>, float>(random, {{random.extent(1, 150)}},
                                                                        ql::basic_rtn<scale, round, contains_zero>{});
    check<ql::scheme<ql::int4, any_group, ql::asymmetric>, float>(random, {{random.extent(1, 150)}},
                                                                  ql::basic_rtn<scale, round, raw>{});
    check<ql::scheme<ql::int8, group<8>, ql::asymmetric>, float>(random, {}, ql::basic_rtn<scale, round, raw>{});
    check<ql::scheme<ql::int4, group<100>, ql::offset<>>, float>(random, {}, ql::basic_rtn<scale, round, raw>{});
  });
}

TEMPLATE_TEST_CASE("quantizing what was dequantized changes nothing", "", (ql::scheme<ql::int4, any_group>),
                   (ql::scheme<ql::int4, any_group, ql::symmetric, float>), (ql::scheme<ql::int8, any_group>),
                   (ql::scheme<ql::int8, any_group, ql::symmetric, float>)) {
  // The extreme lands on the code -8 exactly and no other weight passes it, so the scale comes back: for scales that
  // are normal numbers of their type, which round to nearest within 2^-11.
  for_random_cases(60, [](random_source& random) {
    strided_matrix<float> W(random.extent(1, 5), random.extent(1, 300), 0);
    for (std::size_t r = 0; r < W.rows(); ++r)
      for (std::size_t c = 0; c < W.cols(); ++c) W(r, c) = random.normal() + (random.chance(0.5) ? 0.5f : -0.5f);
    const TestType scheme{{random.extent(1, 150)}};
    const auto q = ql::quantize(scheme, W.view(), ql::rtn{});
    ql::dequantize(q, W.view());
    CHECK(same_bytes(q, ql::quantize(scheme, W.view(), ql::rtn{})));
  });
}

TEST_CASE("a zero weight stays zero where the rule promises it") {
  for_random_cases(40, [](random_source& random) {
    strided_matrix<float> W(3, random.extent(1, 200), 1);
    fill(W, random);
    for (std::size_t r = 0; r < 3; ++r) W(r, random.integer(0, W.cols() - 1)) = 0.0f;
    strided_matrix<float> out(3, W.cols(), 0);
    const auto check_zeros = [&](const auto& q) {
      ql::dequantize(q, out.view());
      for (std::size_t r = 0; r < 3; ++r)
        for (std::size_t c = 0; c < W.cols(); ++c)
          if (W(r, c) == 0.0f) CHECK(out(r, c) == 0.0f);
    };
    check_zeros(ql::quantize<ql::scheme<ql::int4, group<32>, ql::asymmetric>>(W.view(), ql::rtn{}));
    check_zeros(ql::quantize<ql::scheme<ql::int8, ql::per_channel, ql::asymmetric>>(W.view(), ql::rtn{}));
    check_zeros(ql::quantize<ql::scheme<ql::int4, group<32>>>(W.view(), ql::rtn{}));
  });
}

TEST_CASE("scales at the ends of float16") {
  using w4 = ql::scheme<ql::int4, ql::per_channel>;
  const auto scale_of = [](float w) {
    return ql::quantize<w4>(ql::matrix_view<const float>(&w, 1, 1), ql::rtn{}).scale(0, 0);
  };
  CHECK(scale_of(-8.0f * 65504.0f) == 65504.0f);
  CHECK(scale_of(8.0f * 65504.0f) == -65504.0f);
  CHECK(scale_of(0.0f) == 0x1p-24f);
  CHECK(scale_of(-0.0f) == 0x1p-24f);
  CHECK(scale_of(-1e-30f) == 0x1p-24f);
  CHECK(scale_of(1e-30f) == -0x1p-24f);
  CHECK(std::abs(scale_of(std::numeric_limits<float>::denorm_min())) == 0x1p-24f);
  using w4_float = ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>;
  float tiny = -std::numeric_limits<float>::denorm_min();
  CHECK(ql::quantize<w4_float>(ql::matrix_view<float>(&tiny, 1, 1), ql::rtn{}).scale(0, 0) ==
        std::numeric_limits<float>::min());
  float huge[2] = {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max()};
  const auto whole = ql::quantize<ql::scheme<ql::int8, ql::per_channel, ql::asymmetric, float>>(
      ql::matrix_view<float>(huge, 1, 2), ql::rtn{});
  CHECK(whole.scale(0, 0) == huge[0] / 255.0f - huge[1] / 255.0f);
  CHECK(whole.code(0, 0) == 127);
  CHECK(whole.code(0, 1) == -128);
}
