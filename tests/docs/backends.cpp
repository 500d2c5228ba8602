// docs/backends.md: its table agrees with the tags, and its examples of additions work.
#include <qlite/gemm.hpp>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/property.hpp"

namespace ql = qlite;
namespace cpu = qlite::cpu;
using qlite_test::random_source;

#include "snippets/new_backend.inc"
#include "snippets/new_epilogue.inc"
#include "snippets/new_format.inc"
#include "snippets/new_method.inc"
#include "snippets/new_rule.inc"

namespace {

template <class Tag>
std::string table_row() {
  const std::string flags = *Tag::flags == '\0' ? "none" : "`" + std::string(Tag::flags) + "`";
  return "| `" + std::string(Tag::name) + "` | " + flags + " | " + std::to_string(Tag::k_unit) + " | " +
         (Tag::unsigned_int8 ? "unsigned" : "signed") + " | ";
}

template <class... Tags>
void check_table(ql::detail::type_list<Tags...>) {
  std::ifstream file(QLITE_DOCS_FOLDER "/backends.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::size_t at = 0;
  for (const std::string& row : {table_row<Tags>()...}) {
    INFO(row);
    at = text.find("\n" + row, at);    // in the order of the list
    REQUIRE(at != std::string::npos);
  }
}

}    // namespace

TEST_CASE("the table of backends is the list of tags") { check_table(ql::detail::cpu_backends{}); }

TEST_CASE("the example of an instruction set gives the bits of the others") {
  random_source random(1);
  const std::size_t n = 53, k = 131;
  const auto w = random.normal_vector(n * k);
  const auto check = [&](auto scheme) {
    const auto q = ql::quantize<decltype(scheme)>(ql::matrix_view<const float>{w.data(), n, k}, ql::rtn{});
    const auto packed = ql::pack<example>(q);
    const auto back = ql::unpack(packed);
    REQUIRE(std::memcmp(back.codes(), q.codes(), q.shape().code_bytes()) == 0);
    for (const std::size_t m : {1u, 2u, 3u, 7u}) {
      const auto x = random.normal_vector(m * k);
      const ql::matrix_view<const float> X{x.data(), m, k};
      std::vector<float> y(m * n), z(m * n);
      const ql::matrix_view<float> Y{y.data(), m, n}, Z{z.data(), m, n};
      ql::gemm(ql::dynamic<ql::int8>(X), packed, Y);
      ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<cpu::scalar>(q), Z);
      REQUIRE(y == z);
      ql::gemm(X, packed, Y);    // weight-only: the last bits are the backend's own
      ql::gemm(X, ql::pack<cpu::scalar>(q), Z);
      for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(std::fabs(y[i] - z[i]) < 1e-3f);
    }
  };
  check(ql::scheme<ql::int4, ql::per_group<32>, ql::asymmetric>{});
  check(ql::scheme<ql::int8, ql::per_channel>{});
}

TEST_CASE("the example of a method works for every symmetric scheme") {
  random_source random(2);
  const std::size_t n = 8, k = 512;
  auto w = random.normal_vector(n * k);
  w[3] = 40.0f;    // an outlier, which the method clips
  const ql::matrix_view<const float> W{w.data(), n, k};
  const auto q = ql::quantize<ql::scheme<ql::int4, ql::per_channel>>(W, rms_clip{2.5f});
  std::vector<float> back(n * k);
  ql::dequantize(q, ql::matrix_view<float>{back.data(), n, k});
  double error = 0, extreme_error = 0;
  std::vector<float> plain(n * k);
  ql::dequantize(ql::quantize<ql::scheme<ql::int4, ql::per_channel>>(W, ql::rtn{}),
                 ql::matrix_view<float>{plain.data(), n, k});
  for (std::size_t i = 4; i < k; ++i) {    // of the row's other weights
    error += std::pow(w[i] - back[i], 2);
    extreme_error += std::pow(w[i] - plain[i], 2);
  }
  CHECK(error < extreme_error / 10);
  w[k + 5] = NAN;
  CHECK_THROWS_WITH((ql::quantize<ql::scheme<ql::int8, ql::per_group<64>>>(W, rms_clip{})),
                    ContainsSubstring("nan at row 1, column 5"));

  const std::vector<float> two{6.5f, -6.5f};
  const auto ruled = ql::quantize<ql::scheme<ql::int4, ql::per_channel, ql::symmetric, float>>(
      ql::matrix_view<const float>{two.data(), 1, 2}, narrow_rtn{});
  CHECK(ruled.scale(0, 0) == 1.0f);
}

TEST_CASE("the example of a format reads what it says") {
  const std::size_t n = 4, k = 3;
  const std::vector<std::uint8_t> file{0x10, 0x32, 0x54, 0x76, 0x98, 0xba};    // columns of 4 codes
  const std::vector<ql::float16> scales(n, ql::float16::from_float(0.5f));
  const auto q = import_columns({file.data(), file.size()}, scales.data(), n, k);
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < k; ++c) CHECK(q.code(r, c) == static_cast<int>(4 * c + r) - 8);
  CHECK_THROWS_WITH(import_columns({file.data(), 5}, scales.data(), n, k), ContainsSubstring("has 5 bytes"));
}

TEST_CASE("the example of an epilogue chains with the others") {
  const std::size_t n = 19;
  const std::vector<float> w(n, 1.0f), x{3.0f, -2.0f}, bias(n, -1.0f);
  const auto packed = ql::pack<cpu::native>(ql::quantize<ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>>(
      ql::matrix_view<const float>{w.data(), n, 1}, ql::basic_rtn<ql::scale_rule::absmax>{}));
  std::vector<float> y(2 * n);
  ql::gemm(ql::matrix_view<const float>{x.data(), 2, 1}, packed, ql::matrix_view<float>{y.data(), 2, n},
           ql::epilogue::chain(ql::epilogue::bias{bias.data(), n}, leaky_relu{0.25f}));
  for (std::size_t c = 0; c < n; ++c) {
    CHECK(y[c] == 2.0f);
    CHECK(y[n + c] == -0.75f);
  }
}
