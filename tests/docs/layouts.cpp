// The worked example of docs/layouts.md, and the formula of the sizes there.
#include <qlite/gemm.hpp>

#include <cstring>
#include <vector>

#include "support/property.hpp"

namespace ql = qlite;

TEST_CASE("the worked example") {
#include "snippets/worked_example.inc"
  REQUIRE(packed_size == 1920);

  // The same numbers for a backend that packs here; its lines are those of the example.
  static_assert(ql::cpu::scalar::k_unit == backend::k_unit);
  qlite_test::random_source random(1);
  const auto w = random.normal_vector(20 * 100);
  const auto q = ql::quantize<w4>(ql::matrix_view<const float>{w.data(), 20, 100}, ql::rtn{});
  const auto packed = ql::pack<ql::cpu::scalar>(q);
  REQUIRE(packed.bytes() == packed_size);
  REQUIRE(std::memcmp(packed.data() + 1026, q.scales() + 17 * 4 + 2, 2) == 0);
  REQUIRE((static_cast<int>(packed.data()[1606]) >> 4) - 8 == q.code(17, 70));
}

TEST_CASE("packed sizes follow the formula, and whole groups cost no padding") {
  using ql::asymmetric, ql::int4, ql::int8, ql::packed_bytes, ql::per_channel, ql::per_group, ql::scheme;
  using backend = ql::cpu::avx2;
  const std::size_t n = 64, k = 1024;
  CHECK(packed_bytes<scheme<int4, per_group<128>>, backend>(n, k) ==
        ql::canonical_layout<scheme<int4, per_group<128>>>(n, k).bytes());
  CHECK(packed_bytes<scheme<int8, per_group<32>>, backend>(n, k) ==
        ql::canonical_layout<scheme<int8, per_group<32>>>(n, k).bytes());
  // 32 groups: zero points of a byte instead of half of one
  using with_zeros = scheme<int4, per_group<32>, asymmetric>;
  CHECK(packed_bytes<with_zeros, backend>(n, k) == ql::canonical_layout<with_zeros>(n, k).bytes() + n * 32 / 2);
  // per channel: 16 scales of 2 bytes in a header of 64
  using row_scales = scheme<int8, per_channel>;
  CHECK(packed_bytes<row_scales, backend>(n, k) == n / 16 * (64 + 256 * 64));
}
