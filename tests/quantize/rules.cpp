// The arithmetic under the quantizers, exhaustively where that is possible: roundings, half precision, nibbles; each
// for one float and for vectors.
#include "quantize/oracle.hpp"
#include "support/catch.hpp"

namespace ql = qlite;
namespace detail = qlite::detail;
namespace impl = qlite::impl;
using namespace qlite_test;

namespace {

using floats = impl::vector_kernels::floats;
using ints = impl::vector_kernels::ints;
constexpr std::size_t lanes = sizeof(floats) / sizeof(float);

// Calls f(x, y, lane by lane) for a vector of neighbours of x.
template <class Rule>
bool rounds_like(float x, round_choice rule, int low) {
  float in[lanes];
  std::int32_t out[lanes];
  for (std::size_t i = 0; i < lanes; ++i) in[i] = i % 3 == 0 ? x : std::nextafter(x, i % 3 == 1 ? -1000.0f : 1000.0f);
  floats v;
  std::memcpy(&v, in, sizeof v);
  const ints r = Rule::template round<floats>(v, low);
  std::memcpy(out, &r, sizeof r);
  for (std::size_t i = 0; i < lanes; ++i) {
    const int expected = rounded(static_cast<double>(in[i]), rule, low);
    if (Rule::template round<float>(in[i], low) != expected || out[i] != expected) return false;
  }
  return true;
}

}    // namespace

TEST_CASE("rounding rules agree with their definitions") {
  for (int low : {-8, 0, -15, -128, -255})
    for (int halves = 2 * low; halves <= 2 * low + 510; ++halves) {
      const float x = static_cast<float>(halves) / 2;    // every tie and every integer, with their neighbours
      CAPTURE(x, low);
      if (halves == 2 * low) {    // neighbours below the range
        CHECK(ql::round_rule::half_even::round(x, low) == low);
        continue;
      }
      CHECK(rounds_like<ql::round_rule::half_even>(x, round_choice::half_even, low));
      CHECK(rounds_like<ql::round_rule::half_away>(x, round_choice::half_away, low));
      CHECK(rounds_like<ql::round_rule::half_up_truncate>(x, round_choice::half_up_truncate, low));
    }
  for_random_cases(2000, [](random_source& random) {
    const float x = random.uniform(-128.0f, 128.0f);
    CAPTURE(x);
    CHECK(rounds_like<ql::round_rule::half_even>(x, round_choice::half_even, -130));
    CHECK(rounds_like<ql::round_rule::half_away>(x, round_choice::half_away, -130));
    CHECK(rounds_like<ql::round_rule::half_up_truncate>(x, round_choice::half_up_truncate, -130));
  });
  // the float below 0.5, where adding 0.5 would round up to 1
  CHECK(ql::round_rule::half_away::round(0.49999997f, -8) == 0);
  CHECK(ql::round_rule::half_away::round(-0.49999997f, -8) == 0);
}

TEST_CASE("scale rules agree with their formulas") {
  CHECK(ql::scale_rule::absmax::scale(3.5f, 7) == 0.5f);
  CHECK(ql::scale_rule::absmax_wide::scale(3.75f, 7) == 0.5f);
  CHECK(ql::scale_rule::signed_max::scale(4.0f, 7) == -0.5f);
  CHECK(ql::scale_rule::signed_max::scale(-4.0f, 7) == 0.5f);
  CHECK(ql::scale_rule::absmax::scale(63.5f, 127) == 0.5f);
  CHECK(ql::scale_rule::absmax_wide::scale(63.75f, 127) == 0.5f);
  CHECK(ql::scale_rule::signed_max::scale(64.0f, 127) == -0.5f);
}

TEST_CASE("half precision without branches agrees with float16") {
  std::size_t wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = ql::float16::from_bits(static_cast<std::uint16_t>(bits)).to_float();
    wrong += detail::float_bits(detail::from_half<float>(static_cast<std::int32_t>(bits))) != detail::float_bits(x);
    wrong += detail::to_half(x) != ql::float16::from_float(x).bits();    // not always `bits`: NaN becomes quiet
  }
  CHECK(wrong == 0);
  // every halfway point between neighbours, and the floats next to it
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto a = static_cast<double>(ql::float16::from_bits(static_cast<std::uint16_t>(bits)).to_float());
    const double b = bits == 0x7bff
                         ? 65536.0
                         : static_cast<double>(ql::float16::from_bits(static_cast<std::uint16_t>(bits + 1)).to_float());
    const auto middle = static_cast<float>((a + b) / 2);
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e6f)}) {
      wrong += detail::to_half(x) != ql::float16::from_float(x).bits();
      wrong += detail::to_half(-x) != ql::float16::from_float(-x).bits();
    }
  }
  CHECK(wrong == 0);
  for_random_cases(100, [&](random_source& random) {
    for (int i = 0; i < 1000; ++i) {
      const float x = detail::bits_float(static_cast<std::uint32_t>(random.bits()));
      wrong += detail::to_half(x) != ql::float16::from_float(x).bits();
      wrong += detail::to_bfloat(x) != ql::bfloat16::from_float(x).bits();
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("vectors of halves agree with single ones") {
  std::size_t wrong = 0;
  for_random_cases(500, [&](random_source& random) {
    std::uint32_t in[lanes];
    for (std::uint32_t& x : in) x = static_cast<std::uint32_t>(random.bits());
    ints bits;
    std::memcpy(&bits, in, sizeof bits);
    const ints halves = detail::to_half(detail::bit_cast<floats>(bits));
    const ints bfloats = detail::to_bfloat(detail::bit_cast<floats>(bits));
    const floats back = detail::from_half<floats>(halves);
    for (std::size_t i = 0; i < lanes; ++i) {
      wrong += halves[i] != detail::to_half(detail::bits_float(in[i]));
      wrong += bfloats[i] != detail::to_bfloat(detail::bits_float(in[i]));
      wrong += detail::float_bits(back[i]) != detail::float_bits(detail::from_half<float>(halves[i]));
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("nibbles lie low first and come back") {
  for_random_cases(300, [](random_source& random) {
    const std::size_t n = random.extent(1, 300), col = random.integer(0, 5);
    std::vector<std::uint8_t> fields(n), row((col + n + 1) / 2, 0), back(col + n);
    for (std::uint8_t& f : fields) f = static_cast<std::uint8_t>(random.bits() & 15);
    impl::pack_nibbles(fields.data(), n, row.data(), col);
    impl::unpack_nibbles(row.data(), col + n, back.data());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
      wrong += back[col + i] != fields[i];
      wrong += ((row[(col + i) / 2] >> (4 * ((col + i) % 2))) & 15) != fields[i];
    }
    for (std::size_t i = 0; i < col; ++i) wrong += back[i] != 0;
    CHECK(wrong == 0);
  });
}
