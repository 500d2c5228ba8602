// GPTQ against round to nearest where they must agree, and against the published algorithm in double, inverse and all.
#include <qlite/core/executors/thread_pool.hpp>

#include <algorithm>
#include <numeric>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using qlite_test::refusal_of;

namespace {

using wide = std::vector<std::vector<double>>;

template <class Scheme>
Scheme some_scheme(random_source& random, std::size_t most, std::size_t least = 1) {
  Scheme scheme{};
  if constexpr (ql::detail::scheme_traits<Scheme>::dynamic_group) scheme.granularity.size = random.extent(least, most);
  return scheme;
}

// Correlated inputs; some columns are large, some are always 0.
strided_matrix<float> inputs(random_source& random, std::size_t rows, std::size_t k, double dead) {
  strided_matrix<float> X(rows, k, random.integer(0, 2));
  std::vector<float> size(k);
  for (float& s : size) s = random.chance(dead) ? 0.0f : random.chance(0.05) ? 20.0f : random.uniform(0.3f, 2.0f);
  for (std::size_t r = 0; r < rows; ++r) {
    const float common = random.normal();
    for (std::size_t c = 0; c < k; ++c) X(r, c) = size[c] * (random.normal() + (c % 3 == 0 ? -common : common));
  }
  return X;
}

strided_matrix<float> weights(random_source& random, std::size_t n, std::size_t k) {
  strided_matrix<float> W(n, k, random.integer(0, 2));
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < k; ++c) W(r, c) = random.normal();
  return W;
}

// Cholesky's factor L of A = L Lᵀ, textbook loops.
wide lower_factor(const wide& A) {
  const std::size_t n = A.size();
  wide L(n, std::vector<double>(n));
  for (std::size_t j = 0; j < n; ++j)
    for (std::size_t i = j; i < n; ++i) {
      double sum = A[i][j];
      for (std::size_t k = 0; k < j; ++k) sum -= L[i][k] * L[j][k];
      L[i][j] = i == j ? std::sqrt(sum) : sum / L[j][j];
    }
  return L;
}
wide inverse_of(const wide& A) {    // through L: columns of the identity
  const wide L = lower_factor(A);
  const std::size_t n = A.size();
  wide inverse(n, std::vector<double>(n));
  for (std::size_t c = 0; c < n; ++c) {
    std::vector<double> x(n);
    for (std::size_t i = 0; i < n; ++i) {
      double sum = i == c ? 1 : 0;
      for (std::size_t k = 0; k < i; ++k) sum -= L[i][k] * x[k];
      x[i] = sum / L[i][i];
    }
    for (std::size_t i = n; i-- > 0;) {
      for (std::size_t k = i + 1; k < n; ++k) x[i] -= L[k][i] * x[k];
      x[i] /= L[i][i];
    }
    for (std::size_t i = 0; i < n; ++i) inverse[i][c] = x[i];
  }
  return inverse;
}

struct published_options {
  bool act_order = false, static_groups = false;
  enum { stale, fresh } groups = stale;    // `fresh`: the groups' weights brought up to date first
  bool zero_dead = true;
  double damping = 0.01;
};

