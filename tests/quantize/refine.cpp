// Refinement: never a larger error than before, nothing left to gain at the end, and the same codes as textbook
// coordinate descent in double.
#include <qlite/core/executors/thread_pool.hpp>

#include <algorithm>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

struct layer {
  strided_matrix<float> W, X;
  ql::hessian H;
  double mean = 0;    // of the live diagonal

  layer(random_source& random, std::size_t n, std::size_t k, std::size_t rows, double dead)
      : W(n, k, random.integer(0, 2)), X(rows, k, random.integer(0, 2)), H(k) {
    std::vector<float> size(k);
    for (float& s : size) s = random.chance(dead) ? 0.0f : random.chance(0.05) ? 20.0f : random.uniform(0.3f, 2.0f);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < k; ++c) W(r, c) = random.normal();
    for (std::size_t r = 0; r < rows; ++r) {
      const float common = random.normal();
      for (std::size_t c = 0; c < k; ++c) X(r, c) = size[c] * (random.normal() + (c % 3 == 0 ? -common : common));
    }
    H.observe(X.view());
    std::size_t live = 0;
    for (std::size_t c = 0; c < k; ++c) {
      mean += H(c, c);
      live += H(c, c) > 0;
    }
    mean = live == 0 ? 1.0 : mean / static_cast<double>(live);
  }
  double h(std::size_t i, std::size_t j, double damping) const { return H(i, j) + (i == j ? damping * mean : 0.0); }
};

// What the codes stand for, as the library decodes them.
template <class Scheme>
std::vector<double> numbers_of(const ql::quantized_matrix<Scheme>& q) {
  std::vector<float> floats(q.rows() * q.cols());
  ql::dequantize(q, ql::matrix_view<float>{floats.data(), q.rows(), q.cols()});
  return {floats.begin(), floats.end()};
}

// d H d^T of every row.
template <class Scheme>
std::vector<double> errors_of(layer& l, const ql::quantized_matrix<Scheme>& q, double damping) {
  const std::size_t k = q.cols();
  const std::vector<double> stored = numbers_of(q);
  std::vector<double> errors(q.rows());
  for (std::size_t r = 0; r < q.rows(); ++r)
    for (std::size_t i = 0; i < k; ++i) {
      const auto d = [&](std::size_t c) { return static_cast<double>(l.W.value(r, c)) - stored[r * k + c]; };
      double sum = 0;
      for (std::size_t j = 0; j < k; ++j) sum += l.h(i, j, damping) * d(j);
      errors[r] += d(i) * sum;
    }
  return errors;
}

// Of the roundings of H to float, and of errors that are small against the weights' own.
constexpr double slack = 1e-5;

// w - ŵ and ŵ are rounded to float: with changes e_c of at most 2^-22 of the weights, an error E may be read as much
// as E + 2 sqrt(E e H e) + e H e, and e H e is at most (sum of e_c sqrt(H_cc))^2.
template <class Scheme>
bool never_worse(layer& l, const ql::quantized_matrix<Scheme>& before, const ql::quantized_matrix<Scheme>& after,
                 double damping) {
  const std::vector<double> a = errors_of(l, before, damping), b = errors_of(l, after, damping);
  double all = 0, all_after = 0;
  bool good = true;
  for (std::size_t r = 0; r < a.size(); ++r) {
    double rounding = 0;
    for (std::size_t c = 0; c < after.cols(); ++c)
      rounding += 0x1p-22 * std::abs(static_cast<double>(l.W.value(r, c))) * std::sqrt(l.h(c, c, damping));
    good = good && b[r] <= a[r] * (1 + slack) + 2 * std::sqrt(a[r]) * rounding + rounding * rounding;
    all += a[r];
    all_after += b[r];
  }
  return good && all_after <= all * (1 + 10 * slack);
}

template <class Scheme>
Scheme some_scheme(random_source& random, std::size_t most) {
  Scheme scheme{};
  if constexpr (ql::detail::scheme_traits<Scheme>::dynamic_group) scheme.granularity.size = random.extent(1, most);
  return scheme;
}

}    // namespace

