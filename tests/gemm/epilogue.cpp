// Each epilogue against its formula in double, and its bits against those of the baseline build of cpu::scalar.
#include <functional>

#include "gemm/epilogue_cases.hpp"
#include "gemm/executors.hpp"

namespace ql = qlite;
namespace epilogue = qlite::epilogue;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using identity_scheme = ql::scheme<ql::int8, ql::per_channel>;
using ql::matrix_view;

// W [n, 1] of ones: the product with X [m, 1] is X, exactly, in every column.
static ql::packed_matrix<identity_scheme, backend> ones(std::size_t n) {
  const auto one = [](std::size_t, std::size_t) { return 1; };
  return ql::pack<backend>(make_quantized<identity_scheme>(
      n, 1, {}, one, one, [](std::size_t, std::size_t) { return 1.0f; },
      [](std::size_t, std::size_t) { return 0.0f; }));
}

constexpr std::size_t columns = 37;    // two strips and a part of one

// Y = epilogue(x_r) for every row r and column.
template <class Epilogue, class TY = float>
std::vector<float> results_of(const std::vector<float>& x, const Epilogue& e) {
  awkward_matrix<TY> y(x.size(), columns, 3);
  ql::gemm(matrix_view<const float>{x.data(), x.size(), 1}, ones(columns), y.view(), e);
  REQUIRE(y.guards_are_intact());
  std::vector<float> values;
  for (std::size_t r = 0; r < x.size(); ++r)
    for (std::size_t c = 0; c < columns; ++c) values.push_back(to_float(y(r, c)));
  return values;
}

static std::vector<float> many_numbers() {
  std::vector<float> x{0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -1e30f, 3e38f, -3e38f};
  for (float v = -30.0f; v <= 30.0f; v += 0.0137f) x.push_back(v);
  random_source random(1);
  for (int i = 0; i < 500; ++i)
    x.push_back(std::exp(random.uniform(-20.0f, 20.0f)) * (random.chance(0.5) ? 1.0f : -1.0f));
  return x;
}

// |y - formula(x)| <= error * max(1, |x|) in every column.
template <class Epilogue>
void check_formula(const Epilogue& e, const std::function<double(double)>& formula, double error) {
  const std::vector<float> x = many_numbers(), y = results_of(x, e);
  for (std::size_t r = 0; r < x.size(); ++r) {
    const double exact = formula(static_cast<double>(x[r]));
    const double bound = error * std::max(1.0, std::fabs(static_cast<double>(x[r])));
    for (std::size_t c = 0; c < columns; ++c) {
      const double difference = std::fabs(static_cast<double>(y[r * columns + c]) - exact);
      if (!(difference <= bound)) {
        INFO("x " << x[r] << ", column " << c);
        REQUIRE(static_cast<double>(y[r * columns + c]) == exact);
      }
    }
  }
}

TEST_CASE("activation functions") {
  // The error that gemm/epilogue.hpp states for the first; the others have no approximation but exp's.
  check_formula(
      epilogue::gelu{}, [](double v) { return 0.5 * v * std::erfc(-v / std::sqrt(2.0)); }, 1e-6);
  check_formula(
      epilogue::gelu_tanh{},
      [](double v) {
        const double u = std::sqrt(2.0 / 3.14159265358979323846) * (v + 0.044715 * v * v * v);
        return v / (1.0 + std::exp(-2.0 * u));    // 0.5 v (1 + tanh u), without cancellation
      },
      1e-6);
  check_formula(
      epilogue::silu{}, [](double v) { return v / (1.0 + std::exp(-v)); }, 1e-6);
  check_formula(
      epilogue::relu{}, [](double v) { return std::max(0.0, v); }, 0.0);
  check_formula(
      epilogue::none{}, [](double v) { return v; }, 0.0);
}

