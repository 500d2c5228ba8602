// Counts the allocations of calls to thread_pool; a program of its own, because it replaces operator new.
#include <atomic>
#include <cstdlib>
#include <new>
#include <qlite/core/executors/thread_pool.hpp>

#include "support/catch.hpp"

namespace {
std::atomic<long> allocations{0};

void* allocate(std::size_t bytes) noexcept {
  ++allocations;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
}    // namespace

// All forms that this program uses, so that a sanitizer sees matching pairs.
void* operator new(std::size_t bytes) {
  if (void* p = allocate(bytes)) return p;
  throw std::bad_alloc{};
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }

TEST_CASE("a call to thread_pool allocates nothing") {
  const qlite::thread_pool pool(3);
  std::atomic<std::size_t> count{0};
  const long before = allocations;
  for (int i = 0; i < 100; ++i) pool.parallel_for(3, [&](std::size_t) { ++count; });
  CHECK(allocations == before);
  CHECK(before > 0);
  CHECK(count == 300);
}