// One run of GPTQ (IST-DASLab/gptq, gptq.py, fasterquant) on one row, in double: damping, inverse of the Hessian, its
// upper Cholesky factor, blocks of 128 columns with lazy updates of those behind. What it rounds and what it rounds to.
// `whole` is the row before weights of dead columns were set to 0: what a scale for all of it is chosen from.
struct published_row {
  std::vector<double> before;    // the rounding, in the matrix's order of columns
  std::vector<int> codes;
  std::vector<group_numbers> groups;
};
template <class Scheme>
published_row published(std::vector<double> w, const std::vector<double>& whole,
                        const wide& Hinv /* upper factor, permuted */, const std::vector<std::size_t>& order,
                        std::size_t group_size, scale_choice rule, const published_options& options) {
  const std::size_t n = w.size();
  published_row out;
  out.before.resize(n);
  out.codes.resize(n);
  out.groups.resize((n + group_size - 1) / group_size);
  const auto fit_from = [&](const std::vector<double>& v, std::size_t begin) {
    std::vector<double> group;
    for (std::size_t c = begin; c < std::min(begin + group_size, n); ++c)
      group.push_back(static_cast<double>(static_cast<float>(v[c])));    // fitted as floats
    return fit<Scheme>(group, rule, true);
  };
  const bool ahead = options.static_groups || options.act_order || out.groups.size() == 1;
  if (ahead)
    for (std::size_t g = 0; g < out.groups.size(); ++g)
      out.groups[g] = fit_from(ql::detail::scheme_traits<Scheme>::grouped ? w : whole, g * group_size);
  std::vector<double> v(n);
  for (std::size_t k = 0; k < n; ++k) v[k] = w[order[k]];
  for (std::size_t begin = 0; begin < n; begin += 128) {
    const std::size_t end = std::min(begin + 128, n);
    std::vector<double> errors(end - begin),
        block(v.begin() + static_cast<std::ptrdiff_t>(begin), v.begin() + static_cast<std::ptrdiff_t>(end));
    for (std::size_t k = begin; k < end; ++k) {
      const std::size_t c = order[k];
      if (!ahead && k % group_size == 0) {
        std::vector<double> now = v;
        if (options.groups == published_options::fresh) {
          for (std::size_t j = k; j < n; ++j) {
            if (j < end)
              now[j] = block[j - begin];
            else
              for (std::size_t i = begin; i < k; ++i) now[j] -= errors[i - begin] * Hinv[i][j];
          }
        }
        out.groups[k / group_size] = fit_from(now, k);
      }
      const group_numbers& g = out.groups[c / group_size];
      out.before[c] = block[k - begin];
      out.codes[c] =
          code_of<Scheme>(static_cast<double>(static_cast<float>(block[k - begin])), g, round_choice::half_even);
      const double e = (block[k - begin] - number_of<Scheme>(out.codes[c], g)) / Hinv[k][k];
      for (std::size_t j = k; j < end; ++j) block[j - begin] -= e * Hinv[k][j];
      errors[k - begin] = e;
    }
    for (std::size_t j = end; j < n; ++j)
      for (std::size_t i = begin; i < end; ++i) v[j] -= errors[i - begin] * Hinv[i][j];
  }
  return out;
}

// How far a weight is from where its code would change, in steps.
template <class Scheme>
double distance_from_tie(double w, const group_numbers& g) {
  const double x = (w - g.offset) / g.scale;
  return std::abs(std::abs(x - std::floor(x)) - 0.5);
}

