// The entry points: shapes, executors, memory of the caller's, methods of the user's own, and what is refused.
#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;
using w4 = ql::scheme<ql::int4, group<32>>;
using w8 = ql::scheme<ql::int8, ql::per_channel>;

namespace {

// Runs tasks backwards, as if the last one were always the fastest.
struct backwards {
  std::size_t most = 3;
  std::size_t concurrency() const { return most; }
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    REQUIRE(tasks <= most);
    for (std::size_t i = tasks; i > 0; --i) f(i - 1);
  }
};

template <class T>
strided_matrix<T> filled(random_source& random, std::size_t rows, std::size_t cols, std::size_t gap) {
  strided_matrix<T> W(rows, cols, gap);
  fill(W, random);
  return W;
}

}    // namespace

TEMPLATE_TEST_CASE("any executor gives the same bytes", "", float, ql::float16, ql::bfloat16) {
  for_random_cases(20, [](random_source& random) {
    // large enough for several tasks
    auto W = filled<TestType>(random, random.integer(100, 400), random.integer(700, 900), random.integer(0, 2));
    const backwards executor{random.integer(1, 400)};
    const auto check = [&](auto scheme) {
      CHECK(same_bytes(ql::quantize(scheme, W.view(), ql::rtn{}), ql::quantize(scheme, W.view(), ql::rtn{}, executor)));
    };
    check(w4{});
    check(ql::scheme<ql::int4, any_group, ql::asymmetric>{{random.extent(1, 150)}});
    check(ql::scheme<ql::int8, ql::per_tensor>{});
  });
}

TEST_CASE("a run-time group size means what the same size at compile time means") {
  for_random_cases(20, [](random_source& random) {
    auto W = filled<float>(random, random.extent(1, 5), random.extent(1, 500), 0);
    const auto a = ql::quantize<w4>(W.view(), ql::rtn{});
    const auto b = ql::quantize(ql::scheme<ql::int4, any_group>{{32}}, W.view(), ql::rtn{});
    REQUIRE(b.group_size() == 32);
    CHECK(std::memcmp(a.codes(), b.codes(), a.shape().code_bytes()) == 0);
    CHECK(std::memcmp(a.scales(), b.scales(), a.shape().scale_bytes()) == 0);
  });
}

TEST_CASE("views of mutable and of const weights are taken alike") {
  std::vector<float> w(3 * 40, 0.5f);
  const ql::matrix_view<float> W{w.data(), 3, 40};
  const ql::matrix_view<const float> C = W;
  CHECK(same_bytes(ql::quantize<w4>(W, ql::rtn{}), ql::quantize<w4>(C, ql::rtn{})));
  CHECK(same_bytes(ql::quantize<w4>(W, ql::mse_clip{}), ql::quantize(w4{}, C, ql::mse_clip{})));
}

TEST_CASE("empty matrices are fine") {
  const auto none = ql::quantize<w4>(ql::matrix_view<float>{}, ql::rtn{});
  CHECK(none.rows() == 0);
  CHECK(none.bytes() == 0);
  const auto no_rows = ql::quantize<w8>(ql::matrix_view<const ql::float16>{nullptr, 0, 9}, ql::rtn{}, backwards{});
  CHECK(no_rows.cols() == 9);
  const auto no_columns = ql::quantize<w8>(ql::matrix_view<const float>{nullptr, 9, 0}, ql::rtn{});
  CHECK(no_columns.rows() == 9);
  const auto one_scale =
      ql::quantize<ql::scheme<ql::int8, ql::per_tensor>>(ql::matrix_view<float>{nullptr, 0, 9}, ql::mse_clip{});
  REQUIRE(one_scale.shape().scale_count() == 1);
  CHECK(one_scale.scale(0, 0) == 0x1p-24f);
  std::vector<float> out(1);
  ql::dequantize(none, ql::matrix_view<float>{});
  ql::dequantize(no_columns, ql::matrix_view<float>{out.data(), 9, 0});
}

