// Packing loses nothing, writes what it says it writes, and packs the same bytes whoever owns the memory.
#include "gemm/executors.hpp"
#include "gemm/matrices.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

template <class Scheme>
void check_packing(std::uint64_t cases) {
  for_random_cases(cases, [](random_source& random) {
    const std::size_t n = random.extent(0, 70), k = random.extent(0, 700);
    std::size_t group = random.pick<std::size_t>({1, 2, 3, 5, 8, 16, 31, 32, 64, 100, 128, k, k + 1, 1000});
    if (group == 0) group = 1;
    const Scheme scheme = with_group<Scheme>(group);
    INFO(ql::name<Scheme>() << ", n " << n << ", k " << k << ", group " << group);
    const auto q = random_quantized<Scheme>(random, n, k, scheme);

    const auto packed = ql::pack<backend>(q);
    const auto back = ql::unpack(packed);
    REQUIRE(same_bytes(back.view(), q.view()));
    REQUIRE(packed.rows() == n);
    REQUIRE(packed.cols() == k);
    REQUIRE(reinterpret_cast<std::uintptr_t>(packed.data()) % 64 == 0);

    // Memory of the caller: exactly as much as was asked for, aligned to no more than 4 bytes, with any content.
    const std::size_t bytes = ql::packed_bytes<Scheme, backend>(n, k, scheme);
    REQUIRE(packed.bytes() == bytes);
    std::vector<std::uint32_t> memory(bytes / 4 + 3, static_cast<std::uint32_t>(random.bits()));
    REQUIRE(bytes % 4 == 0);
    memory[0] = memory[bytes / 4 + 1] = 0xfeedbeefu;
    const auto view = ql::pack<backend>(q.view(), memory.data() + 1, bytes, random_executor(random));
    REQUIRE(memory[0] == 0xfeedbeefu);
    REQUIRE(memory[bytes / 4 + 1] == 0xfeedbeefu);
    const bool same = bytes == 0 || std::memcmp(memory.data() + 1, packed.data(), bytes) == 0;
    REQUIRE(same);
    REQUIRE(same_bytes(ql::unpack(view).view(), q.view()));

    const auto on_threads = ql::pack<backend>(q, random_executor(random));
    const bool same_on_threads = bytes == 0 || std::memcmp(on_threads.data(), packed.data(), bytes) == 0;
    REQUIRE(same_on_threads);
  });
}

TEST_CASE("unpack(pack(q)) is q") {
  using ql::dynamic_extent, ql::per_group, ql::per_channel, ql::per_tensor, ql::int4, ql::int8, ql::scheme;
  check_packing<scheme<int4, per_group<dynamic_extent>>>(60);
  check_packing<scheme<int4, per_group<dynamic_extent>, ql::asymmetric, float>>(60);
  check_packing<scheme<int4, per_group<dynamic_extent>, ql::offset<float>>>(60);
  check_packing<scheme<int4, per_channel, ql::offset<ql::float16>, float>>(30);
  check_packing<scheme<int4, per_tensor, ql::asymmetric>>(30);
  check_packing<scheme<ql::nf4, per_group<dynamic_extent>>>(30);
  check_packing<scheme<ql::nl4, per_group<32>>>(30);
  check_packing<scheme<int8, per_group<dynamic_extent>, ql::symmetric, float>>(60);
  check_packing<scheme<int8, per_group<dynamic_extent>, ql::asymmetric>>(60);
  check_packing<scheme<int8, per_channel>>(30);
  check_packing<scheme<int8, per_channel, ql::offset<ql::float16>>>(30);
  check_packing<scheme<int8, per_tensor, ql::offset<float>, float>>(30);
}

// Large matrices are written past the caches where lines are aligned, and not where the memory that is lent is not.
TEST_CASE("large matrices are packed like small ones") {
  random_source random(7);
  const auto check = [&](auto scheme, std::size_t n, std::size_t k) {
    using type = decltype(scheme);
    const auto q = random_quantized<type>(random, n, k, scheme);
    const std::size_t bytes = ql::packed_bytes<type, backend>(n, k, scheme);
    REQUIRE(bytes >= std::size_t{4} << 20);
    const auto packed = ql::pack<backend>(q, any_executor(2, any_executor::order::threads));
    CHECK(same_bytes(ql::unpack(packed).view(), q.view()));

    ql::detail::buffer memory(bytes + 4);
    const auto beside = ql::pack<backend>(q, memory.data() + 4, bytes);
    CHECK(std::memcmp(beside.data(), packed.data(), bytes) == 0);
  };
  check(ql::scheme<ql::int8, ql::per_channel>{}, 2061, 2070);
  check(ql::scheme<ql::int4, ql::per_group<32>, ql::asymmetric>{}, 2070, 4100);
}
