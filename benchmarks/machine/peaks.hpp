// What the machine can do, measured in the run that reports a share of it: streaming reads and copies from huge pages,
// integer dot products and float multiply-adds that touch registers only.
//
// Absolute times on shared machines change by tens of percent within minutes; shares of a peak measured beside them
// change much less.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>

#include <qlite/core/buffer.hpp>
#include <qlite/core/executor.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qlite_bench {

// Seconds that this thread was running. For work on one thread: what other processes take from the core is left out.
inline double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The clock for work of an executor: of the calling thread where that does everything.
template <class Executor>
double seconds_of(const Executor& executor) {
  return executor.concurrency() == 1 ? thread_seconds() : wall_seconds();
}

// Memory that was written to, so that its pages exist: large, hence on huge pages where the system has them.
inline qlite::detail::buffer touched_buffer(std::size_t bytes) {
  qlite::detail::buffer memory(bytes);
  if (bytes != 0) std::memset(memory.data(), 1, bytes);
  return memory;
}

#if defined(__x86_64__)
inline bool has_vnni() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }
inline bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }
inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

namespace impl {

__attribute__((target("avx512f"))) inline std::uint64_t read_avx512(const std::byte* p, std::size_t bytes) {
  __m512i sum[8];
  for (auto& s : sum) s = _mm512_setzero_si512();
  for (std::size_t i = 0; i + 512 <= bytes; i += 512)
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(p + i + 64 * j));
  for (std::size_t j = 1; j < 8; ++j) sum[0] = _mm512_xor_si512(sum[0], sum[j]);
  return static_cast<std::uint64_t>(_mm512_cvtsi512_si32(sum[0]));
}

__attribute__((target("avx2"))) inline std::uint64_t read_avx2(const std::byte* p, std::size_t bytes) {
  __m256i sum[8];
  for (auto& s : sum) s = _mm256_setzero_si256();
  for (std::size_t i = 0; i + 256 <= bytes; i += 256)
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j)
      sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i + 32 * j)));
  for (std::size_t j = 1; j < 8; ++j) sum[0] = _mm256_xor_si256(sum[0], sum[j]);
  return static_cast<std::uint64_t>(_mm256_cvtsi256_si32(sum[0]));
}

// Inline assembly: a compiler would see that the operands never change.
__attribute__((target("avx512f,avx512vnni"))) inline void spin_vnni(std::size_t rounds) {
  for (std::size_t i = 0; i < rounds; ++i)
    __asm__ volatile(
        "vpdpbusd %%zmm30, %%zmm31, %%zmm0\n vpdpbusd %%zmm30, %%zmm31, %%zmm1\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm2\n vpdpbusd %%zmm30, %%zmm31, %%zmm3\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm4\n vpdpbusd %%zmm30, %%zmm31, %%zmm5\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm6\n vpdpbusd %%zmm30, %%zmm31, %%zmm7\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm8\n vpdpbusd %%zmm30, %%zmm31, %%zmm9\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm10\n vpdpbusd %%zmm30, %%zmm31, %%zmm11\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm12\n vpdpbusd %%zmm30, %%zmm31, %%zmm13\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm14\n vpdpbusd %%zmm30, %%zmm31, %%zmm15\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
              "xmm13", "xmm14", "xmm15");
}

__attribute__((target("avx512f"))) inline void spin_fma512(std::size_t rounds) {
  for (std::size_t i = 0; i < rounds; ++i)
    __asm__ volatile(
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm0\n vfmadd231ps %%zmm30, %%zmm31, %%zmm1\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm2\n vfmadd231ps %%zmm30, %%zmm31, %%zmm3\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm4\n vfmadd231ps %%zmm30, %%zmm31, %%zmm5\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm6\n vfmadd231ps %%zmm30, %%zmm31, %%zmm7\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm8\n vfmadd231ps %%zmm30, %%zmm31, %%zmm9\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm10\n vfmadd231ps %%zmm30, %%zmm31, %%zmm11\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm12\n vfmadd231ps %%zmm30, %%zmm31, %%zmm13\n"
        "vfmadd231ps %%zmm30, %%zmm31, %%zmm14\n vfmadd231ps %%zmm30, %%zmm31, %%zmm15\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
              "xmm13", "xmm14", "xmm15");
}