// To the left the functions vanish; a tail of -|x| times the least exponential would not.
TEST_CASE("activation functions vanish for large negative arguments") {
  const std::vector<float> x{-90.0f, -128.0f, -129.0f, -1e4f, -1e19f, -1e20f, -1e30f, -3e38f};
  for (const float y : results_of(x, epilogue::gelu{})) CHECK(std::fabs(y) < 1e-30f);
  for (const float y : results_of(x, epilogue::gelu_tanh{})) CHECK(std::fabs(y) < 1e-30f);
  for (const float y : results_of(x, epilogue::silu{})) CHECK(std::fabs(y) < 1e-30f);
}

TEST_CASE("what is not a number stays so, and infinities have their limits") {
  const std::vector<float> bad{NAN, -NAN, INFINITY, -INFINITY};
  const std::vector<float> bias(columns, 1.0f), other(bad.size() * columns, 2.0f);
  const matrix_view<const float> matrix{other.data(), bad.size(), columns};
  const auto check = [&](const char* name, const std::vector<float>& y, double at_infinity, double at_minus_infinity) {
    INFO(name);
    for (std::size_t c = 0; c < columns; ++c) {
      CHECK(std::isnan(y[c]));
      CHECK(std::isnan(y[columns + c]));
      CHECK(static_cast<double>(y[2 * columns + c]) == at_infinity);
      if (at_minus_infinity == 0)    // the limit, within the error of a finite argument
        CHECK(std::fabs(y[3 * columns + c]) < 1e-30f);
      else
        CHECK(static_cast<double>(y[3 * columns + c]) == at_minus_infinity);
    }
  };
  const double infinity = INFINITY;
  check("none", results_of(bad, epilogue::none{}), infinity, -infinity);
  check("bias", results_of(bad, epilogue::bias{bias.data(), columns}), infinity, -infinity);
  check("relu", results_of(bad, epilogue::relu{}), infinity, 0);
  check("gelu", results_of(bad, epilogue::gelu{}), infinity, 0);
  check("gelu_tanh", results_of(bad, epilogue::gelu_tanh{}), infinity, 0);
  check("silu", results_of(bad, epilogue::silu{}), infinity, 0);
  check("multiply", results_of(bad, epilogue::multiply{matrix}), infinity, -infinity);
  check("residual", results_of(bad, epilogue::residual{matrix}), infinity, -infinity);
}

template <class T>
void check_operands() {
  random_source random(3);
  const std::vector<float> x = random.normal_vector(150, 3.0f);
  const std::size_t m = x.size();
  input_matrix<T> other = random_inputs<T>(random, m, columns);
  std::vector<T> bias(columns + 1);
  for (T& v : bias) v = from_float<T>(random.normal());
  const T* const misaligned = bias.data() + 1;    // aligned to one element only

  const auto sums = results_of(x, epilogue::bias{misaligned, columns});
  const auto products = results_of(x, epilogue::multiply{other.view()});
  const auto residuals = results_of(x, epilogue::residual{other.view()});
  const auto both =
      results_of(x, epilogue::chain(epilogue::multiply{other.view()}, epilogue::bias{misaligned, columns}));
  const auto other_order =
      results_of(x, epilogue::chain(epilogue::bias{misaligned, columns}, epilogue::multiply{other.view()},
                                    epilogue::relu{}, epilogue::residual{other.view()}));
  for (std::size_t r = 0; r < m; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::size_t i = r * columns + c;
      const float o = other.at(r, c), b = to_float(misaligned[c]);
      const float sum = x[r] + b;
      // volatile: each operation rounded by itself, as in the definition
      const volatile float product = x[r] * o, sum_product = sum * o;
      const float rounded = product, relu = sum_product > 0 ? float{sum_product} : 0.0f;
      const bool same = sums[i] == sum && products[i] == rounded && residuals[i] == x[r] + o &&
                        both[i] == rounded + b && other_order[i] == relu + o;
      if (!same) {
        INFO("row " << r << ", column " << c);
        REQUIRE(same);
      }
    }
  }
}

