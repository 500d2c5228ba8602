// The packed layout is the one that pack/layout.hpp draws, byte for byte, and its padding never counts.
#include "gemm/oracle.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

// Where the drawing puts things, in bytes from the start of the packed matrix.
template <class Scheme>
class drawing {
 public:
  using traits = ql::detail::scheme_traits<Scheme>;
  static constexpr std::size_t unit = backend::k_unit, codes_a_byte = traits::bits == 4 ? 2 : 1;
  static constexpr std::size_t line_k = unit * codes_a_byte, line_bytes = 16 * unit;

  drawing(std::size_t n, std::size_t k, std::size_t group)
      : rows(n), cols(k), group_size(std::min(group, k)), groups((k + group_size - 1) / group_size) {
    block = std::min<std::size_t>(groups, 4);
    zeros = pad(block * 16 * sizeof(typename traits::scale));
    offsets = zeros + (traits::has_zero_point ? pad(block * 16) : 0);
    header = offsets;
    if constexpr (traits::has_offset) header += pad(block * 16 * sizeof(typename traits::offset_type));
    strip = (groups + block - 1) / block * header;
    for (std::size_t g = 0; g < groups; ++g) strip += lines(g) * line_bytes;
  }

  std::size_t rows, cols, group_size, groups;
  std::size_t block, zeros, offsets, header, strip;    // groups of a block; bytes

  static std::size_t pad(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  std::size_t length(std::size_t g) const { return std::min(group_size, cols - g * group_size); }
  std::size_t lines(std::size_t g) const { return (length(g) + line_k - 1) / line_k; }
  std::size_t block_of(std::size_t g) const {
    std::size_t at = g / block * header;
    for (std::size_t i = 0; i < g / block * block; ++i) at += lines(i) * line_bytes;
    return at;
  }
  std::size_t codes_of(std::size_t g) const {
    std::size_t at = block_of(g) + header;
    for (std::size_t i = g / block * block; i < g; ++i) at += lines(i) * line_bytes;
    return at;
  }
  std::size_t scale_at(std::size_t row, std::size_t g) const {
    return row / 16 * strip + block_of(g) + (g % block * 16 + row % 16) * sizeof(typename traits::scale);
  }
  std::size_t zero_at(std::size_t row, std::size_t g) const {
    return row / 16 * strip + block_of(g) + zeros + g % block * 16 + row % 16;
  }
  // The byte that holds weight `i` of group g, which may be padding, and the shift of its nibble.
  std::size_t code_at(std::size_t row, std::size_t g, std::size_t i) const {
    return row / 16 * strip + codes_of(g) + i / line_k * line_bytes + row % 16 * unit + i % line_k % unit;
  }
  static int shift_of(std::size_t i) { return traits::bits == 4 && i % line_k >= unit ? 4 : 0; }
};

template <class Scheme>
void check_layout(std::uint64_t cases) {
  using traits = ql::detail::scheme_traits<Scheme>;
  for_random_cases(cases, [](random_source& random) {
    const std::size_t n = random.extent(1, 50), k = random.extent(1, 400), group = random.extent(1, 140);
    INFO(ql::name<Scheme>() << ", n " << n << ", k " << k << ", group " << group);
    const auto q = random_quantized<Scheme>(random, n, k, with_group<Scheme>(group));
    const drawing<Scheme> at(n, k, q.group_size());
    const std::size_t bytes = ql::packed_bytes<Scheme, backend>(n, k, q.scheme());
    REQUIRE(bytes == (n + 15) / 16 * at.strip);

    std::vector<std::uint32_t> words(bytes / 4);
    const auto packed = ql::pack<backend>(q.view(), words.data(), bytes);
    auto* const memory = reinterpret_cast<std::uint8_t*>(words.data());
    constexpr int bias = traits::bits == 8 && backend::unsigned_int8 ? 128 : 0;
    constexpr int mask = traits::bits == 4 ? 15 : 255;
    bool codes = true, headers = true;
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t g = 0; g < at.groups; ++g) {
        const auto scale = q.scales()[q.view().scale_index(r, g)];
        headers = headers && std::memcmp(memory + at.scale_at(r, g), &scale, sizeof scale) == 0;
        if constexpr (traits::has_zero_point)
          headers = headers && memory[at.zero_at(r, g)] == ((q.zero_point(r, g) + bias) & 255);
        for (std::size_t i = 0; i < at.length(g); ++i) {
          const int stored = memory[at.code_at(r, g, i)] >> at.shift_of(i);
          const int want = q.code(r, g * at.group_size + i) + traits::stored_bias + bias;
          codes = codes && (stored & mask) == (want & mask);
        }
      }
    }
    REQUIRE(headers);
    REQUIRE(codes);

    // Garbage in all the padding: codes beyond the end of a group, rows beyond the last.
    const std::size_t m = random.pick<std::size_t>({1, 5, 20});
    const auto x = random_inputs<float>(random, m, k);
    std::vector<float> y(m * n), z(m * n), u(m * n), v(m * n);
    const auto multiply = [&](std::vector<float>& integer, std::vector<float>& floating) {
      ql::gemm(ql::dynamic<ql::int8>(x.view()), packed, ql::matrix_view<float>{integer.data(), m, n});
      ql::gemm(x.view(), packed, ql::matrix_view<float>{floating.data(), m, n});
    };
    multiply(y, u);
    for (std::size_t r = 0; r < (n + 15) / 16 * 16; ++r) {
      for (std::size_t g = 0; g < at.groups; ++g) {
        for (std::size_t i = r < n ? at.length(g) : 0; i < at.lines(g) * at.line_k; ++i) {
          std::uint8_t& byte = memory[at.code_at(r, g, i)];
          byte = static_cast<std::uint8_t>((byte & ~(mask << at.shift_of(i))) |
                                           ((static_cast<int>(random.bits() & 255) & mask) << at.shift_of(i)));
        }
        if (r >= n) {
          const auto nan = from_float<typename traits::scale>(NAN);
          std::memcpy(memory + at.scale_at(r, g), &nan, sizeof nan);
        }
      }
    }
    multiply(z, v);
    const bool integer_same = std::memcmp(y.data(), z.data(), y.size() * sizeof(float)) == 0;
    const bool floating_same = std::memcmp(u.data(), v.data(), u.size() * sizeof(float)) == 0;
    REQUIRE(integer_same);
    REQUIRE(floating_same);
  });
}

TEST_CASE("the layout is as drawn, and its padding never counts") {
  using ql::dynamic_extent, ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;
  check_layout<scheme<int4, per_group<dynamic_extent>>>(40);
  check_layout<scheme<int4, per_group<dynamic_extent>, ql::asymmetric, float>>(40);
  check_layout<scheme<int4, per_channel, ql::offset<ql::float16>>>(20);
  check_layout<scheme<int8, per_group<dynamic_extent>>>(40);
  check_layout<scheme<int8, per_group<dynamic_extent>, ql::asymmetric>>(40);
}