// Compares the library with the published algorithm, row by row: equal until the first column where they differ, and
// there the weight must lie so near to a tie, or the group's numbers so near to a rounding, that float decides. Returns
// the share of equal rows.
template <class Scheme>
double compare(random_source& random, const published_options& options, std::size_t k, std::size_t n, double dead) {
  using traits = ql::detail::scheme_traits<Scheme>;
  strided_matrix<float> W = weights(random, n, k), X = inputs(random, k + random.integer(20, 200), k, dead);
  // Not smaller: corrections that nearly cancel a lone weight leave a scale without correct digits.
  const Scheme scheme = some_scheme<Scheme>(random, 300, 4);
  ql::hessian H(k);
  H.observe(X.view());
  H.observe(ql::matrix_view<const float>{X.view().data(), 0, k, X.view().row_stride()});    // a batch of nothing

  std::vector<std::size_t> order(k);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (options.act_order)
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return H(a, a) > H(b, b); });
  const double samples = static_cast<double>(H.batches());
  wide A(k, std::vector<double>(k));
  double mean = 0;
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j) A[i][j] = 2 / samples * H(order[i], order[j]);
  std::vector<bool> is_dead(k);
  std::size_t live = 0;
  for (std::size_t i = 0; i < k; ++i) {
    is_dead[order[i]] = A[i][i] == 0;
    live += A[i][i] != 0;
    if (A[i][i] == 0) A[i][i] = options.zero_dead ? 1 : 0;
    mean += A[i][i];
  }
  mean /= static_cast<double>(options.zero_dead ? k : live);
  for (std::size_t i = 0; i < k; ++i) A[i][i] += (A[i][i] == 0 ? 1 : 0) + options.damping * mean;
  const wide inverse = inverse_of(A);
  const wide lower = lower_factor(inverse);
  wide upper(k, std::vector<double>(k));
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = i; j < k; ++j) upper[i][j] = lower[j][i];

  using rule = ql::scale_rule::absmax_wide;
  ql::gptq<ql::basic_rtn<rule>> method(H);
  method.damping = options.damping;
  method.act_order = options.act_order;
  method.groups = options.static_groups                        ? ql::gptq_groups::original
                  : options.groups == published_options::stale ? ql::gptq_groups::reference
                                                               : ql::gptq_groups::fresh;
  const auto q = ql::quantize(scheme, W.view(), method);
  const std::size_t group_size = q.group_size();

  std::size_t equal = 0;
  for (std::size_t r = 0; r < n; ++r) {
    std::vector<double> w(k), whole(k);
    for (std::size_t c = 0; c < k; ++c) {
      whole[c] = W.value(r, c);
      w[c] = options.zero_dead && is_dead[c] ? 0.0 : whole[c];
    }
    const published_row row = published<Scheme>(w, whole, upper, order, group_size, choice_of_scale<rule>, options);
    bool same = true;
    for (std::size_t i = 0; i < k && same; ++i) {
      const std::size_t c = order[i], g = c / group_size;
      const double scale = q.scale(r, g), close = row.groups[g].scale;
      // Float errors of the weights, 2^-24 of a few, against steps of at least 1/8 of the weights' size for int4 and
      // 1/128 for int8: 1e-4 of a step is ten times what they can be.
      const double near = traits::bits == 4 ? 1e-4 : 2e-3;
      if (scale != close) {
        const bool exact = std::is_same_v<typename traits::scale, float>;
        // weights of at most 5 with corrections of as much, off by a few 2^-24 of that, over 7.5 steps; or one float16
        // up
        CHECK(std::abs(scale - close) < (exact ? 1e-6 : 2e-3 * std::abs(close)));
        if (!std::is_same_v<typename traits::scale, float>)
          same = false;    // rounded to another float16: the row parts
      }
      if (q.zero_point(r, g) != row.groups[g].zero || q.offset(r, g) != static_cast<float>(row.groups[g].offset)) {
        CHECK(std::abs(q.zero_point(r, g) - row.groups[g].zero) <= 1);
        same = false;
      }
      if (same && q.code(r, c) != row.codes[c]) {
        CAPTURE(r, c, i, q.code(r, c), row.codes[c], row.before[c], scale);
        CHECK(std::abs(q.code(r, c) - row.codes[c]) == 1);
        CHECK(distance_from_tie<Scheme>(row.before[c], row.groups[g]) < near);
        same = false;
      }
    }
    equal += same;
  }
  return static_cast<double>(equal) / static_cast<double>(n);
}

// `compare` holds the first difference of every row to what rounding can explain. That the comparison is not empty,
// most rows having no such tie, is all that the share says.
constexpr double mostly = 0.9;

template <class Scheme>
double equal_rows(std::uint64_t cases, const published_options& options) {
  double share = 0, count = 0;
  for_random_cases(cases, [&](random_source& random) {
    share += compare<Scheme>(random, options, random.extent(2, 300), random.extent(1, 40), random.pick({0.0, 0.1}));
    count += 1;
  });
  return share / count;
}

}    // namespace

TEMPLATE_TEST_CASE("gptq without correlations is round to nearest, bit for bit", "", (ql::scheme<ql::int4, group<32>>),
                   (ql::scheme<ql::int4, any_group, ql::asymmetric>), (ql::scheme<ql::int4, any_group, ql::offset<>>),
                   (ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>),
                   (ql::scheme<ql::int8, ql::per_tensor>), (ql::scheme<ql::int8, any_group>),
                   (ql::scheme<ql::int8, group<31>, ql::offset<float>, float>)) {
  for_random_cases(25, [](random_source& random) {
    const auto check = [&](auto element) {
      using T = decltype(element);
      const std::size_t k = random.extent(1, 400);
      strided_matrix<T> W(random.extent(1, 70), k, random.integer(0, 2));
      fill(W, random);
      ql::hessian H(k);
      for (std::size_t c = 0; c < k; ++c)
        H(c, c) = random.chance(0.1) ? 0.0 : std::exp(4.0 * static_cast<double>(random.normal()));
      const auto scheme = some_scheme<TestType>(random, 300);
      ql::gptq method(H);
      ql::gptq clipped(H, ql::mse_clip{10, 8});
      method.act_order = clipped.act_order = random.chance(0.3);
      method.groups = clipped.groups = random.pick({ql::gptq_groups::fresh, ql::gptq_groups::original});
      CHECK(same_bytes(ql::quantize(scheme, W.view(), method), ql::quantize(scheme, W.view(), ql::rtn{})));
      CHECK(same_bytes(ql::quantize(scheme, W.view(), clipped), ql::quantize(scheme, W.view(), ql::mse_clip{10, 8})));
    };
    if (random.chance(0.3))
      check(ql::bfloat16{});
    else
      check(0.0f);
  });
}

