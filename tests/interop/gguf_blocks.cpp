// GGUF's blocks against the formulas of the format, written here in double and one weight at a time.
#include <cmath>
#include <limits>
#include <qlite/interop/gguf.hpp>
#include <string>

#include "interop/gguf_bytes.hpp"
#include "support/catch.hpp"
#include "support/code_books.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using ql::gguf::tensor_type;

using qlite_test::refusal_of;

namespace {

// IEEE binary16, read by its definition.
double half_value(const std::uint8_t* at) {
  const int bits = at[0] | at[1] << 8;
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

int nibble(const std::uint8_t* bytes, std::size_t i) { return i < 16 ? bytes[i] & 15 : bytes[i - 16] >> 4; }

// Bit i of the bytes, the lowest of the first byte being bit 0.
int bit(const std::uint8_t* bytes, std::size_t i) { return (bytes[i / 8] >> (i % 8)) & 1; }

// ggml's get_scale_min_k4 in the words of formats: scale (what = 0) or minimum (1) of sub-block j.
int k4(const std::uint8_t* s, std::size_t j, std::size_t what) {
  if (j < 4) return s[j + 4 * what] & 63;
  const int low = what == 0 ? s[j + 4] & 15 : s[j + 4] >> 4;
  return low | (s[j - 4 + 4 * what] >> 6) << 4;
}

double q4_0(const std::uint8_t* b, std::size_t i) { return (nibble(b + 2, i) - 8) * half_value(b); }
double q4_1(const std::uint8_t* b, std::size_t i) { return nibble(b + 4, i) * half_value(b) + half_value(b + 2); }
double q5_0(const std::uint8_t* b, std::size_t i) {
  return (nibble(b + 6, i) + 16 * bit(b + 2, i) - 16) * half_value(b);
}
double q5_1(const std::uint8_t* b, std::size_t i) {
  return (nibble(b + 8, i) + 16 * bit(b + 4, i)) * half_value(b) + half_value(b + 2);
}
double iq4_nl(const std::uint8_t* b, std::size_t i) { return qlite_test::nl4_book[nibble(b + 2, i)] * half_value(b); }
double q8_0(const std::uint8_t* b, std::size_t i) { return static_cast<std::int8_t>(b[2 + i]) * half_value(b); }
double q4_k(const std::uint8_t* b, std::size_t i) {
  const std::size_t sub = i / 32;
  const int byte = b[16 + 32 * (sub / 2) + i % 32], q = sub % 2 == 0 ? byte & 15 : byte >> 4;
  return half_value(b) * k4(b + 4, sub, 0) * q - half_value(b + 2) * k4(b + 4, sub, 1);
}
double q5_k(const std::uint8_t* b, std::size_t i) {
  const std::size_t sub = i / 32;
  const int byte = b[48 + 32 * (sub / 2) + i % 32];
  const int q = (sub % 2 == 0 ? byte & 15 : byte >> 4) + 16 * ((b[16 + i % 32] >> sub) & 1);
  return half_value(b) * k4(b + 4, sub, 0) * q - half_value(b + 2) * k4(b + 4, sub, 1);
}
double q6_k(const std::uint8_t* b, std::size_t i) {
  const std::size_t half = i / 128, j = i % 128, l = j % 32;
  const std::uint8_t *ql_ = b + 64 * half, *qh = b + 128 + 32 * half;
  const auto* sc = reinterpret_cast<const std::int8_t*>(b + 192 + 8 * half);
  int q = 0;
  switch (j / 32) {
    case 0:
      q = (ql_[l] & 15) | (qh[l] & 3) << 4;
      break;
    case 1:
      q = (ql_[l + 32] & 15) | (qh[l] >> 2 & 3) << 4;
      break;
    case 2:
      q = ql_[l] >> 4 | (qh[l] >> 4 & 3) << 4;
      break;
    default:
      q = ql_[l + 32] >> 4 | (qh[l] >> 6) << 4;
      break;
  }
  return half_value(b + 208) * sc[l / 16 + 2 * (j / 32)] * (q - 32);
}

struct format {
  tensor_type type;
  std::size_t weights, bytes;
  std::vector<std::size_t> halves;    // where a block holds float16
  double (*value)(const std::uint8_t*, std::size_t);
};

const format formats[] = {
    {tensor_type::q4_0, 32, 18, {0}, q4_0},      {tensor_type::q4_1, 32, 20, {0, 2}, q4_1},
    {tensor_type::q5_0, 32, 22, {0}, q5_0},      {tensor_type::q5_1, 32, 24, {0, 2}, q5_1},
    {tensor_type::q8_0, 32, 34, {0}, q8_0},      {tensor_type::q4_k, 256, 144, {0, 2}, q4_k},
    {tensor_type::q5_k, 256, 176, {0, 2}, q5_k}, {tensor_type::q6_k, 256, 210, {208}, q6_k},
    {tensor_type::iq4_nl, 32, 18, {0}, iq4_nl},
};

// Random blocks; every float16 is a random finite number, subnormal, zero and negative ones included.
std::vector<std::uint8_t> random_blocks(qlite_test::random_source& random, const format& f, std::size_t blocks) {
  auto bytes = qlite_test::random_bytes(random, blocks * f.bytes);
  for (std::size_t b = 0; b < blocks; ++b)
    for (const std::size_t at : f.halves) {
      std::uint8_t& high = bytes[b * f.bytes + at + 1];
      if ((high & 0x7c) == 0x7c) high = static_cast<std::uint8_t>(high & ~0x40);
      if (random.chance(0.1)) high = static_cast<std::uint8_t>(high & 0x83);    // exponent 0
    }
  return bytes;
}

ql::gguf::tensor_info tensor_of(const format& f, std::size_t n, std::size_t k) {
  ql::gguf::tensor_info info;
  info.name = "w";
  info.type = f.type;
  info.dimensions = 2;
  info.extent[0] = k;
  info.extent[1] = n;
  info.bytes = n * k / f.weights * f.bytes;
  return info;
}

}    // namespace

TEST_CASE("every block type imports to the numbers of its definition, and to_float gives the same") {
  for (const format& f : formats) {
    CAPTURE(ql::gguf::format_of(f.type).name);
    CHECK(ql::gguf::is_quantized(f.type));
    qlite_test::for_random_cases(60, [&](qlite_test::random_source& random) {
      const std::size_t n = random.integer(0, 5), k = f.weights * random.integer(0, 4);
      auto bytes = random_blocks(random, f, n * k / f.weights);
      // One byte in front: blocks have no alignment in a file.
      bytes.insert(bytes.begin(), 0);
      const ql::bytes_view view{bytes.data() + 1, bytes.size() - 1};
      const ql::gguf::tensor_info info = tensor_of(f, n, k);

      std::vector<float> imported(n * k), decoded(n * (k + 3), 99.0f);
      ql::gguf::visit_import(info, view, [&](auto&& q) {
        CHECK(q.rows() == n);
        CHECK(q.cols() == k);
        ql::dequantize(q, ql::matrix_view<float>{imported.data(), n, k});
      });
      const ql::matrix_view<float> out{decoded.data(), n, k, k + 3};
      ql::gguf::to_float(info, view, out);

      std::size_t wrong = 0;
      for (std::size_t r = 0; r < n; ++r) {
        for (std::size_t c = 0; c < k; ++c) {
          const std::uint8_t* block = view.data() + (r * k + c) / f.weights * f.bytes;
          // All products are exact in float; an offset adds the one rounding that the conversion below does.
          const float expected = static_cast<float>(f.value(block, c % f.weights));
          wrong += static_cast<std::size_t>(imported[r * k + c] != expected || out(r, c) != expected);
        }
        for (std::size_t c = k; c < k + 3; ++c) wrong += static_cast<std::size_t>(decoded[r * (k + 3) + c] != 99.0f);
      }
      CHECK(wrong == 0);

      // Any rows alone give what they give together.
      if (n == 0) return;
      const std::size_t first = random.integer(0, n), count = random.integer(0, n - first);
      std::vector<float> some(count * k);
      ql::gguf::rows_to_float(info, view, first, ql::matrix_view<float>{some.data(), count, k});
      for (std::size_t i = 0; i < some.size(); ++i)
        wrong += static_cast<std::size_t>(some[i] != imported[first * k + i]);
      CHECK(wrong == 0);
      CHECK_THAT(refusal_of([&] {
                   ql::gguf::rows_to_float(info, view, n, ql::matrix_view<float>{decoded.data(), 1, k});
                 }),
                 ContainsSubstring("rows"));
    });
  }
}

TEST_CASE("the named importers have the schemes that hold their type") {
  using namespace ql;
  qlite_test::random_source random(2);
  const std::size_t n = 2, k = 256;
  const auto bytes_of = [&](std::size_t i) { return random_blocks(random, formats[i], n * k / formats[i].weights); };
  const auto view = [](const std::vector<std::uint8_t>& b) { return bytes_view{b.data(), b.size()}; };
  const auto b0 = bytes_of(0), b1 = bytes_of(1), b2 = bytes_of(2), b3 = bytes_of(3), b4 = bytes_of(4), b5 = bytes_of(5),
             b6 = bytes_of(6), b7 = bytes_of(7), b8 = bytes_of(8);
  const quantized_matrix<scheme<int4, per_group<32>, symmetric, float16>> q40 = gguf::import_q4_0(view(b0), n, k);
  const quantized_matrix<scheme<int4, per_group<32>, offset<float16>, float16>> q41 = gguf::import_q4_1(view(b1), n, k);
  const quantized_matrix<scheme<int8, per_group<32>, symmetric, float16>> q50 = gguf::import_q5_0(view(b2), n, k);
  const quantized_matrix<scheme<int8, per_group<32>, offset<float16>, float16>> q51 = gguf::import_q5_1(view(b3), n, k);
  const quantized_matrix<scheme<int8, per_group<32>, symmetric, float16>> q80 = gguf::import_q8_0(view(b4), n, k);
  const quantized_matrix<scheme<int4, per_group<32>, offset<float>, float>> q4k = gguf::import_q4_k(view(b5), n, k);
  const quantized_matrix<scheme<int8, per_group<32>, offset<float>, float>> q5k = gguf::import_q5_k(view(b6), n, k);
  const quantized_matrix<scheme<int8, per_group<16>, symmetric, float>> q6k = gguf::import_q6_k(view(b7), n, k);
  const quantized_matrix<scheme<nl4, per_group<32>, symmetric, float16>> iq4 = gguf::import_iq4_nl(view(b8), n, k);
  std::vector<float> row(n * k);
  const auto check = [&](const auto& q, const std::vector<std::uint8_t>& bytes, const format& f) {
    dequantize(q, matrix_view<float>{row.data(), n, k});
    CHECK(row[n * k - 1] ==
          static_cast<float>(f.value(bytes.data() + bytes.size() - f.bytes, (n * k - 1) % f.weights)));
  };
  check(q40, b0, formats[0]);
  check(q41, b1, formats[1]);
  check(q50, b2, formats[2]);
  check(q51, b3, formats[3]);
  check(q80, b4, formats[4]);
  check(q4k, b5, formats[5]);
  check(q5k, b6, formats[6]);
  check(q6k, b7, formats[7]);
  check(iq4, b8, formats[8]);
}

TEST_CASE("export of an import gives the same bytes") {
  qlite_test::for_random_cases(50, [](qlite_test::random_source& random) {
    const std::size_t n = random.integer(0, 6), k = 32 * random.integer(0, 5);
    const auto check = [&](const format& f, auto import, auto write) {
      const auto bytes = random_blocks(random, f, n * k / 32);
      const auto q = import(ql::bytes_view{bytes.data(), bytes.size()}, n, k);
      std::vector<std::uint8_t> back(bytes.size(), 0xee);
      write(q, back.data(), back.size());
      CHECK(back == bytes);
    };
    check(formats[0], ql::gguf::import_q4_0, ql::gguf::export_q4_0);
    check(formats[1], ql::gguf::import_q4_1, ql::gguf::export_q4_1);
    check(formats[4], ql::gguf::import_q8_0, ql::gguf::export_q8_0);
    check(formats[8], ql::gguf::import_iq4_nl, ql::gguf::export_iq4_nl);
  });
}

TEST_CASE("F32, F16 and BF16 rows are exact at any alignment") {
  qlite_test::random_source random(9);
  const std::size_t n = 4, k = 19;
  const auto bytes = qlite_test::random_bytes(random, 1 + n * k * 4);
  std::vector<float> out(n * k);
  const auto decode = [&](tensor_type type, std::size_t size) {
    ql::gguf::tensor_info info;
    info.type = type;
    info.extent[0] = k;
    info.extent[1] = n;
    info.bytes = n * k * size;
    ql::gguf::to_float(info, {bytes.data() + 1, info.bytes}, ql::matrix_view<float>{out.data(), n, k});
  };
  decode(tensor_type::f32, 4);
  CHECK(std::memcmp(out.data(), bytes.data() + 1, n * k * 4) == 0);

  std::size_t wrong = 0;
  decode(tensor_type::f16, 2);
  for (std::size_t i = 0; i < n * k; ++i) {
    const std::uint8_t* at = bytes.data() + 1 + 2 * i;
    if ((at[1] & 0x7c) == 0x7c)
      wrong += static_cast<std::size_t>(std::fpclassify(out[i]) != FP_NAN && std::fpclassify(out[i]) != FP_INFINITE);
    else
      wrong += static_cast<std::size_t>(static_cast<double>(out[i]) != half_value(at));
  }
  decode(tensor_type::bf16, 2);
  for (std::size_t i = 0; i < n * k; ++i) {
    const std::uint8_t upper[4] = {0, 0, bytes[1 + 2 * i], bytes[2 + 2 * i]};
    wrong += static_cast<std::size_t>(std::memcmp(&out[i], upper, 4) != 0);
  }
  CHECK(wrong == 0);
}

TEST_CASE("any number of empty rows takes no time") {
  const std::size_t n = std::size_t{1} << 55;
  for (const format& f : formats) {
    const ql::gguf::tensor_info info = tensor_of(f, n, 0);
    ql::gguf::to_float(info, {}, ql::matrix_view<float>{nullptr, n, 0});
    ql::gguf::visit_import(info, {}, [&](auto&& q) { CHECK(q.rows() == n); });
  }
  ql::gguf::export_q8_0(ql::gguf::import_q8_0({}, n, 0), nullptr, 0);
}

TEST_CASE("blocks that do not fit are refused with their numbers") {
  std::vector<std::uint8_t> bytes(18 * 6);
  const auto view = [&](std::size_t size) { return ql::bytes_view{bytes.data(), size}; };
  CHECK_THAT(refusal_of([&] { ql::gguf::import_q4_0(view(36), 1, 63); }), ContainsSubstring("63"));
  CHECK_THAT(refusal_of([&] { ql::gguf::import_q4_0(view(35), 1, 64); }), ContainsSubstring("35"));
  CHECK_THAT(refusal_of([&] { ql::gguf::import_q4_0(view(54), 1, 64); }), ContainsSubstring("expected 36"));
  CHECK_THAT(refusal_of([&] {
               ql::gguf::import_q4_0({static_cast<const std::uint8_t*>(nullptr), 36}, 1, 64);
             }),
             ContainsSubstring("null"));
  CHECK_THAT(refusal_of([&] { ql::gguf::import_q4_k(view(18), 1, 32); }), ContainsSubstring("multiple of 256"));
  CHECK_THAT(refusal_of([&] { ql::gguf::import_q4_0(view(0), ~std::size_t{0} / 2, ~std::size_t{31}); }),
             ContainsSubstring("address space"));
  CHECK_THAT(refusal_of([&] { ql::gguf::import_q4_0(view(0), std::size_t{1} << 59, 64); }),
             ContainsSubstring("address space"));

  // A scale that is no number: row 1, second block.
  bytes[18 * 3 + 1] = 0x7c;
  const std::string message = refusal_of([&] { ql::gguf::import_q4_0(view(18 * 4), 2, 64); });
  CHECK_THAT(message, ContainsSubstring("row 1, columns 32 to 63"));
  CHECK_THAT(message, ContainsSubstring("byte 54"));

  const format& f = formats[0];
  ql::gguf::tensor_info info = tensor_of(f, 2, 64);
  std::vector<float> out(128);
  CHECK_THAT(refusal_of([&] {
               ql::gguf::to_float(info, view(18 * 3), ql::matrix_view<float>{out.data(), 2, 64});
             }),
             ContainsSubstring("54"));
  CHECK_THAT(refusal_of([&] {
               ql::gguf::to_float(info, view(18 * 4), ql::matrix_view<float>{out.data(), 2, 63});
             }),
             ContainsSubstring("63"));
  info.type = tensor_type::iq3_s;
  CHECK_FALSE(ql::gguf::is_quantized(info.type));
  CHECK_FALSE(ql::gguf::is_readable(info.type));
  CHECK_THAT(refusal_of([&] {
               ql::gguf::to_float(info, view(18 * 4), ql::matrix_view<float>{out.data(), 2, 64});
             }),
             ContainsSubstring("IQ3_S"));
  CHECK_THAT(refusal_of([&] { ql::gguf::visit_import(info, view(18 * 4), [](auto&&) {}); }),
             ContainsSubstring("IQ3_S"));

  using scheme = ql::scheme<ql::int4, ql::per_group<32>>;
  const ql::quantized_matrix<scheme> good(2, 64), ragged(2, 48);
  CHECK_THAT(refusal_of([&] { ql::gguf::export_q4_0(good, bytes.data(), 71); }), ContainsSubstring("71"));
  CHECK_THAT(refusal_of([&] { ql::gguf::export_q4_0(good, nullptr, 72); }), ContainsSubstring("null"));
  CHECK_THAT(refusal_of([&] { ql::gguf::export_q4_0(ragged, bytes.data(), 54); }), ContainsSubstring("48"));
}