TEST_CASE("quantize_into fills the caller's memory with the same bytes") {
  for_random_cases(20, [](random_source& random) {
    auto W = filled<float>(random, random.extent(1, 5), random.extent(1, 300), 1);
    const auto check = [&](auto scheme) {
      using Scheme = decltype(scheme);
      const ql::canonical_layout<Scheme> shape{W.rows(), W.cols(), scheme};
      std::vector<std::uint8_t> codes(shape.code_bytes() + 1, 0xee), zeros(shape.zero_bytes() + 1, 0xee);
      std::vector<typename ql::quantized_matrix<Scheme>::scale_type> scales(shape.scale_count());
      std::vector<typename ql::quantized_matrix<Scheme>::offset_type> offsets(shape.scale_count());
      const ql::quantized_target<Scheme> target{shape, codes.data(), scales.data(), zeros.data(), offsets.data()};
      ql::quantize_into(W.view(), ql::rtn{}, target);
      CHECK(same_bytes(target.view(), ql::quantize(scheme, W.view(), ql::rtn{}).view()));
      CHECK((codes.back() == 0xee && zeros.back() == 0xee));    // nothing beyond the end
    };
    check(ql::scheme<ql::int4, any_group>{{random.extent(1, 50)}});
    check(ql::scheme<ql::int4, any_group, ql::asymmetric, float>{{random.extent(1, 50)}});
    check(ql::scheme<ql::int8, ql::per_channel, ql::offset<>>{});
  });
}

TEST_CASE("quantize_into refuses a destination that does not fit") {
  std::vector<float> w(2 * 40, 1.0f);
  const ql::matrix_view<float> W{w.data(), 2, 40};
  std::vector<std::uint8_t> codes(40);
  std::vector<ql::float16> scales(5);
  const auto into = [&](std::size_t rows, std::size_t cols, std::uint8_t* code, ql::float16* scale) {
    return refusal_of([&] { ql::quantize_into(W, ql::rtn{}, ql::quantized_target<w4>{{rows, cols}, code, scale}); });
  };
  CHECK(into(2, 40, codes.data(), scales.data()).empty());
  CHECK_THAT(into(2, 39, codes.data(), scales.data()), ContainsSubstring("39") && ContainsSubstring("40"));
  CHECK_THAT(into(1, 40, codes.data(), scales.data()), ContainsSubstring("rows") && ContainsSubstring("2"));
  CHECK_THAT(into(2, 40, nullptr, scales.data()), ContainsSubstring("codes") && ContainsSubstring("null"));
  CHECK_THAT(into(2, 40, codes.data(), nullptr), ContainsSubstring("scales") && ContainsSubstring("null"));
  auto* const odd = reinterpret_cast<ql::float16*>(reinterpret_cast<std::uintptr_t>(scales.data()) + 1);
  CHECK_THAT(into(2, 40, codes.data(), odd), ContainsSubstring("multiple of 2"));
}

TEMPLATE_TEST_CASE("NaN and infinity are named with their place", "", w4, w8, (ql::scheme<ql::int8, ql::per_tensor>),
                   (ql::scheme<ql::int4, any_group, ql::asymmetric>), (ql::scheme<ql::int4, group<8>, ql::offset<>>)) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto check = [](auto element, float bad, const char* text) {
    using T = decltype(element);
    for_random_cases(15, [&](random_source& random) {
      const std::size_t rows = random.integer(1, 300), cols = random.extent(1, 300);
      strided_matrix<T> W(rows, cols, 1);    // NaN between the rows is nobody's business
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) W(r, c) = ql::detail::element<T>::store(random.normal());
      TestType scheme{};
      if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group) scheme.granularity.size = random.extent(1, 60);
      CHECK(refusal_of([&] { (void)ql::quantize(scheme, W.view(), ql::rtn{}); }).empty());

      const std::size_t r = random.integer(0, rows - 1), c = random.integer(0, cols - 1);
      W(r, c) = ql::detail::element<T>::store(bad);
      if (r + 1 < rows) W(random.integer(r + 1, rows - 1), 0) = W(r, c);    // of several, the first row is named
      const std::string place = " at row " + std::to_string(r) + ", column " + std::to_string(c) + ";";
      const auto message = refusal_of([&] { (void)ql::quantize(scheme, W.view(), ql::rtn{}, backwards{}); });
      CHECK_THAT(message, ContainsSubstring(std::string("W has ") + text + place));
      CHECK(refusal_of([&] { (void)ql::quantize(scheme, W.view(), ql::mse_clip{5, 3}); }) == message);
    });
  };
  check(float{}, std::numeric_limits<float>::quiet_NaN(), "nan");
  check(float{}, -std::numeric_limits<float>::quiet_NaN(), "nan");
  check(float{}, infinity, "inf");
  check(ql::float16{}, -infinity, "-inf");
  check(ql::bfloat16{}, infinity, "inf");
}