TEST_CASE("reference mode: the codes of the published algorithm, run in double") {
  published_options stale;
  CHECK(equal_rows<ql::scheme<ql::int4, any_group, ql::symmetric, float>>(12, stale) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int4, group<32>, ql::symmetric, float>>(8, stale) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int4, group<128>, ql::asymmetric, float>>(8, stale) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>>(8, stale) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int4, ql::per_channel, ql::asymmetric, float>>(8, stale) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int8, any_group, ql::symmetric, float>>(8, stale) > mostly);
}

TEST_CASE("reference mode: the scale of a row is chosen before dead columns are set to 0, that of a group after") {
  const float w[2] = {1.0f, 4.0f}, x[2] = {1.0f, 0.0f};
  const ql::matrix_view<const float> W{w, 1, 2};
  ql::hessian H(2);
  H.observe(ql::matrix_view<const float>{x, 1, 2});
  ql::gptq<ql::basic_rtn<ql::scale_rule::absmax_wide>> method(H);
  method.groups = ql::gptq_groups::reference;
  const auto row = ql::quantize<ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>>(W, method);
  CHECK(row.scale(0, 0) == 4.0f / 7.5f);
  CHECK(row.code(0, 0) == 2);    // 1.875 steps
  CHECK(row.code(0, 1) == 0);
  const auto groups = ql::quantize<ql::scheme<ql::int4, group<2>, ql::symmetric, float>>(W, method);
  CHECK(groups.scale(0, 0) == 1.0f / 7.5f);
  CHECK(groups.code(0, 0) == 7);
  CHECK(groups.code(0, 1) == 0);
}

TEST_CASE("fresh groups, static groups and act-order agree with the published algorithm extended by them") {
  published_options fresh;
  fresh.groups = published_options::fresh;
  fresh.zero_dead = false;
  CHECK(equal_rows<ql::scheme<ql::int4, any_group, ql::symmetric, float>>(12, fresh) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int4, group<48>, ql::asymmetric, float>>(8, fresh) > mostly);
  published_options fixed;
  fixed.static_groups = true;
  fixed.zero_dead = false;
  CHECK(equal_rows<ql::scheme<ql::int4, any_group>>(8, fixed) > mostly);
  published_options ordered = fixed;
  ordered.act_order = true;
  CHECK(equal_rows<ql::scheme<ql::int4, any_group>>(8, ordered) > mostly);
  CHECK(equal_rows<ql::scheme<ql::int8, group<64>>>(8, ordered) > mostly);
}

TEST_CASE("gptq lowers the error of the outputs") {
  for_random_cases(6, [](random_source& random) {
    const std::size_t k = 192, n = 40;
    strided_matrix<float> W = weights(random, n, k), X = inputs(random, 600, k, 0.0);
    ql::hessian H(k);
    H.observe(X.view());
    using w4 = ql::scheme<ql::int4, group<64>>;
    const auto error = [&](const auto& q) {    // (w' - w) H (w' - w)ᵀ
      double sum = 0;
      for (std::size_t r = 0; r < n; ++r)
        for (std::size_t a = 0; a < k; ++a)
          for (std::size_t b = 0; b < k; ++b) {
            const auto off = [&](std::size_t c) {
              return static_cast<double>(q.code(r, c)) * static_cast<double>(q.scale(r, c / 64)) -
                     static_cast<double>(W.value(r, c));
            };
            sum += off(a) * H(a, b) * off(b);
          }
      return sum;
    };
    const double plain = error(ql::quantize<w4>(W.view(), ql::rtn{}));
    ql::gptq method(H);
    CHECK(error(ql::quantize<w4>(W.view(), method)) < 0.6 * plain);
    method.act_order = true;
    CHECK(error(ql::quantize<w4>(W.view(), method)) < 0.6 * plain);
  });
}

