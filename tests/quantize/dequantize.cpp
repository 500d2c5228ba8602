// dequantize defines the values: random codes, scales, zero points and offsets against the formula in double.
#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

struct backwards {
  std::size_t concurrency() const { return 5; }
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    for (std::size_t i = tasks; i > 0; --i) f(i - 1);
  }
};

// The number, rounded once to float and then to T.
template <class T>
float expected_number(double x) {
  const auto number = static_cast<float>(x);
  if (std::is_same_v<T, float>) return number;
  const bool half = std::is_same_v<T, ql::float16>;
  const double rounded_once =
      half ? to_half(static_cast<double>(number)) : round_to(static_cast<double>(number), 8, -133);
  const double largest = half ? 65504.0 : std::ldexp(255.0, 120);
  return std::abs(rounded_once) > largest
             ? std::copysign(std::numeric_limits<float>::infinity(), static_cast<float>(rounded_once))
             : static_cast<float>(rounded_once);
}

template <class Scheme>
ql::quantized_matrix<Scheme> random_matrix(random_source& random, std::size_t rows, std::size_t cols, Scheme scheme) {
  ql::quantized_matrix<Scheme> q(rows, cols, scheme);
  const auto fill_bytes = [&](std::uint8_t* bytes, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::uint8_t>(random.bits());
  };
  fill_bytes(q.codes(), q.shape().code_bytes());
  fill_bytes(q.zeros(), q.shape().zero_bytes());
  using traits = ql::detail::scheme_traits<Scheme>;
  for (std::size_t i = 0; i < q.shape().scale_count(); ++i) {
    const int exponent = static_cast<int>(random.integer(0, 30)) - 20;
    q.scales()[i] = ql::detail::element<typename traits::scale>::store(std::ldexp(random.normal(), exponent));
    if constexpr (traits::has_offset)
      q.offsets()[i] = ql::detail::element<typename traits::offset_type>::store(std::ldexp(random.normal(), exponent));
  }
  return q;
}

template <class Scheme, class T>
void check(random_source& random, Scheme scheme) {
  using traits = ql::detail::scheme_traits<Scheme>;
  const std::size_t rows = random.extent(1, 6), cols = random.extent(1, 700);
  const auto q = random_matrix(random, rows, cols, scheme);
  strided_matrix<T> out(rows, cols, random.integer(0, 3)), again(rows, cols, 0);
  ql::dequantize(q, out.view());
  ql::dequantize(q.view(), again.view(), backwards{});
  std::size_t wrong = 0, different = 0;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t g = traits::grouped ? c / q.group_size() : 0;
      group_numbers numbers;
      numbers.scale = static_cast<double>(q.scale(r, g));
      numbers.offset = static_cast<double>(q.offset(r, g));
      numbers.zero = q.zero_point(r, g);
      const float expected = expected_number<T>(number_of<Scheme>(q.code(r, c), numbers));
      wrong += out.value(r, c) != expected;
      different += ql::detail::float_bits(out.value(r, c)) != ql::detail::float_bits(again.value(r, c));
    }
  CAPTURE(ql::name<Scheme>(), rows, cols, q.group_size());
  CHECK(wrong == 0);
  CHECK(different == 0);
  CHECK(out.gaps_are_intact());
}

}    // namespace

TEMPLATE_TEST_CASE("dequantize follows the formula", "", (ql::scheme<ql::int4, group<32>>),
                   (ql::scheme<ql::int4, group<1>>), (ql::scheme<ql::int4, any_group>),
                   (ql::scheme<ql::int4, any_group, ql::asymmetric>), (ql::scheme<ql::int4, group<31>, ql::offset<>>),
                   (ql::scheme<ql::int4, ql::per_channel>), (ql::scheme<ql::int4, ql::per_tensor, ql::asymmetric>),
                   (ql::scheme<ql::int4, any_group, ql::offset<float>, float>), (ql::scheme<ql::int8, group<100>>),
                   (ql::scheme<ql::int8, any_group, ql::asymmetric>),
                   (ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>),
                   (ql::scheme<ql::int8, ql::per_tensor, ql::offset<>>)) {
  for_random_cases(60, [](random_source& random) {
    TestType scheme{};
    if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group)
      scheme.granularity.size = random.chance(0.2) ? 1000 : random.extent(1, 150);
    check<TestType, float>(random, scheme);
    check<TestType, ql::float16>(random, scheme);
    check<TestType, ql::bfloat16>(random, scheme);
  });
}

TEST_CASE("many rows are spread over tasks and still the same") {
  random_source random(3);
  using w4 = ql::scheme<ql::int4, group<32>>;
  const auto q = random_matrix(random, 700, 513, w4{});
  strided_matrix<float> a(700, 513, 1), b(700, 513, 0);
  ql::dequantize(q, a.view());
  ql::dequantize(q, b.view(), backwards{});
  std::size_t different = 0;
  for (std::size_t r = 0; r < 700; ++r)
    for (std::size_t c = 0; c < 513; ++c) different += a(r, c) != b(r, c);
  CHECK(different == 0);
}

TEST_CASE("dequantize refuses what does not fit") {
  using w4 = ql::scheme<ql::int4, group<32>>;
  random_source random(1);
  const auto q = random_matrix(random, 3, 40, w4{});
  std::vector<float> out(3 * 40);
  const auto into = [&](ql::matrix_view<float> m) { return refusal_of([&] { ql::dequantize(q, m); }); };
  CHECK(into({out.data(), 3, 40}).empty());
  CHECK_THAT(into({out.data(), 3, 39}), ContainsSubstring("columns of out is 39") && ContainsSubstring("40"));
  CHECK_THAT(into({out.data(), 2, 40}), ContainsSubstring("rows of out is 2") && ContainsSubstring("3"));
  CHECK_THAT(into({nullptr, 3, 40}), ContainsSubstring("out is null"));
  CHECK_THAT(into({out.data(), 3, 40, 39}), ContainsSubstring("row_stride 39"));
  const ql::quantized_view<w4> no_scales{q.shape(), q.codes(), nullptr};
  CHECK_THAT(refusal_of([&] {
               ql::dequantize(no_scales, ql::matrix_view<float>{out.data(), 3, 40});
             }),
             ContainsSubstring("scales is null"));
  const ql::quantized_view<w4> no_codes{q.shape(), nullptr, q.scales()};
  CHECK_THAT(refusal_of([&] {
               ql::dequantize(no_codes, ql::matrix_view<float>{out.data(), 3, 40});
             }),
             ContainsSubstring("codes"));
  using z4 = ql::scheme<ql::int4, group<32>, ql::asymmetric>;
  const ql::quantized_view<z4> no_zeros{{3, 40}, q.codes(), q.scales()};
  CHECK_THAT(refusal_of([&] {
               ql::dequantize(no_zeros, ql::matrix_view<float>{out.data(), 3, 40});
             }),
             ContainsSubstring("zero points is null"));
}