TEST_CASE("operands of every type, and the order of a chain") {
  check_operands<float>();
  check_operands<ql::float16>();
  check_operands<ql::bfloat16>();
}

TEST_CASE("results are rounded to the type of Y after the epilogue") {
  const std::vector<float> x{1.0f, 1.00048828125f, 1.00146484375f, 2049.0f, 65519.0f, 65520.0f, 1e-7f, -3.14159f};
  const std::vector<float> bias(columns, 0.25f);
  const auto exact = results_of(x, epilogue::bias{bias.data(), columns});
  const auto half = results_of<epilogue::bias<float>, ql::float16>(x, epilogue::bias{bias.data(), columns});
  const auto brain = results_of<epilogue::bias<float>, ql::bfloat16>(x, epilogue::bias{bias.data(), columns});
  for (std::size_t i = 0; i < exact.size(); ++i) {
    CHECK(half[i] == ql::float16::from_float(exact[i]).to_float());
    CHECK(brain[i] == ql::bfloat16::from_float(exact[i]).to_float());
  }
}

TEST_CASE("residual and multiply may be Y itself") {
  random_source random(4);
  for (const std::size_t m : {1u, 5u, 130u}) {
    const auto x = random.normal_vector(m);
    auto y = random_inputs<float>(random, m, columns);
    std::vector<float> in_place(m * columns), scaled(m * columns);
    for (std::size_t i = 0; i < in_place.size(); ++i) scaled[i] = in_place[i] = y(i / columns, i % columns);
    const matrix_view<float> sum{in_place.data(), m, columns}, product{scaled.data(), m, columns};
    const any_executor executor(3, any_executor::order::threads);
    ql::gemm(matrix_view<const float>{x.data(), m, 1}, ones(columns), sum, epilogue::residual{sum}, executor);
    ql::gemm(matrix_view<const float>{x.data(), m, 1}, ones(columns), product, epilogue::multiply{product}, executor);
    for (std::size_t r = 0; r < m; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        REQUIRE(sum(r, c) == x[r] + y(r, c));
        REQUIRE(product(r, c) == x[r] * y(r, c));
      }
    }
  }
}

TEST_CASE("map sees each element once with its place") {
  for (const std::size_t m : {1u, 7u, 140u}) {
    const std::vector<float> x(m, 2.0f);
    std::vector<int> calls(m * columns, 0);
    std::vector<float> y(m * columns);
    const auto count = [&](float v, std::size_t r, std::size_t c) {
      ++calls[r * columns + c];
      return v * static_cast<float>(1 + r + 1000 * c);
    };
    ql::gemm(matrix_view<const float>{x.data(), m, 1}, ones(columns), matrix_view<float>{y.data(), m, columns},
             epilogue::map{count});
    for (std::size_t r = 0; r < m; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        REQUIRE(calls[r * columns + c] == 1);
        REQUIRE(y[r * columns + c] == 2.0f * static_cast<float>(1 + r + 1000 * c));
      }
    }
  }
}

TEST_CASE("epilogues give the same bits on every backend and with any flags") {
  for (const std::size_t m : {1u, 3u, 150u}) {
    for (int which = 0; which < epilogue_cases; ++which) {
      INFO("case " << which << ", m " << m);
      const auto mine = epilogue_case<backend>(which, m, 45, 33);
      const auto theirs = baseline_epilogue_case(which, m, 45, 33);
      const auto scalar = epilogue_case<ql::cpu::scalar>(which, m, 45, 33);
      REQUIRE(mine.size() == theirs.size());
      const bool same = std::memcmp(mine.data(), theirs.data(), mine.size() * sizeof(float)) == 0;
      const bool same_as_scalar = std::memcmp(mine.data(), scalar.data(), mine.size() * sizeof(float)) == 0;
      CHECK(same);
      CHECK(same_as_scalar);
    }
  }
}
