// What the machine can do, measured in the run that reports a share of it: streaming reads and copies from huge pages,
// integer dot products (with VNNI, and the shortest exact sequences of AVX2) and float multiply-adds that touch
// registers only.
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
// The same for all threads of this process together.
inline double process_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
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
inline bool has_bf16() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"); }
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

__attribute__((target("avx512f,avx512bf16"))) inline void spin_bf16(std::size_t rounds) {
  for (std::size_t i = 0; i < rounds; ++i)
    __asm__ volatile(
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm0\n vdpbf16ps %%zmm30, %%zmm31, %%zmm1\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm2\n vdpbf16ps %%zmm30, %%zmm31, %%zmm3\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm4\n vdpbf16ps %%zmm30, %%zmm31, %%zmm5\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm6\n vdpbf16ps %%zmm30, %%zmm31, %%zmm7\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm8\n vdpbf16ps %%zmm30, %%zmm31, %%zmm9\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm10\n vdpbf16ps %%zmm30, %%zmm31, %%zmm11\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm12\n vdpbf16ps %%zmm30, %%zmm31, %%zmm13\n"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm14\n vdpbf16ps %%zmm30, %%zmm31, %%zmm15\n" ::
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

// INT8 without a dot product instruction: the activations get the sign of the weights, whose magnitudes were taken once
// for all rows; the sum of two products fills 16 bits, so each is widened. Five sums of 32 products a round.
__attribute__((target("avx2"))) inline void spin_maddubs_int8(std::size_t rounds) {
  for (std::size_t i = 0; i < rounds; ++i)
    __asm__ volatile(
        "vpsignb %%ymm14, %%ymm15, %%ymm5\n vpmaddubsw %%ymm5, %%ymm13, %%ymm5\n"
        "vpmaddwd %%ymm12, %%ymm5, %%ymm5\n vpaddd %%ymm5, %%ymm0, %%ymm0\n"
        "vpsignb %%ymm14, %%ymm15, %%ymm6\n vpmaddubsw %%ymm6, %%ymm13, %%ymm6\n"
        "vpmaddwd %%ymm12, %%ymm6, %%ymm6\n vpaddd %%ymm6, %%ymm1, %%ymm1\n"
        "vpsignb %%ymm14, %%ymm15, %%ymm7\n vpmaddubsw %%ymm7, %%ymm13, %%ymm7\n"
        "vpmaddwd %%ymm12, %%ymm7, %%ymm7\n vpaddd %%ymm7, %%ymm2, %%ymm2\n"
        "vpsignb %%ymm14, %%ymm15, %%ymm8\n vpmaddubsw %%ymm8, %%ymm13, %%ymm8\n"
        "vpmaddwd %%ymm12, %%ymm8, %%ymm8\n vpaddd %%ymm8, %%ymm3, %%ymm3\n"
        "vpsignb %%ymm14, %%ymm15, %%ymm9\n vpmaddubsw %%ymm9, %%ymm13, %%ymm9\n"
        "vpmaddwd %%ymm12, %%ymm9, %%ymm9\n vpaddd %%ymm9, %%ymm4, %%ymm4\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
}

// INT4: eight sums of two products of nibbles fit 16 bits (8 * 2 * 15 * 128 < 2^15), and are widened together. Four
// sums of 32 products for each of the eight steps of a round; the first step of a sum needs no addition.
__attribute__((target("avx2"))) inline void spin_maddubs_int4(std::size_t rounds) {
#define QLITE_BENCH_STEP                                                          \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm8\n vpmaddubsw %%ymm14, %%ymm15, %%ymm9\n"   \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm10\n vpmaddubsw %%ymm14, %%ymm15, %%ymm11\n" \
  "vpaddw %%ymm8, %%ymm4, %%ymm4\n vpaddw %%ymm9, %%ymm5, %%ymm5\n"               \
  "vpaddw %%ymm10, %%ymm6, %%ymm6\n vpaddw %%ymm11, %%ymm7, %%ymm7\n"
  for (std::size_t i = 0; i < rounds; ++i)
    __asm__ volatile(
        "vpmaddubsw %%ymm14, %%ymm15, %%ymm4\n vpmaddubsw %%ymm14, %%ymm15, %%ymm5\n"
        "vpmaddubsw %%ymm14, %%ymm15, %%ymm6\n vpmaddubsw %%ymm14, %%ymm15, %%ymm7\n"    //
        QLITE_BENCH_STEP QLITE_BENCH_STEP QLITE_BENCH_STEP QLITE_BENCH_STEP              //
            QLITE_BENCH_STEP QLITE_BENCH_STEP QLITE_BENCH_STEP                           //
        "vpmaddwd %%ymm13, %%ymm4, %%ymm4\n vpmaddwd %%ymm13, %%ymm5, %%ymm5\n"
        "vpmaddwd %%ymm13, %%ymm6, %%ymm6\n vpmaddwd %%ymm13, %%ymm7, %%ymm7\n"
        "vpaddd %%ymm4, %%ymm0, %%ymm0\n vpaddd %%ymm5, %%ymm1, %%ymm1\n"
        "vpaddd %%ymm6, %%ymm2, %%ymm2\n vpaddd %%ymm7, %%ymm3, %%ymm3\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
#undef QLITE_BENCH_STEP
}

}    // namespace impl

inline std::uint64_t read_stream(const std::byte* p, std::size_t bytes) {
  return has_avx512() ? impl::read_avx512(p, bytes) : impl::read_avx2(p, bytes);
}
#else
inline bool has_vnni() { return false; }
inline bool has_bf16() { return false; }
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
double spin_rate(const Spin& spin, double instructions_per_round, double operations_per_round,
                 const Executor& executor) {
  // 100 million operations, 20 to 50 ms: more than a time slice of a loaded machine
  const auto rounds = static_cast<std::size_t>(96e6 / instructions_per_round);
  const std::size_t tasks = executor.concurrency();
  const double start = seconds_of(executor);
  executor.parallel_for(tasks, [&](std::size_t) { spin(rounds); });
  return operations_per_round * static_cast<double>(rounds * tasks) / (seconds_of(executor) - start);
}

// Operations (two a multiply-add) per second of vpdpbusd on 512-bit registers; 0 where the CPU lacks it.
template <class Executor>
double vpdpbusd_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_vnni()) return spin_rate(impl::spin_vnni, 16, 16 * 64 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}

// The same of vdpbf16ps.
template <class Executor>
double bf16_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_bf16()) return spin_rate(impl::spin_bf16, 16, 16 * 32 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}

// Operations per second of the shortest exact sequences of AVX2 for products of INT8 with INT8, and of INT4 with INT8.
template <class Executor>
double avx2_int8_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_avx2()) return spin_rate(impl::spin_maddubs_int8, 20, 5 * 32 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}
template <class Executor>
double avx2_int4_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_avx2()) return spin_rate(impl::spin_maddubs_int4, 4 * 17, 4 * 8 * 32 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}

// Operations per second of float multiply-adds in 256-bit registers, and in the widest.
template <class Executor>
double fma256_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_avx2()) return spin_rate(impl::spin_fma256, 12, 12 * 8 * 2, executor);
#endif
  static_cast<void>(executor);
  return 0;
}
template <class Executor>
double fma_rate(const Executor& executor) {
#if defined(__x86_64__)
  if (has_avx512()) return spin_rate(impl::spin_fma512, 16, 16 * 16 * 2, executor);
#endif
  return fma256_rate(executor);
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