__attribute__((target("avx2,fma"))) inline void spin_fma256(std::size_t rounds) {
  for (std::size_t i = 0; i < rounds; ++i)
    __asm__ volatile(
        "vfmadd231ps %%ymm14, %%ymm15, %%ymm0\n vfmadd231ps %%ymm14, %%ymm15, %%ymm1\n"
        "vfmadd231ps %%ymm14, %%ymm15, %%ymm2\n vfmadd231ps %%ymm14, %%ymm15, %%ymm3\n"
        "vfmadd231ps %%ymm14, %%ymm15, %%ymm4\n vfmadd231ps %%ymm14, %%ymm15, %%ymm5\n"
        "vfmadd231ps %%ymm14, %%ymm15, %%ymm6\n vfmadd231ps %%ymm14, %%ymm15, %%ymm7\n"
        "vfmadd231ps %%ymm14, %%ymm15, %%ymm8\n vfmadd231ps %%ymm14, %%ymm15, %%ymm9\n"
        "vfmadd231ps %%ymm14, %%ymm15, %%ymm10\n vfmadd231ps %%ymm14, %%ymm15, %%ymm11\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
}

}    // namespace impl

inline std::uint64_t read_stream(const std::byte* p, std::size_t bytes) {
  return has_avx512() ? impl::read_avx512(p, bytes) : impl::read_avx2(p, bytes);
}
#else
inline bool has_vnni() { return false; }
inline bool has_avx512() { return false; }
inline bool has_avx2() { return false; }

inline std::uint64_t read_stream(const std::byte* p, std::size_t bytes) {
  std::uint64_t sum[8] = {};
  for (std::size_t i = 0; i + 64 <= bytes; i += 64) {
    std::uint64_t v[8];
    std::memcpy(v, p + i, sizeof v);
    for (std::size_t j = 0; j < 8; ++j) sum[j] ^= v[j];
  }
  return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}
#endif

// Operations per second of all of the executor's tasks together, each of which spins on registers.
template <class Spin, class Executor>
double spin_rate(const Spin& spin, double operations_per_round, const Executor& executor) {
  constexpr std::size_t rounds = 6000000;    // more than a time slice of a loaded machine
  const std::size_t tasks = executor.concurrency();
  const double start = seconds_of(executor);
  executor.parallel_for(tasks, [&](std::size_t) { spin(rounds); });
  return operations_per_round * static_cast<double>(rounds * tasks) / (seconds_of(executor) - start);
}

// Operations (two a multiply-add) per second of vpdpbusd on 512-bit registers; 0 where the CPU lacks it.
template <class Executor>
double vpdpbusd_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_vnni()) return spin_rate(impl::spin_vnni, 16 * 64 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}

// Operations per second of float multiply-adds in the widest registers.
template <class Executor>
double fma_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_avx512()) return spin_rate(impl::spin_fma512, 16 * 16 * 2, executor);
  if (has_avx2()) return spin_rate(impl::spin_fma256, 12 * 8 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}

inline volatile std::uint64_t sink;    // what must be computed although nobody asks

// Bytes per second that `executor` reads from [p, p + bytes), each task one contiguous slice.
template <class Executor>
double read_rate(const std::byte* p, std::size_t bytes, const Executor& executor) {
  const std::size_t tasks = executor.concurrency();
  const double start = seconds_of(executor);
  executor.parallel_for(tasks, [&](std::size_t i) {
    const auto part = qlite::detail::slice_of(bytes / 4096, tasks, i);
    sink = read_stream(p + part.begin * 4096, (part.end - part.begin) * 4096);
  });
  return static_cast<double>(bytes) / (seconds_of(executor) - start);
}

// Bytes per second, read and written together, of copying `bytes`.
template <class Executor>
double copy_rate(std::byte* to, const std::byte* from, std::size_t bytes, const Executor& executor) {
  const std::size_t tasks = executor.concurrency();
  const double start = seconds_of(executor);
  executor.parallel_for(tasks, [&](std::size_t i) {
    const auto part = qlite::detail::slice_of(bytes / 4096, tasks, i);
    std::memcpy(to + part.begin * 4096, from + part.begin * 4096, (part.end - part.begin) * 4096);
  });
  return 2 * static_cast<double>(bytes) / (seconds_of(executor) - start);
}

}    // namespace qlite_bench
