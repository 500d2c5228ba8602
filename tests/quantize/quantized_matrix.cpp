// The canonical form: what it costs to store, and where its numbers lie.
#include "quantize/oracle.hpp"
#include "support/catch.hpp"

namespace ql = qlite;
using namespace qlite_test;

namespace {
template <class Scheme>
using layout = ql::canonical_layout<Scheme>;

// codes, scales, zero points, offsets: known at compile time
static_assert(layout<ql::scheme<ql::int8, ql::per_channel>>{10, 33}.bytes() == 10 * 33 + 10 * 2);
static_assert(layout<ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>>{10, 33}.bytes() == 10 * 33 + 10 * 4);
static_assert(layout<ql::scheme<ql::int8, ql::per_tensor, ql::asymmetric>>{10, 33}.bytes() == 10 * 33 + 2 + 1);
static_assert(layout<ql::scheme<ql::int4, group<32>>>{10, 33}.bytes() == 10 * 17 + 10 * 2 * 2);
static_assert(layout<ql::scheme<ql::int4, group<32>, ql::asymmetric>>{10, 65}.bytes() ==
              10 * 33 + 10 * 3 * 2 + 10 * 2);    // three zero points in two bytes
static_assert(layout<ql::scheme<ql::int4, group<32>, ql::offset<float>>>{10, 64}.bytes() ==
              10 * 32 + 10 * 2 * 2 + 10 * 2 * 4);
static_assert(layout<ql::scheme<ql::int4, any_group>>{10, 100, {{48}}}.bytes() == 10 * 50 + 10 * 3 * 2);
static_assert(layout<ql::scheme<ql::int4, group<1000>>>{10, 100}.groups() == 1);
static_assert(layout<ql::scheme<ql::int4, group<32>>>{0, 0}.bytes() == 0);

template <class Scheme>
constexpr double bits(std::size_t rows, std::size_t cols) {
  return ql::quantized_view<Scheme>{{rows, cols}, nullptr, nullptr}.bits_per_weight();
}
static_assert(bits<ql::scheme<ql::int4, group<32>>>(4, 128) == 4.5);
static_assert(bits<ql::scheme<ql::int4, group<128>>>(4, 128) == 4.125);
static_assert(bits<ql::scheme<ql::int4, group<64>, ql::asymmetric>>(2, 128) == 4.3125);
static_assert(bits<ql::scheme<ql::int4, group<32>, ql::offset<>>>(4, 128) == 5.0);
static_assert(bits<ql::scheme<ql::int8, group<32>>>(4, 128) == 8.5);
static_assert(bits<ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>>(4, 128) == 8.25);
static_assert(bits<ql::scheme<ql::int8, ql::per_channel>>(0, 128) == 0.0);
}    // namespace

TEST_CASE("bytes and bits per weight count everything that is stored") {
  for_random_cases(100, [](random_source& random) {
    const std::size_t rows = random.extent(1, 20), cols = random.extent(1, 300), size = random.extent(1, 150);
    const std::size_t groups = (cols + size - 1) / size;
    const ql::quantized_matrix<ql::scheme<ql::int4, any_group, ql::asymmetric>> q(rows, cols, {{size}});
    const std::size_t bytes = rows * ((cols + 1) / 2) + rows * groups * 2 + rows * ((groups + 1) / 2);
    CHECK(q.bytes() == bytes);
    CHECK(q.bits_per_weight() == 8.0 * static_cast<double>(bytes) / static_cast<double>(rows * cols));
    const ql::quantized_matrix<ql::scheme<ql::int8, any_group, ql::offset<float>, float>> o(rows, cols, {{size}});
    CHECK(o.bytes() == rows * cols + rows * groups * 8);
  });
}

TEST_CASE("codes lie row by row, two nibbles a byte, low nibble first") {
  std::vector<float> w{-8, -7, 0, 7,  3,    // an odd number of columns: rows begin at whole bytes
                       8,  7,  0, -7, 1};
  const ql::matrix_view<float> W{w.data(), 2, 5};
  const auto q = ql::quantize<ql::scheme<ql::int4, group<32>>>(W, ql::rtn{});
  REQUIRE(q.bytes() == 2 * 3 + 2 * 2);
  CHECK(q.scale(0, 0) == 1.0f);
  CHECK(q.scale(1, 0) == -1.0f);
  const std::uint8_t expected[] = {0x10, 0xf8, 0x0b,     // -8 -7 | 0 7 | 3
                                   0x10, 0xf8, 0x07};    // the same but for the last, seen through a negative scale
  for (std::size_t i = 0; i < 6; ++i) CHECK(q.codes()[i] == expected[i]);

  std::vector<float> v{0, 15, 3, 5, -15, 0, -3, 1};
  const auto z =
      ql::quantize<ql::scheme<ql::int4, group<2>, ql::asymmetric>>(ql::matrix_view<float>{v.data(), 1, 8}, ql::rtn{});
  CHECK(z.zero_point(0, 0) == 0);
  CHECK(z.zero_point(0, 2) == 15);
  CHECK(z.zeros()[0] == 0x00);
  CHECK(z.zeros()[1] == (z.zero_point(0, 3) << 4 | 15));
  CHECK(z.codes()[0] == 0xf0);    // codes 0 and 15
}