TEMPLATE_TEST_CASE("refinement never raises the error of a row", "", (ql::scheme<ql::int4, group<32>>),
                   (ql::scheme<ql::int4, any_group>), (ql::scheme<ql::int4, any_group, ql::asymmetric>),
                   (ql::scheme<ql::int4, any_group, ql::offset<>>), (ql::scheme<ql::int4, ql::per_tensor>),
                   (ql::scheme<ql::nl4, any_group>), (ql::scheme<ql::nf4, group<64>, ql::symmetric, float>),
                   (ql::scheme<ql::int8, ql::per_channel>),
                   (ql::scheme<ql::int8, any_group, ql::offset<float>, float>)) {
  for_random_cases(12, [](random_source& random) {
    const std::size_t k = random.extent(1, 300), n = random.extent(1, 60);
    layer l(random, n, k, random.pick({k / 2 + 1, k + 50}), random.pick({0.0, 0.2}));
    const auto scheme = some_scheme<TestType>(random, 300);
    const double damping = random.pick({0.0, 0.01, 0.3});
    ql::gptq rounding(l.H);
    rounding.act_order = random.chance(0.5);
    const auto check = [&](const auto& start) {
      ql::refined method(l.H, start);
      method.damping = damping;
      method.scales = random.chance(0.7);
      const auto before = ql::quantize(scheme, l.W.view(), start);
      method.sweeps = 0;
      CHECK(same_bytes(before, ql::quantize(scheme, l.W.view(), method)));
      method.sweeps = 1;
      const auto once = ql::quantize(scheme, l.W.view(), method);
      CHECK(never_worse(l, before, once, damping));
      method.sweeps = 8;
      CHECK(never_worse(l, once, ql::quantize(scheme, l.W.view(), method), damping));
    };
    check(ql::rtn{});
    check(rounding);
  });
}

TEST_CASE("at the end no code and no scale has a better value, tried one by one") {
  for_random_cases(10, [](random_source& random) {
    const std::size_t k = random.integer(1, 40), n = 5;
    layer l(random, n, k, k + 30, 0.1);
    const ql::scheme<ql::nl4, any_group> scheme{{random.integer(1, 40)}};
    ql::refined method(l.H);
    method.sweeps = 1000;
    auto q = ql::quantize(scheme, l.W.view(), method);
    const std::vector<double> least = errors_of(l, q, method.damping);
    const auto no_better = [&](std::size_t r) {
      CHECK(errors_of(l, q, method.damping)[r] >= least[r] * (1 - slack) - 1e-12 * l.mean);
    };
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t c = 0; c < k; ++c) {
        std::uint8_t& byte = q.codes()[r * q.shape().code_row_bytes() + c / 2];
        const std::uint8_t kept = byte;
        for (int code = 0; code < 16; ++code) {
          byte = static_cast<std::uint8_t>(c % 2 == 0 ? (kept & 0xf0) | code : (kept & 0x0f) | (code << 4));
          no_better(r);
        }
        byte = kept;
      }
      for (std::size_t g = 0; g < q.groups(); ++g) {
        ql::float16& scale = q.scales()[r * q.groups() + g];
        const ql::float16 kept = scale;
        for (int step = -40; step <= 40; ++step) {
          scale = ql::float16::from_bits(static_cast<std::uint16_t>(kept.bits() + step));
          no_better(r);
        }
        scale = kept;
      }
    }
  });
}

