// The packed form: every byte where detail/layout.cuh draws it, and back again.
#include "cuda/cases.hpp"

#include <qlite/quantize.hpp>

using namespace qlite_test;
namespace ql = qlite;

namespace {

std::size_t up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Written from the drawing, field by field, with nothing of the library's.
template <class Scheme>
std::vector<std::uint8_t> expected_bytes(const ql::quantized_view<Scheme>& q) {
  using traits = ql::detail::scheme_traits<Scheme>;
  constexpr std::size_t bits = traits::bits;
  const std::size_t row_tiles = up(q.rows(), 16) / 16, col_tiles = up(q.cols(), 64) / 64, tile = 16 * 64 * bits / 8;
  const std::size_t numbers = row_tiles * q.groups() * 16, number = sizeof(typename traits::scale);
  const std::size_t scales = up(row_tiles * col_tiles * tile, 256), zeros = scales + up(numbers * number, 256);
  const std::size_t offsets = zeros + up(traits::has_zero_point ? numbers : 0, 256);
  std::size_t end = offsets;
  if (traits::has_offset) end += up(numbers * sizeof(ql::detail::offset_storage<Scheme>), 256);
  std::vector<std::uint8_t> bytes(end, 0);
  for (std::size_t r = 0; r < q.rows(); ++r) {
    const std::size_t g = r % 8, below = r % 16 / 8;
    for (std::size_t c = 0; c < q.cols(); ++c) {
      const std::size_t k = c % 64, h = k / 32, t = k / 8 % 4, e = k / 4 % 2, j = k % 4, lane = 4 * g + t;
      const std::size_t at = (r / 16 * col_tiles + c / 64) * tile;
      const int field = q.code(r, c) + traits::stored_bias;
      const std::size_t byte_of_j[4] = {0, 2, 1, 3};
      if (bits == 4) {
        bytes[at + 16 * lane + 4 * (2 * h + e) + byte_of_j[j]] |= static_cast<std::uint8_t>(field << (4 * below));
      } else {
        bytes[at + 512 * below + 16 * lane + 4 * (2 * h + e) + byte_of_j[j]] = static_cast<std::uint8_t>(field);
      }
    }
    for (std::size_t group = 0; group < q.groups(); ++group) {
      const std::size_t at = (r / 16 * q.groups() + group) * 16 + 2 * g + below;
      std::memcpy(bytes.data() + scales + at * number, q.scales() + q.scale_index(r, group), number);
      if (traits::has_zero_point) bytes[zeros + at] = static_cast<std::uint8_t>(q.zero_point(r, group));
      if constexpr (traits::has_offset)
        std::memcpy(bytes.data() + offsets + at * sizeof(*q.offsets()), q.offsets() + q.scale_index(r, group),
                    sizeof(*q.offsets()));
    }
  }
  return bytes;
}

// What pack leaves between the parts is not specified; it is compared with what lay there before, all ones.
template <class Scheme>
void check(std::uint64_t cases) {
  for_random_cases(cases, [](random_source& random) {
    const device_case c = random_device_case<Scheme, false>(random);
    INFO(ql::name<Scheme>() << ", n " << c.n << ", k " << c.k << ", group " << c.group);
    const auto q = random_quantized<Scheme>(random, c.n, c.k, with_group<Scheme>(c.group));
    std::vector<std::uint8_t> bytes;
    REQUIRE(device::pack<Scheme>(q.view(), random.chance(0.5), bytes) == 0);
    const std::vector<std::uint8_t> expected = expected_bytes(q.view());
    REQUIRE(bytes.size() == expected.size());
    // between parts: 0xff there, 0 here
    std::size_t different = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) different += bytes[i] != expected[i] && bytes[i] != 0xff;
    REQUIRE(different == 0);

    ql::quantized_matrix<Scheme> back(c.n, c.k, q.scheme());
    REQUIRE(device::round_trip<Scheme>(q.view(), random.chance(0.5), back) == 0);
    REQUIRE(same_bytes(q.view(), back.view()));

    std::vector<float> numbers(c.n * c.k), want(c.n * c.k);
    REQUIRE(device::dequantize<Scheme, float>(q.view(), numbers.data()) == 0);
    ql::dequantize(q, ql::matrix_view<float>{want.data(), c.n, c.k});
    REQUIRE((numbers.empty() || std::memcmp(numbers.data(), want.data(), numbers.size() * sizeof(float)) == 0));
  });
}

template <class Code>
void check_all() {
  check<grouped<Code>>(40);
  check<grouped_asymmetric<Code>>(40);
  check<grouped_offset<Code>>(40);
  check<channel_float<Code>>(20);
  check<channel_asymmetric<Code>>(20);
  check<channel_offset<Code>>(20);
  check<tensor<Code>>(20);
}

}    // namespace

TEST_CASE("packed int4") { check_all<ql::int4>(); }
TEST_CASE("packed nf4 and nl4") {
  check<grouped<ql::nf4>>(40);
  check<qlora>(20);
  check<grouped<ql::nl4>>(40);
  check<channel_float<ql::nl4>>(20);
}
TEST_CASE("packed int8") { check_all<ql::int8>(); }

// Double-quantized scales (QLoRA) are a form of the file: they are restored on the host, and packed as floats.
TEST_CASE("compressed scales are packed as what they stand for") {
  for_random_cases(20, [](random_source& random) {
    const std::size_t n = random.integer(1, 60), k = random.integer(1, 400);
    const auto w = random.normal_vector(n * k);
    auto q = ql::quantize<qlora>(ql::matrix_view<const float>{w.data(), n, k}, ql::rtn{});
    ql::restore_scales(ql::compress_scales(q), q);
    std::vector<float> numbers(n * k), want(n * k);
    REQUIRE(device::dequantize<qlora, float>(q.view(), numbers.data()) == 0);
    ql::dequantize(q, ql::matrix_view<float>{want.data(), n, k});
    REQUIRE(std::memcmp(numbers.data(), want.data(), numbers.size() * sizeof(float)) == 0);
  });
}
