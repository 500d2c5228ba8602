// Run-time check of the CPU. Includes no kernel, so that the translation unit that decides needs no special flags.
#pragma once

#include <qlite/core/backend.hpp>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

QLITE_BEGIN_NAMESPACE
namespace detail {

#if defined(__x86_64__) || defined(__i386__)
enum class cpuid_register { eax, ecx };

/// One bit of CPUID, for features that the compilers' builtin does not know by name.
QLITE_INLINE bool cpuid_bit(unsigned leaf, unsigned subleaf, cpuid_register where, unsigned bit) noexcept {
  unsigned a = leaf, b = 0, c = subleaf, d = 0;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  static_cast<void>(b), static_cast<void>(d);
  return (((where == cpuid_register::eax ? a : c) >> bit) & 1u) != 0;
}
#endif

}    // namespace detail

/// Whether the running CPU (and its operating system) can execute what `Backend` needs. For code that was compiled for
/// several backends and picks one when it starts. `generic` needs what its own translation unit was compiled for,
/// which only that one can tell: here it counts as always supported.
template <class Backend>
QLITE_INLINE bool supported() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();    // the builtins also ask the operating system about the registers it saves
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    detail::cpuid_bit(1, 0, detail::cpuid_register::ecx, 29);    // F16C
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if constexpr (std::is_same_v<Backend, cpu::avx2>) return avx2;
  if constexpr (std::is_same_v<Backend, cpu::avx_vnni>)
    return avx2 && detail::cpuid_bit(7, 1, detail::cpuid_register::eax, 4);
  if constexpr (std::is_same_v<Backend, cpu::avx512>) return avx512;
  if constexpr (std::is_same_v<Backend, cpu::avx512_vnni>) return avx512 && __builtin_cpu_supports("avx512vnni");
  if constexpr (std::is_same_v<Backend, cpu::avx512_bf16>)
    return avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long dotprod = 1ul << 20;    // HWCAP_ASIMDDP
  constexpr unsigned long i8mm = 1ul << 13;       // HWCAP2_I8MM
  if constexpr (std::is_same_v<Backend, cpu::neon_dotprod>) return (::getauxval(AT_HWCAP) & dotprod) != 0;
  if constexpr (std::is_same_v<Backend, cpu::neon_i8mm>)
    return (::getauxval(AT_HWCAP) & dotprod) != 0 && (::getauxval(AT_HWCAP2) & i8mm) != 0;
#endif
  return std::is_same_v<Backend, cpu::scalar> || std::is_same_v<Backend, cpu::generic>;
}

QLITE_END_NAMESPACE