TEST_CASE("a layer of few inputs: between the least error of all codes and the start's, mostly the least") {
  std::size_t least_found = 0, rows = 0;
  for_random_cases(20, [&](random_source& random) {
    const std::size_t k = random.integer(1, 3), n = 10;
    layer l(random, n, k, 20, 0.0);
    using scheme = ql::scheme<ql::int4, ql::per_channel>;
    ql::refined method(l.H);
    method.scales = false;
    const auto start = ql::quantize<scheme>(l.W.view(), ql::rtn{});
    const auto q = ql::quantize<scheme>(l.W.view(), method);
    CHECK(never_worse(l, start, q, method.damping));
    const std::vector<double> found = errors_of(l, q, method.damping);
    for (std::size_t r = 0; r < n; ++r) {
      const double s = static_cast<double>(start.scale(r, 0));
      double least = HUGE_VAL;
      for (int all = 0; all < 1 << (4 * k); ++all) {
        double sum = 0;
        for (std::size_t i = 0; i < k; ++i)
          for (std::size_t j = 0; j < k; ++j) {
            const auto d = [&](std::size_t c) {
              return static_cast<double>(l.W.value(r, c)) - s * (((all >> (4 * c)) & 15) - 8);
            };
            sum += d(i) * l.h(i, j, method.damping) * d(j);
          }
        least = std::min(least, sum);
      }
      CHECK(found[r] >= least * (1 - slack));
      if (k == 1) CHECK(found[r] <= least * (1 + slack) + 1e-12);
      least_found += found[r] <= least * (1 + slack) + 1e-12;
      ++rows;
    }
  });
  CHECK(2 * least_found > rows);
}

TEST_CASE("the codes of coordinate descent as the textbook has it, in double") {
  std::size_t equal = 0, rows = 0;
  for_random_cases(12, [&](random_source& random) {
    const std::size_t k = random.extent(2, 300), n = 20;
    layer l(random, n, k, k + 50, 0.1);
    const ql::scheme<ql::int4, any_group, ql::symmetric, float> scheme{{random.extent(1, 300)}};
    ql::refined method(l.H);
    method.scales = false;
    method.sweeps = random.integer(1, 4);
    const auto start = ql::quantize(scheme, l.W.view(), ql::rtn{});
    const auto q = ql::quantize(scheme, l.W.view(), method);
    const std::vector<double> stored = numbers_of(start);
    for (std::size_t r = 0; r < n; ++r) {
      std::vector<double> now(stored.begin() + static_cast<std::ptrdiff_t>(r * k),
                              stored.begin() + static_cast<std::ptrdiff_t>((r + 1) * k));
      std::vector<int> codes(k);
      for (std::size_t c = 0; c < k; ++c) codes[c] = start.code(r, c);
      for (std::size_t sweep = 0; sweep < method.sweeps; ++sweep)
        for (std::size_t c = 0; c < k; ++c) {
          double slope = 0;
          for (std::size_t j = 0; j < k; ++j)
            slope += l.h(j, c, method.damping) * (static_cast<double>(l.W.value(r, j)) - now[j]);
          const double scale = static_cast<double>(start.scale(r, c / start.group_size()));
          const double target = now[c] + slope / l.h(c, c, method.damping);
          codes[c] = static_cast<int>(std::nearbyint(std::min(std::max(target / scale, -8.0), 7.0)));
          now[c] = scale * codes[c];
        }
      bool same = true;
      for (std::size_t c = 0; c < k; ++c) same = same && codes[c] == q.code(r, c);
      equal += same;
      ++rows;
    }
  });
  CHECK(static_cast<double>(equal) > 0.9 * static_cast<double>(rows));    // the others: a tie that floats decide
}

TEST_CASE("without correlations, and where inputs were always 0, codes stay where round to nearest put them") {
  for_random_cases(10, [](random_source& random) {
    const std::size_t k = random.extent(1, 300), n = random.extent(1, 60);
    layer l(random, n, k, k + 20, 0.3);
    ql::hessian diagonal(k);
    for (std::size_t c = 0; c < k; ++c) diagonal(c, c) = l.H(c, c);
    const ql::scheme<ql::int4, any_group, ql::asymmetric> scheme{{random.extent(1, 300)}};
    const auto start = ql::quantize(scheme, l.W.view(), ql::rtn{});
    ql::refined plain(diagonal);
    plain.scales = false;
    plain.damping = random.pick({0.0, 0.01});
    CHECK(same_bytes(start, ql::quantize(scheme, l.W.view(), plain)));
    ql::refined method(l.H);
    method.scales = false;
    method.damping = plain.damping;
    const auto q = ql::quantize(scheme, l.W.view(), method);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < k; ++c)
        if (!(l.H(c, c) > 0)) CHECK(q.code(r, c) == start.code(r, c));
  });
}

