// Backend tags: their order, their names, and what the running CPU says of them.
//
// Backends: every
#include <qlite/cpu/supported.hpp>
#include <qlite/gemm.hpp>

#include <cstring>

#include "support/catch.hpp"

namespace ql = qlite;
using backend = QLITE_TEST_BACKEND;

// main.cpp has checked the CPU already: a program that gets here may use its backend, and all the flags it was built
// with belong to this CPU too.
TEST_CASE("a program that runs has a CPU for its backend") {
  CHECK(ql::supported<backend>());
  CHECK(ql::supported<ql::cpu::native>());
  CHECK(ql::supported<ql::cpu::scalar>());
  CHECK(ql::supported<ql::cpu::generic>());
}

TEST_CASE("a CPU that has an instruction set has those it extends") {
  if (ql::supported<ql::cpu::avx512_bf16>()) CHECK(ql::supported<ql::cpu::avx512_vnni>());
  if (ql::supported<ql::cpu::avx512_vnni>()) CHECK(ql::supported<ql::cpu::avx512>());
  if (ql::supported<ql::cpu::avx512>()) CHECK(ql::supported<ql::cpu::avx2>());
  if (ql::supported<ql::cpu::avx_vnni>()) CHECK(ql::supported<ql::cpu::avx2>());
  if (ql::supported<ql::cpu::neon_i8mm>()) CHECK(ql::supported<ql::cpu::neon_dotprod>());
#if defined(__x86_64__)
  CHECK_FALSE(ql::supported<ql::cpu::neon_dotprod>());
#else
  CHECK_FALSE(ql::supported<ql::cpu::avx2>());
#endif
}

template <class T>
bool named(const char* name) {
  return std::strcmp(ql::name<T>(), name) == 0;
}

TEST_CASE("tags have names") {
  CHECK(named<ql::cpu::scalar>("scalar"));
  CHECK(named<ql::cpu::generic>("generic"));
  CHECK(named<ql::cpu::avx2>("avx2"));
  CHECK(named<ql::cpu::avx_vnni>("avx_vnni"));
  CHECK(named<ql::cpu::avx512>("avx512"));
  CHECK(named<ql::cpu::avx512_vnni>("avx512_vnni"));
  CHECK(named<ql::cpu::avx512_bf16>("avx512_bf16"));
  CHECK(named<ql::cpu::neon_dotprod>("neon_dotprod"));
  CHECK(named<ql::cpu::neon_i8mm>("neon_i8mm"));
}

// With the flags that a tag names, `native` is that tag or a better one; without any it is never scalar.
TEST_CASE("native is the best backend that the flags allow") {
  STATIC_REQUIRE(ql::impl::is_compiled<backend>);
  STATIC_REQUIRE(ql::impl::is_compiled<ql::cpu::native>);
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::avx512_bf16>);
#elif defined(__AVX512VNNI__)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::avx512_vnni>);
#elif defined(__AVX512BW__)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::avx512>);
#elif defined(__AVXVNNI__)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::avx_vnni>);
#elif defined(__AVX2__)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::avx2>);
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::neon_i8mm>);
#elif defined(__ARM_FEATURE_DOTPROD)
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::neon_dotprod>);
#else
  STATIC_REQUIRE(std::is_same_v<ql::cpu::native, ql::cpu::generic>);
#endif
}
