// The snippets of README.md on embedding, in the surroundings that they speak of.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>
#include <qlite/interop/gguf.hpp>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/property.hpp"

namespace ql = qlite;
using qlite_test::random_source;

#include "snippets/executor.inc"

namespace {

struct layer_data {
  static constexpr std::size_t m = 3, n = 40, k = 100;
  std::vector<float> w, x, up, residual, bias, y;
  layer_data() : y(m * n) {
    random_source random(1);
    w = random.normal_vector(n * k);
    x = random.normal_vector(m * k);
    up = random.normal_vector(m * n);
    residual = random.normal_vector(m * n);
    bias = random.normal_vector(n);
  }
  ql::matrix_view<const float> W() const { return {w.data(), n, k}; }
  ql::matrix_view<const float> X() const { return {x.data(), m, k}; }
  ql::matrix_view<float> Y() { return {y.data(), m, n}; }
};

std::vector<float> product(layer_data& d) {
  ql::gemm(ql::dynamic<ql::int8>(d.X()),
           ql::pack<ql::cpu::scalar>(ql::quantize<ql::scheme<ql::int4, ql::per_group<32>>>(d.W(), ql::rtn{})), d.Y());
  return d.y;
}

}    // namespace

TEST_CASE("a workspace and an executor of the caller's") {
  layer_data d;
  const auto expected = product(d);
  const auto X = d.X();
  const auto Y = d.Y();
  const my_engine_pool executor;
  const auto packed =
      ql::pack<ql::cpu::native>(ql::quantize<ql::scheme<ql::int4, ql::per_group<32>>>(d.W(), ql::rtn{}));
#include "snippets/workspace.inc"
  REQUIRE(d.y == expected);
}

TEST_CASE("a chain of epilogues") {
  layer_data d;
  const auto plain = product(d);
  const auto X = d.X();
  const auto Y = d.Y();
  const ql::matrix_view<const float> Up{d.up.data(), d.m, d.n}, Residual{d.residual.data(), d.m, d.n};
  const std::vector<float>& bias = d.bias;
  const auto packed =
      ql::pack<ql::cpu::native>(ql::quantize<ql::scheme<ql::int4, ql::per_group<32>>>(d.W(), ql::rtn{}));
#include "snippets/epilogue.inc"
  for (std::size_t i = 0; i < d.y.size(); ++i) {
    const double z = static_cast<double>(plain[i]) + d.bias[i % d.n];
    const double want = z / (1 + std::exp(-z)) * d.up[i] + d.residual[i];
    REQUIRE(std::fabs(d.y[i] - want) <= 1e-5 * (1 + std::fabs(want)));
  }
}

TEST_CASE("a scheme from a config") {
  layer_data d;
  const auto W = d.W();
  const auto X = d.X();
  const auto Y = d.Y();
#include "snippets/config.inc"
  REQUIRE(layer.info() == info);
  using expected_scheme = ql::scheme<ql::int4, ql::per_group<48>, ql::asymmetric>;
  const std::vector<float> got = d.y;
  ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<ql::cpu::scalar>(ql::quantize<expected_scheme>(W, ql::mse_clip{})), Y);
  REQUIRE(got == d.y);
}

TEST_CASE("a layer of a GGUF file") {
  const std::size_t n = 16, k = 64;
  random_source random(2);
  const auto w = random.normal_vector(n * k);
  const auto original =
      ql::quantize<ql::scheme<ql::int4, ql::per_group<32>>>(ql::matrix_view<const float>{w.data(), n, k}, ql::rtn{});
  std::vector<std::uint8_t> blocks(n * k / 32 * 18);
  ql::gguf::export_q4_0(original, blocks.data(), blocks.size());
  const char* const path = "docs_embedding.gguf";
  {
    ql::gguf::writer file;
    file.add_tensor("blk.0.ffn_up.weight", ql::gguf::tensor_type::q4_0, {k, n},
                    ql::bytes_view{blocks.data(), blocks.size()});
    file.write(path);
  }
#include "snippets/gguf.inc"
  std::remove(path);
  const auto x = random.normal_vector(k);
  std::vector<float> y(n), z(n);
  const ql::matrix_view<const float> X{x.data(), 1, k};
  ql::gemm(ql::dynamic<ql::int8>(X), layer, ql::matrix_view<float>{y.data(), 1, n});
  ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<ql::cpu::scalar>(original), ql::matrix_view<float>{z.data(), 1, n});
  REQUIRE(y == z);
}

// The two messages that README.md shows.
TEST_CASE("messages of errors") {
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "no error";
  };
  std::vector<float> w(2 * 64, 1.0f), y(2);
  const ql::matrix_view<const float> W{w.data(), 2, 64}, narrow{w.data(), 1, 63};
  using w8 = ql::scheme<ql::int8, ql::per_channel>;
  const auto packed = ql::pack<ql::cpu::native>(ql::quantize<w8>(W, ql::rtn{}));
  REQUIRE(message([&] {
            ql::gemm(narrow, packed, ql::matrix_view<float>{y.data(), 1, 2});
          }) == "qlite: the columns of X is 63, expected 64 (columns of W)");
  w[64 + 7] = std::numeric_limits<float>::quiet_NaN();
  REQUIRE(message([&] { static_cast<void>(ql::quantize<w8>(W, ql::rtn{})); }) ==
          "qlite: W has nan at row 1, column 7; expected finite weights");
}
