// Options of a layer: what each scheme costs and loses, and the way from there to an assignment.
#include <qlite/evaluate/sensitivity.hpp>
#include <qlite/quantize.hpp>

#include <cmath>
#include <vector>

#include "gemm/matrices.hpp"
#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = ql::cpu::scalar;
using ql::matrix_view;

namespace {

ql::scheme_info info(int bits, std::size_t group, bool symmetric = true) {
  ql::scheme_info i;
  i.bits = bits;
  i.group_size = group;
  i.symmetric = symmetric;
  if (group == 0) i.granularity = ql::granularity_kind::per_channel;
  return i;
}

// |X (W - q)^T|^2 / |X W^T|^2 in long double.
template <class Quantized>
double noise_of(const input_matrix<float>& w, const Quantized& q, const input_matrix<float>& x) {
  std::vector<float> values(w.rows() * w.cols());
  ql::dequantize(q, matrix_view<float>{values.data(), w.rows(), w.cols()});
  long double error = 0, signal = 0;
  for (std::size_t i = 0; i < x.rows(); ++i)
    for (std::size_t r = 0; r < w.rows(); ++r) {
      long double e = 0, s = 0;
      for (std::size_t c = 0; c < w.cols(); ++c) {
        const long double value = static_cast<long double>(w.at(r, c)), input = static_cast<long double>(x.at(i, c));
        e += (static_cast<long double>(values[r * w.cols() + c]) - value) * input;
        s += value * input;
      }
      error += e * e;
      signal += s * s;
    }
  return static_cast<double>(error / signal);
}

// Double's errors are far below this: at 8 bits the noise is at least 1e-6 of the signal, so that a product's relative
// error of K 2^-53 < 1e-13 becomes at most about 1e-10 of the noise.
constexpr double double_slack = 1e-9;

}    // namespace

TEST_CASE("each candidate's bytes and error are those of its quantized matrix") {
  for_random_cases(25, [](random_source& random) {
    const std::size_t n = random.extent(1, 40), k = random.extent(2, 200), m = random.extent(1, 60);
    const auto w = random_inputs<float>(random, n, k);
    const auto x = random_inputs<float>(random, m, k);
    const ql::scheme_info candidates[] = {info(4, 128), info(4, 48), info(4, 32, false), info(8, 0), info(8, 32)};
    ql::layer_option options[5];
    ql::measure_sensitivity<backend>(w.view(), x.view(), candidates, 5, ql::mse_clip{}, options);
    for (std::size_t i = 0; i < 5; ++i)
      ql::visit_scheme(candidates[i], [&](auto scheme) {
        const auto q = ql::quantize(scheme, w.view(), ql::mse_clip{});
        const double noise = noise_of(w, q, x);
        REQUIRE(std::fabs(options[i].error - noise) <= double_slack * noise);
        REQUIRE(options[i].bytes == ql::pack<backend>(q).bytes());
      });

    // float16's own twin: every weight to the nearest of 11 bits.
    const ql::layer_option half = ql::float16_option(w.view(), x.view());
    REQUIRE(half.bytes == 2 * n * k);
    long double error = 0, signal = 0;
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t r = 0; r < n; ++r) {
        long double e = 0, s = 0;
        for (std::size_t c = 0; c < k; ++c) {
          const float value = w.at(r, c);
          const float rounded = ql::float16::from_float(value).to_float();
          e += (static_cast<long double>(rounded) - static_cast<long double>(value)) *
               static_cast<long double>(x.at(i, c));
          s += static_cast<long double>(value) * static_cast<long double>(x.at(i, c));
        }
        error += e * e;
        signal += s * s;
      }
    const double noise = static_cast<double>(error / signal);
    REQUIRE(std::fabs(half.error - noise) <= 1e-6 * noise);    // noise of 1e-8: two digits less
    REQUIRE(half.error < options[3].error);
  });
}

// One layer sees inputs on a few channels only, of which its weights have outliers: it is the one that needs 8 bits.
TEST_CASE("a budget goes to the layer that needs it") {
  random_source random(11);
  const std::size_t layers = 4, n = 32, k = 256, m = 64;
  const ql::scheme_info candidates[] = {info(4, 128), info(8, 0)};
  std::vector<ql::layer_option> options(layers * 3);
  for (std::size_t l = 0; l < layers; ++l) {
    auto w = random_inputs<float>(random, n, k);
    const auto x = random_inputs<float>(random, m, k);
    if (l == 2)
      for (std::size_t r = 0; r < n; ++r)
        for (std::size_t c = 0; c < k; c += 50) w(r, c) *= 3.0f;
    ql::measure_sensitivity<backend>(w.view(), x.view(), candidates, 2, ql::rtn{}, &options[l * 3]);
    options[l * 3 + 2] = ql::float16_option(w.view(), x.view());
  }
  for (std::size_t l = 0; l < layers; ++l) {
    CHECK(options[l * 3].error > 20 * options[l * 3 + 1].error);
    CHECK(options[l * 3 + 1].error > 20 * options[l * 3 + 2].error);
  }
  std::size_t all4 = 0;
  for (std::size_t l = 0; l < layers; ++l) all4 += options[l * 3].bytes;
  std::size_t chosen[layers];
  ql::assign_under_bytes({options.data(), layers, 3}, all4 + options[7].bytes - options[6].bytes, chosen);
  for (std::size_t l = 0; l < layers; ++l) CHECK(chosen[l] == (l == 2 ? 1 : 0));
}

TEST_CASE("what cannot be measured is refused by name") {
  random_source random(5);
  auto values = random.normal_vector(4 * 32);
  const auto inputs = random.normal_vector(3 * 32);
  const matrix_view<const float> W{values.data(), 4, 32}, X{inputs.data(), 3, 32};
  ql::layer_option option;
  const ql::scheme_info wrong = info(5, 32), good = info(4, 32);
  CHECK(refusal_of([&] { ql::measure_sensitivity<backend>(W, X, &wrong, 1, ql::rtn{}, &option); }) ==
        "qlite: scheme_info.bits is 5, expected 4 or 8");
  CHECK_THAT(refusal_of([&] { ql::measure_sensitivity<backend>(W, X, &good, 1, ql::rtn{}, nullptr); }),
             ContainsSubstring("options is null"));
  CHECK(refusal_of([&] {
          ql::measure_sensitivity<backend>(W, matrix_view<const float>{inputs.data(), 3, 31}, &good, 1, ql::rtn{},
                                           &option);
        }) == "qlite: the columns of X is 31, expected 32 (columns of W)");
  values[40] = 1e6f;
  CHECK(refusal_of([&] { static_cast<void>(ql::float16_option(W, X)); }) ==
        "qlite: W has 1e+06 at row 1, column 8, which float16 cannot hold");
}
