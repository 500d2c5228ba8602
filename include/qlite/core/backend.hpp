// Backends: one tag type per code path. A tag names a packed layout and the kernels that read it, never a flag of the
// compiler: the same tag means the same type in every translation unit.
//
// A CPU tag says what its packed layout depends on (pack/layout.hpp draws it):
//   k_unit         consecutive weights of a row that its dot product takes in one step
//   unsigned_int8  whether int8 codes are stored as code + 128, for dot products of unsigned by signed bytes
//
// To add a CPU backend: its tag here with its place in `detail::cpu_backends`, its kernels in cpu/<name>.hpp.
#pragma once

#include <qlite/core/config.hpp>

#include <type_traits>

QLITE_BEGIN_NAMESPACE

/// Backends of the CPU: tags that name a packed layout and the kernels that read it. docs/backends.md lists them.
namespace cpu {

/// Plain C++, the readable twin of every kernel. Runs anywhere.
struct scalar {
  static constexpr const char* name = "scalar";
  static constexpr const char* flags = "";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = false;
};
/// xsimd's default architecture for the flags of the translation unit; portable SIMD without hand-picked instructions.
struct generic {
  static constexpr const char* name = "generic";
  static constexpr const char* flags = "";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = false;
};
/// AVX2 with FMA and F16C.
struct avx2 {
  static constexpr const char* name = "avx2";
  static constexpr const char* flags = "-mavx2 -mfma -mf16c";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = false;
};
/// AVX2 with the VEX-encoded vpdpbusd.
struct avx_vnni {
  static constexpr const char* name = "avx_vnni";
  static constexpr const char* flags = "-mavx2 -mfma -mf16c -mavxvnni";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = true;
};
/// AVX-512 F, CD, BW, DQ, VL (x86-64-v4), no dot product instruction.
struct avx512 {
  static constexpr const char* name = "avx512";
  static constexpr const char* flags = "-march=x86-64-v4";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = false;
};
/// AVX-512 with vpdpbusd.
struct avx512_vnni {
  static constexpr const char* name = "avx512_vnni";
  static constexpr const char* flags = "-march=x86-64-v4 -mavx512vnni";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = true;
};
/// AVX-512 with vpdpbusd and vdpbf16ps.
struct avx512_bf16 {
  static constexpr const char* name = "avx512_bf16";
  static constexpr const char* flags = "-march=x86-64-v4 -mavx512vnni -mavx512bf16";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = true;
};
/// Armv8.2 with sdot.
struct neon_dotprod {
  static constexpr const char* name = "neon_dotprod";
  static constexpr const char* flags = "-march=armv8.2-a+dotprod";
  static constexpr std::size_t k_unit = 4;
  static constexpr bool unsigned_int8 = false;
};
/// Armv8.2 with smmla.
struct neon_i8mm {
  static constexpr const char* name = "neon_i8mm";
  static constexpr const char* flags = "-march=armv8.2-a+dotprod+i8mm";
  static constexpr std::size_t k_unit = 8;
  static constexpr bool unsigned_int8 = false;
};

}    // namespace cpu

namespace detail {

template <class... Ts>
struct type_list {};

/// Every CPU backend, the one to prefer first.
using cpu_backends = type_list<cpu::avx512_bf16, cpu::avx512_vnni, cpu::avx512, cpu::avx_vnni, cpu::avx2,
                               cpu::neon_i8mm, cpu::neon_dotprod, cpu::generic, cpu::scalar>;

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Whether the flags of this translation unit have the instructions of a backend.
template <class Backend>
inline constexpr bool is_compiled = false;
template <>
inline constexpr bool is_compiled<cpu::scalar> = true;
template <>
inline constexpr bool is_compiled<cpu::generic> = true;
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
template <>
inline constexpr bool is_compiled<cpu::avx2> = true;
#if defined(__AVXVNNI__)
template <>
inline constexpr bool is_compiled<cpu::avx_vnni> = true;
#endif
#if defined(__AVX512F__) && defined(__AVX512CD__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
template <>
inline constexpr bool is_compiled<cpu::avx512> = true;
#if defined(__AVX512VNNI__)
template <>
inline constexpr bool is_compiled<cpu::avx512_vnni> = true;
#if defined(__AVX512BF16__)
template <>
inline constexpr bool is_compiled<cpu::avx512_bf16> = true;
#endif
#endif
#endif
#endif
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
template <>
inline constexpr bool is_compiled<cpu::neon_dotprod> = true;
#if defined(__ARM_FEATURE_MATMUL_INT8)
template <>
inline constexpr bool is_compiled<cpu::neon_i8mm> = true;
#endif
#endif

template <class List>
struct first_compiled;
template <class B, class... Rest>
struct first_compiled<type_list<B, Rest...>> {
  using type = typename std::conditional_t<is_compiled<B>, std::enable_if<true, B>,
                                           first_compiled<type_list<Rest..., cpu::scalar>>>::type;
};

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace cpu {
/// The best backend that the flags of this translation unit allow.
using native = typename impl::first_compiled<detail::cpu_backends>::type;
}    // namespace cpu
QLITE_END_NAMESPACE
