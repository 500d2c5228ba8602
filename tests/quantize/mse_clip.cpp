// The clip search: never worse than round to nearest, the best of its grid, and the same for every element type.
#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

// Squared error of each group, in double.
template <class Scheme, class T>
std::vector<double> group_errors(const strided_matrix<T>& W, const ql::quantized_matrix<Scheme>& q) {
  using traits = ql::detail::scheme_traits<Scheme>;
  std::vector<double> errors(q.shape().scale_count(), 0.0);
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) {
      const std::size_t g = traits::grouped ? c / q.group_size() : 0;
      group_numbers numbers;
      numbers.scale = static_cast<double>(q.scale(r, g));
      numbers.offset = static_cast<double>(q.offset(r, g));
      numbers.zero = q.zero_point(r, g);
      const double e = static_cast<double>(W.value(r, c)) - number_of<Scheme>(q.code(r, c), numbers);
      errors[q.view().scale_index(r, g)] += e * e;
    }
  return errors;
}

// The search compares sums of float-rounded errors: a relative 2^-24 per error, twice that per square, and as much for
// an offset's own rounding.
constexpr double slack = 1.0 + 0x1p-20;

}    // namespace

TEMPLATE_TEST_CASE("mse_clip is never worse than round to nearest", "", (ql::scheme<ql::int4, group<32>>),
                   (ql::scheme<ql::int4, any_group, ql::asymmetric>), (ql::scheme<ql::int4, any_group, ql::offset<>>),
                   (ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>),
                   (ql::scheme<ql::int4, ql::per_tensor>), (ql::scheme<ql::int8, group<100>>),
                   (ql::scheme<ql::int8, group<31>, ql::offset<float>, float>)) {
  double before = 0, after = 0;
  for_random_cases(30, [&](random_source& random) {
    strided_matrix<float> W(random.extent(1, 4), random.extent(1, 600), random.integer(0, 2));
    fill(W, random);
    TestType scheme{};
    if constexpr (ql::detail::scheme_traits<TestType>::dynamic_group) scheme.granularity.size = random.extent(1, 150);
    const auto clipped = group_errors(W, ql::quantize(scheme, W.view(), ql::mse_clip{}));
    const auto compare = [&](const auto& method) {
      const auto plain = group_errors(W, ql::quantize(scheme, W.view(), method));
      std::size_t worse = 0;
      for (std::size_t i = 0; i < plain.size(); ++i) worse += clipped[i] > plain[i] * slack;
      CHECK(worse == 0);
      return plain;
    };
    compare(ql::basic_rtn<ql::scale_rule::absmax>{});
    compare(ql::basic_rtn<ql::scale_rule::absmax_wide>{});
    const auto plain = compare(ql::rtn{});
    for (std::size_t i = 0; i < plain.size(); ++i) {
      before += plain[i] > 0 ? 1.0 : 0.0;
      after += plain[i] > 0 ? clipped[i] / plain[i] : 0.0;
    }
  });
  CHECK(after < before);    // on average better
}

TEST_CASE("mse_clip is clearly better where a few weights are far out") {
  random_source random(7);
  strided_matrix<float> W(64, 1024, 0);
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) W(r, c) = random.normal();
  const auto total = [&](const auto& q) {
    double sum = 0;
    for (const double e : group_errors(W, q)) sum += e;
    return sum;
  };
  using w4 = ql::scheme<ql::int4, group<128>>;
  // relative errors 0.0970 and 0.1038 (docs/numerics.md), so squares in the ratio 0.87
  CHECK(total(ql::quantize<w4>(W.view(), ql::mse_clip{})) < 0.9 * total(ql::quantize<w4>(W.view(), ql::rtn{})));
}

TEST_CASE("mse_clip finds the best candidate of its grid") {
  // Every candidate tried here without any of the shortcuts: symmetric groups with float scales, so that no two
  // candidates are stored alike.
  using w4 = ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>;
  for_random_cases(60, [](random_source& random) {
    strided_matrix<float> W(1, random.extent(2, 200), 0);
    fill(W, random);
    const ql::mse_clip method{random.extent(1, 60), 0};
    ql::mse_clip full = method;
    full.steps = random.integer(0, full.grid);
    const std::vector<double> w = group_of<w4>(W, 0, 0, W.cols());
    const auto error_of = [&](double scale) {
      group_numbers g;
      g.scale = stored_scale<float>(scale);
      double sum = 0;
      for (const double x : w) {
        const double e = x - number_of<w4>(code_of<w4>(x, g, round_choice::half_even), g);
        sum += e * e;
      }
      return sum;
    };
    double least = std::numeric_limits<double>::infinity();
    for (const scale_choice rule : {scale_choice::absmax_wide, scale_choice::signed_max})
      least = std::min(least, error_of(fit<w4>(w, rule, false).scale));
    const double widest = fit<w4>(w, scale_choice::absmax, false).scale;
    const bool both_signs = fit<w4>(w, scale_choice::signed_max, false).scale < 0;
    for (std::size_t i = 0; i < full.steps; ++i) {
      const float p = 1.0f - static_cast<float>(i) / static_cast<float>(full.grid);
      const auto scale = static_cast<double>(p * static_cast<float>(widest));
      least = std::min(least, error_of(scale));
      if (both_signs) least = std::min(least, error_of(-scale));
    }
    const double found = group_errors(W, ql::quantize<w4>(W.view(), full))[0];
    CAPTURE(full.grid, full.steps, W.cols());
    CHECK(found <= least * slack);
    CHECK(found * slack >= least);
  });
}

TEST_CASE("mse_clip chooses the same for 16-bit weights and their floats") {
  for_random_cases(30, [](random_source& random) {
    const std::size_t rows = random.extent(1, 4), cols = random.extent(1, 1200);
    const auto check = [&](auto element) {
      using T = decltype(element);
      strided_matrix<T> W(rows, cols, 2);
      fill(W, random);
      strided_matrix<float> copy(rows, cols, 0);
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) copy(r, c) = W.value(r, c);
      using w4 = ql::scheme<ql::int4, any_group>;
      const w4 scheme{{random.extent(1, 900)}};
      const ql::mse_clip method{20, 12};
      CHECK(same_bytes(ql::quantize(scheme, W.view(), method), ql::quantize(scheme, copy.view(), method)));
      using w8 = ql::scheme<ql::int8, ql::per_tensor, ql::asymmetric>;
      CHECK(same_bytes(ql::quantize<w8>(W.view(), method), ql::quantize<w8>(copy.view(), method)));
    };
    check(ql::float16{});
    check(ql::bfloat16{});
  });
}

TEST_CASE("mse_clip refuses a grid that is none") {
  float w = 1;
  using w4 = ql::scheme<ql::int4, group<32>>;
  const ql::matrix_view<float> W{&w, 1, 1};
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::mse_clip{0, 0}); }), ContainsSubstring("grid is 0"));
  CHECK_THAT(refusal_of([&] {
               (void)ql::quantize<w4>(W, ql::mse_clip{10, 11});
             }),
             ContainsSubstring("steps is 11") && ContainsSubstring("10"));
  CHECK(refusal_of([&] { (void)ql::quantize<w4>(W, ql::mse_clip{10, 10}); }).empty());
}