TEST_CASE("it helps: after round to nearest by half, after gptq by some percent") {
  for_random_cases(4, [](random_source& random) {
    layer l(random, 64, 256, 600, 0.0);
    using scheme = ql::scheme<ql::nl4, group<64>>;
    const auto total = [&](const auto& q) {
      double sum = 0;
      for (const double e : errors_of(l, q, 0.01)) sum += e;
      return sum;
    };
    ql::gptq rounding(l.H, ql::mse_clip{});
    rounding.act_order = true;
    CHECK(total(ql::quantize<scheme>(l.W.view(), ql::refined(l.H))) <
          0.6 * total(ql::quantize<scheme>(l.W.view(), ql::rtn{})));
    CHECK(total(ql::quantize<scheme>(l.W.view(), ql::refined(l.H, rounding))) <
          0.99 * total(ql::quantize<scheme>(l.W.view(), rounding)));
  });
}

TEST_CASE("the same codes for any number of threads, any element type and any size of the Hessian") {
  for_random_cases(6, [](random_source& random) {
    const std::size_t k = random.extent(100, 400), n = random.extent(100, 700);
    layer l(random, 1, k, k + 50, 0.05);
    strided_matrix<ql::bfloat16> W(n, k, 1);
    strided_matrix<float> copy(n, k, 0);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < k; ++c) {
        W(r, c) = ql::bfloat16::from_float(random.normal());
        copy(r, c) = W.value(r, c);
      }
    ql::hessian huge(k);    // far beyond the range of floats
    for (std::size_t i = 0; i < k; ++i)
      for (std::size_t j = i; j < k; ++j) huge(i, j) = l.H(i, j) * 0x1p600;
    const ql::scheme<ql::int4, any_group, ql::offset<>> scheme{{random.extent(8, 300)}};
    const ql::thread_pool two(2), five(5);
    const auto one = ql::quantize(scheme, W.view(), ql::refined(l.H));
    CHECK(same_bytes(one, ql::quantize(scheme, W.view(), ql::refined(l.H), two)));
    CHECK(same_bytes(one, ql::quantize(scheme, copy.view(), ql::refined(l.H), five)));
    CHECK(same_bytes(one, ql::quantize(scheme, copy.view(), ql::refined(huge))));
    CHECK(W.gaps_are_intact());
  });
}

TEST_CASE("refined takes matrices without rows and columns, and refuses what it cannot use") {
  using w4 = ql::scheme<ql::int4, group<8>>;
  float w[18];
  random_source random(4);
  for (float& x : w) x = random.normal();
  ql::hessian none(0), H(9);
  CHECK(ql::quantize<w4>(ql::matrix_view<const float>{w, 4, 0}, ql::refined(none)).rows() == 4);
  CHECK(ql::quantize<w4>(ql::matrix_view<const float>{nullptr, 0, 9}, ql::refined(H)).cols() == 9);
  const ql::matrix_view<const float> W{w, 2, 9}, narrow{w, 2, 8};
  CHECK(same_bytes(ql::quantize<w4>(W, ql::refined(H)), ql::quantize<w4>(W, ql::refined(H, ql::gptq(H)))));
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(narrow, ql::refined(H)); }),
             ContainsSubstring("the columns of the Hessian is 9, expected 8"));
  ql::refined method(H);
  method.damping = -1;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }), ContainsSubstring("refined.damping is -1"));
  H(2, 3) = std::nan("");
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::refined(H)); }),
             ContainsSubstring("element (2, 3) of the Hessian is"));
  H(2, 3) = 0;
  H(4, 4) = -1;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::refined(H)); }),
             ContainsSubstring("element (4, 4) of the Hessian is -1"));
  H(4, 4) = 1;
  w[10] = std::nanf("");
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::refined(H)); }),
             ContainsSubstring("W has nan at row 1, column 1"));
}
