// Replaces operator new of the program that includes this (in one source) by one that counts.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>

namespace qlite_test {
inline std::atomic<long> allocations{0};    // aligned ones too

inline void* counted_allocation(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  if (void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment + alignment)) return p;
  throw std::bad_alloc{};
}
}    // namespace qlite_test

// None is inlined, or g++ sees a free() of what comes from operator new, and complains.
__attribute__((noinline)) void* operator new(std::size_t bytes) { return qlite_test::counted_allocation(bytes, 16); }
__attribute__((noinline)) void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return qlite_test::counted_allocation(bytes, static_cast<std::size_t>(alignment));
}
__attribute__((noinline)) void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++qlite_test::allocations;
  return std::malloc(bytes);
}
__attribute__((noinline)) void operator delete(void* p) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::size_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
