#include <cstring>
#include <qlite/core/buffer.hpp>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/property.hpp"

using qlite::detail::buffer;
using qlite::detail::carver;

namespace {
std::size_t misalignment(const void* p, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(p) % alignment;
}
}    // namespace

TEST_CASE("buffer owns aligned memory that can be written to its end") {
  for (const std::size_t size : {std::size_t{1}, std::size_t{63}, std::size_t{4096}, (std::size_t{4} << 20) - 1,
                                 std::size_t{4} << 20, (std::size_t{5} << 20) + 3}) {
    const buffer memory(size);
    REQUIRE(memory.data() != nullptr);
    CHECK(memory.size() == size);
    CHECK(misalignment(memory.data(), 64) == 0);
    if (size >= std::size_t{4} << 20) CHECK(misalignment(memory.data(), std::size_t{2} << 20) == 0);
    std::memset(memory.data(), 0x5a, size);
    CHECK(memory.data()[size - 1] == std::byte{0x5a});
  }
  CHECK(buffer{}.data() == nullptr);
  CHECK(buffer{0}.data() == nullptr);
}

TEST_CASE("buffer moves") {
  buffer a(100);
  std::byte* const data = a.data();
  buffer b(std::move(a));
  CHECK(b.data() == data);
  CHECK(b.size() == 100);
  buffer c(std::size_t{5} << 20);    // of another alignment: each is freed as it was allocated
  c = std::move(b);
  CHECK(c.data() == data);
  CHECK(c.size() == 100);
}

TEST_CASE("carver says before what it needs after, and its pieces neither overlap nor leave the memory") {
  qlite_test::for_random_cases(200, [](qlite_test::random_source& random) {
    std::vector<std::size_t> counts;
    for (std::size_t i = random.integer(0, 6); i > 0; --i) counts.push_back(random.extent(0, 500));
    const auto carve = [&](carver memory, std::vector<std::pair<char*, std::size_t>>& pieces) {
      for (const std::size_t count : counts) {
        pieces.emplace_back(reinterpret_cast<char*>(memory.take<float>(count)), count * sizeof(float));
        pieces.emplace_back(reinterpret_cast<char*>(memory.take<char>(count)), count);
      }
      return memory.bytes();
    };
    std::vector<std::pair<char*, std::size_t>> none, pieces;
    const std::size_t bytes = carve(carver{}, none);
    for (const auto& piece : none) CHECK(piece.first == nullptr);

    std::vector<char> memory(bytes + 64);
    char* const begin = memory.data() + random.integer(0, 63);    // any alignment
    CHECK(carve(carver{begin}, pieces) == bytes);
    const char* end = begin;
    for (const auto& [data, size] : pieces) {
      CHECK(misalignment(data, 64) == 0);
      CHECK((size == 0 || data >= end));
      if (size != 0) end = data + size;
    }
    CHECK(end <= begin + bytes);
  });
}