TEST_CASE("gptq gives the same codes for any number of threads and any element type") {
  for_random_cases(8, [](random_source& random) {
    const std::size_t k = random.extent(100, 500), n = random.extent(100, 700);
    strided_matrix<float> X = inputs(random, k + 50, k, 0.05);
    strided_matrix<ql::bfloat16> W(n, k, 1);
    fill(W, random);
    strided_matrix<float> copy(n, k, 0);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < k; ++c) copy(r, c) = W.value(r, c);
    ql::hessian H(k);
    H.observe(X.view());
    const ql::scheme<ql::int4, any_group, ql::asymmetric> scheme{{random.extent(8, 300)}};
    ql::gptq method(H);
    method.groups = random.pick({ql::gptq_groups::fresh, ql::gptq_groups::reference, ql::gptq_groups::original});
    const ql::thread_pool two(2), five(5);
    const auto one = ql::quantize(scheme, W.view(), method);
    CHECK(same_bytes(one, ql::quantize(scheme, W.view(), method, two)));
    CHECK(same_bytes(one, ql::quantize(scheme, copy.view(), method, five)));
    CHECK(W.gaps_are_intact());
  });
}

TEST_CASE("damping grows until the Hessian is positive definite") {
  const std::size_t k = 40;
  strided_matrix<float> W(3, k, 0), X(5, k, 0);    // 5 rows cannot make a Hessian of rank 40
  random_source random(3);
  fill(W, random);
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t c = 0; c < k; ++c) X(r, c) = random.normal();
  ql::hessian H(k);
  H.observe(X.view());
  ql::gptq method(H);
  ql::gptq_report report;
  method.report = &report;
  using w4 = ql::scheme<ql::int4, group<8>>;
  method.damping = 0.01;
  (void)ql::quantize<w4>(W.view(), method);
  CHECK(report.attempts == 1);
  CHECK(report.damping == 0.01);
  CHECK(report.dead_columns == 0);
  method.damping = 0;
  (void)ql::quantize<w4>(W.view(), method);
  CHECK(report.attempts == 2);
  CHECK(report.damping == 0x1p-10);
  H(0, 1) = 3 * H(0, 0);    // indefinite: some damping helps even then
  (void)ql::quantize<w4>(W.view(), method);
  CHECK(report.attempts > 2);
  H(0, 1) = std::nan("");
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W.view(), method); }), ContainsSubstring("not positive definite"));
}

TEST_CASE("gptq takes matrices without rows, columns and inputs") {
  using w4 = ql::scheme<ql::int4, group<8>, ql::asymmetric>;
  ql::hessian none(0), some(9);
  float w[18];
  random_source random(4);
  for (float& x : w) x = random.normal();
  CHECK(ql::quantize<w4>(ql::matrix_view<const float>{w, 4, 0}, ql::gptq{none}).rows() == 4);
  CHECK(ql::quantize<w4>(ql::matrix_view<const float>{nullptr, 0, 9}, ql::gptq{some}).cols() == 9);
  const ql::matrix_view<const float> W{w, 2, 9};    // nothing observed: all columns are dead
  CHECK(same_bytes(ql::quantize<w4>(W, ql::gptq{some}), ql::quantize<w4>(W, ql::rtn{})));
}

TEST_CASE("gptq refuses what it cannot use") {
  using w4 = ql::scheme<ql::int4, group<8>>;
  float w[18] = {};
  ql::hessian H(9);
  const ql::matrix_view<const float> W{w, 2, 9}, narrow{w, 2, 8};
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(narrow, ql::gptq{H}); }),
             ContainsSubstring("columns of the Hessian is 9, expected 8"));
  w[13] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::gptq{H}); }),
             ContainsSubstring("W has nan at row 1, column 4"));
  w[13] = 1e30f;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::gptq{H}); }),
             ContainsSubstring("scale of W at row 1, column 0") && ContainsSubstring("float16"));
  w[13] = 0;
  ql::gptq method(H);
  method.damping = -1;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, method); }), ContainsSubstring("damping is -1"));
  H(3, 3) = -2;
  CHECK_THAT(refusal_of([&] { (void)ql::quantize<w4>(W, ql::gptq{H}); }),
             ContainsSubstring("element (3, 3) of the Hessian is -2"));
  H(3, 3) = 0;
  CHECK_THAT(refusal_of([&] {
               (void)ql::quantize<w4>(W, ql::gptq{H, ql::mse_clip{0, 0}});
             }),
             ContainsSubstring("grid is 0"));
}