TEST_CASE("numbers that do not fit their type are named with their place") {
  std::vector<float> w(3 * 64, 1.0f);
  w[64 + 40] = 8.0f * 65520.0f;    // rounds to 65536
  const ql::matrix_view<float> W{w.data(), 3, 64};
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::rtn{}); }),
             ContainsSubstring("scale") && ContainsSubstring("row 1, column 32") && ContainsSubstring("-65520") &&
                 ContainsSubstring("float16"));
  CHECK(refusal_of([&] {
          (void)ql::quantize<ql::scheme<ql::int4, group<32>, ql::symmetric, float>>(W, ql::rtn{});
        }).empty());
  for (float& x : w) x = 70000.0f;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<ql::scheme<ql::int4, group<32>, ql::offset<>>>(W, ql::rtn{}); }),
             ContainsSubstring("offset") && ContainsSubstring("row 0, column 0") && ContainsSubstring("70000"));
  CHECK(refusal_of([&] {
          (void)ql::quantize<ql::scheme<ql::int4, group<32>, ql::offset<float>>>(W, ql::rtn{});
        }).empty());
}

TEST_CASE("views that cannot be read are refused") {
  std::vector<float> w(64, 1.0f);
  const auto refuse = [](ql::matrix_view<const float> W) {
    return refusal_of([&] { (void)ql::quantize<w4>(W, ql::rtn{}); });
  };
  CHECK_THAT(refuse({nullptr, 2, 32}), ContainsSubstring("W is null"));
  CHECK_THAT(refuse({w.data(), 2, 32, 31}), ContainsSubstring("row_stride 31") && ContainsSubstring("32"));
  CHECK_THAT(refuse({w.data(), std::size_t{1} << 40, std::size_t{1} << 40}), ContainsSubstring("address space"));
  auto* const odd = reinterpret_cast<const float*>(reinterpret_cast<std::uintptr_t>(w.data()) + 2);
  CHECK_THAT(refuse({odd, 1, 32}), ContainsSubstring("multiple of 4"));
  CHECK_THAT(refusal_of([&] {
               (void)ql::quantize<ql::scheme<ql::int4, any_group>>(ql::matrix_view<float>{w.data(), 2, 32}, ql::rtn{});
             }),
             ContainsSubstring("group size") && ContainsSubstring("is 0"));
}

// Methods of a user's own, in the user's own namespace.
namespace mine {

// Group-local: every scale is the same.
struct fixed_scale {
  using round_type = ql::round_rule::half_away;
  float scale;
};
template <class Scheme, class Group>
ql::group_parameters<Scheme> fit_group(const fixed_scale& method, Scheme, const Group&) {
  return ql::impl::symmetric_parameters<Scheme>(method.scale);
}

// Whole-matrix: all codes are 3.
struct threes {};
template <class Scheme, class T, class Executor>
ql::quantized_matrix<Scheme> quantize_matrix(const threes&, Scheme scheme, ql::matrix_view<const T> W,
                                             const Executor&) {
  ql::quantized_matrix<Scheme> q(W.rows(), W.cols(), scheme);
  for (std::size_t i = 0; i < q.shape().code_bytes(); ++i) q.codes()[i] = 3;
  for (std::size_t i = 0; i < q.shape().scale_count(); ++i) q.scales()[i] = ql::float16::from_float(1.0f);
  return q;
}

}    // namespace mine

TEST_CASE("methods plug in without a change to the library") {
  std::vector<float> w{0.0f, 0.5f, -0.5f, 1.4f, 2.5f, 100.0f, -100.0f, -3.5f};
  const ql::matrix_view<float> W{w.data(), 2, 4};
  const auto q = ql::quantize<w8>(W, mine::fixed_scale{1.0f});
  const int expected[] = {0, 1, -1, 1, 3, 100, -100, -4};
  for (std::size_t i = 0; i < 8; ++i) CHECK(q.code(i / 4, i % 4) == expected[i]);
  CHECK(ql::quantize<w4>(W, mine::fixed_scale{1.0f}).code(1, 1) == 7);
  CHECK(ql::quantize<w8>(W, mine::threes{}).code(1, 3) == 3);
}
