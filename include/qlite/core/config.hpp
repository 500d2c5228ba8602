// Namespaces and attributes that every header of qlite is written with.
//
// Two namespaces, one reason. A program may link objects that were compiled for different instruction sets. The linker
// keeps one copy of each inline function it meets twice, and that copy may hold instructions the running CPU lacks.
// Therefore
//   * types live in qlite::v0 and are the same in every translation unit; their members are always inlined, so that no
//     copy of them is ever emitted;
//   * functions live in qlite::v0::<flag set>, an inline namespace named after the instruction sets and language modes
//     of the translation unit, so that two flag sets never share a symbol.
#pragma once

#include <cstddef>
#include <cstdint>

#define QLITE_DETAIL_CAT_(a, b) a##b
#define QLITE_DETAIL_CAT(a, b) QLITE_DETAIL_CAT_(a, b)

// One digit per property of the translation unit. A property that no digit names must not change the code qlite emits.
#if defined(__SSE3__)
#define QLITE_DETAIL_F0 1
#else
#define QLITE_DETAIL_F0 0
#endif
#if defined(__SSSE3__)
#define QLITE_DETAIL_F1 1
#else
#define QLITE_DETAIL_F1 0
#endif
#if defined(__SSE4_1__)
#define QLITE_DETAIL_F2 1
#else
#define QLITE_DETAIL_F2 0
#endif
#if defined(__SSE4_2__)
#define QLITE_DETAIL_F3 1
#else
#define QLITE_DETAIL_F3 0
#endif
#if defined(__AVX__)
#define QLITE_DETAIL_F4 1
#else
#define QLITE_DETAIL_F4 0
#endif
#if defined(__AVX2__)
#define QLITE_DETAIL_F5 1
#else
#define QLITE_DETAIL_F5 0
#endif
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define QLITE_DETAIL_F6 1
#else
#define QLITE_DETAIL_F6 0
#endif
#if defined(__F16C__)
#define QLITE_DETAIL_F7 1
#else
#define QLITE_DETAIL_F7 0
#endif
#if defined(__BMI2__) || defined(__ARM_FEATURE_CRC32)
#define QLITE_DETAIL_F8 1
#else
#define QLITE_DETAIL_F8 0
#endif
#if defined(__BMI__) && defined(__LZCNT__)
#define QLITE_DETAIL_F9 3
#elif defined(__LZCNT__)
#define QLITE_DETAIL_F9 2
#elif defined(__BMI__)
#define QLITE_DETAIL_F9 1
#else
#define QLITE_DETAIL_F9 0
#endif
#if defined(__POPCNT__) && defined(__MOVBE__)
#define QLITE_DETAIL_F10 3
#elif defined(__MOVBE__)
#define QLITE_DETAIL_F10 2
#elif defined(__POPCNT__) || defined(__ARM_FEATURE_ATOMICS)
#define QLITE_DETAIL_F10 1
#else
#define QLITE_DETAIL_F10 0
#endif
#if defined(__AVXVNNI__)
#define QLITE_DETAIL_F11 1
#else
#define QLITE_DETAIL_F11 0
#endif
#if defined(__AVX512F__)
#define QLITE_DETAIL_F12 1
#else
#define QLITE_DETAIL_F12 0
#endif
#if defined(__AVX512BW__) && defined(__AVX512DQ__)
#define QLITE_DETAIL_F13 3
#elif defined(__AVX512DQ__)
#define QLITE_DETAIL_F13 2
#elif defined(__AVX512BW__)
#define QLITE_DETAIL_F13 1
#else
#define QLITE_DETAIL_F13 0
#endif
#if defined(__AVX512VL__) && defined(__AVX512CD__)
#define QLITE_DETAIL_F14 3
#elif defined(__AVX512CD__)
#define QLITE_DETAIL_F14 2
#elif defined(__AVX512VL__)
#define QLITE_DETAIL_F14 1
#else
#define QLITE_DETAIL_F14 0
#endif
#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_DOTPROD)
#define QLITE_DETAIL_F15 1
#else
#define QLITE_DETAIL_F15 0
#endif
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16)
#define QLITE_DETAIL_F16 1
#else
#define QLITE_DETAIL_F16 0
#endif
#if defined(__AVX512VBMI__) || defined(__AVX512VBMI2__) || defined(__AVX512IFMA__) || defined(__AVX512BITALG__)
#define QLITE_DETAIL_F17 1
#else
#define QLITE_DETAIL_F17 0
#endif
#if defined(__AVX512FP16__) || defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define QLITE_DETAIL_F18 1
#else
#define QLITE_DETAIL_F18 0
#endif
#if defined(__AMX_INT8__) || defined(__ARM_FEATURE_MATMUL_INT8)
#define QLITE_DETAIL_F19 1
#else
#define QLITE_DETAIL_F19 0
#endif
#if defined(__AVX512VPOPCNTDQ__) || defined(__GFNI__) || defined(__XOP__) || defined(__FMA4__) || \
    defined(__ARM_FEATURE_SVE)
#define QLITE_DETAIL_F20 1
#else
#define QLITE_DETAIL_F20 0
#endif
#if defined(__FAST_MATH__)
#define QLITE_DETAIL_F21 1
#else
#define QLITE_DETAIL_F21 0
#endif
#if defined(NDEBUG)
#define QLITE_DETAIL_F22 1
#else
#define QLITE_DETAIL_F22 0
#endif

// Errors are exceptions unless the translation unit has none, or asks for the handler (core/error.hpp).
#if !defined(QLITE_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(__EXCEPTIONS)
#define QLITE_NO_EXCEPTIONS 1
#endif
#if defined(QLITE_NO_EXCEPTIONS) && defined(__CUDACC__)
#define QLITE_DETAIL_F23 3
#elif defined(__CUDACC__)
#define QLITE_DETAIL_F23 2
#elif defined(QLITE_NO_EXCEPTIONS)
#define QLITE_DETAIL_F23 1
#else
#define QLITE_DETAIL_F23 0
#endif

#define QLITE_DETAIL_CAT8(a, b, c, d, e, f, g, h) QLITE_DETAIL_CAT8_(a, b, c, d, e, f, g, h)
#define QLITE_DETAIL_CAT8_(a, b, c, d, e, f, g, h) a##b##c##d##e##f##g##h

/// Name of the inline namespace that holds the functions of this translation unit: `isa_` and one digit per property.
#define QLITE_FLAG_SET                                                                                             \
  QLITE_DETAIL_CAT(                                                                                                \
      QLITE_DETAIL_CAT(QLITE_DETAIL_CAT(isa_, QLITE_DETAIL_CAT8(QLITE_DETAIL_F0, QLITE_DETAIL_F1, QLITE_DETAIL_F2, \
                                                                QLITE_DETAIL_F3, QLITE_DETAIL_F4, QLITE_DETAIL_F5, \
                                                                QLITE_DETAIL_F6, QLITE_DETAIL_F7)),                \
                       QLITE_DETAIL_CAT8(QLITE_DETAIL_F8, QLITE_DETAIL_F9, QLITE_DETAIL_F10, QLITE_DETAIL_F11,     \
                                         QLITE_DETAIL_F12, QLITE_DETAIL_F13, QLITE_DETAIL_F14, QLITE_DETAIL_F15)), \
      QLITE_DETAIL_CAT8(QLITE_DETAIL_F16, QLITE_DETAIL_F17, QLITE_DETAIL_F18, QLITE_DETAIL_F19, QLITE_DETAIL_F20,  \
                        QLITE_DETAIL_F21, QLITE_DETAIL_F22, QLITE_DETAIL_F23))

/// Opens the namespace of types: members always inlined, layout the same in every translation unit.
#define QLITE_BEGIN_NAMESPACE \
  namespace qlite {           \
  inline namespace v0 {
#define QLITE_END_NAMESPACE \
  }                         \
  }

/// Opens the namespace of functions, named after the flags of this translation unit.
#define QLITE_BEGIN_FUNCTIONS \
  namespace qlite {           \
  inline namespace v0 {       \
  inline namespace QLITE_FLAG_SET {
#define QLITE_END_FUNCTIONS \
  }                         \
  }                         \
  }

/// INT8 and INT4 quantization and matrix products. README.md shows the way through it.
namespace qlite {
inline namespace v0 {
/// Types and always-inlined helpers that are not part of the interface.
namespace detail {}
inline namespace QLITE_FLAG_SET {
/// Functions that are not part of the interface; they see what is in `detail` by its plain name.
namespace impl {
using namespace ::qlite::v0::detail;    // NOLINT: one namespace in two halves
}
}    // namespace QLITE_FLAG_SET
}    // namespace v0
}    // namespace qlite

#if defined(__GNUC__) || defined(__clang__)
#define QLITE_INLINE inline __attribute__((always_inline))
#define QLITE_NOINLINE __attribute__((noinline))
#define QLITE_COLD __attribute__((noinline, cold))
#define QLITE_LIKELY(x) (__builtin_expect(!!(x), 1))
#define QLITE_UNLIKELY(x) (__builtin_expect(!!(x), 0))
#define QLITE_RESTRICT __restrict__
#else
#error "qlite needs a compiler with GNU attributes: g++ 12, clang 14, nvcc 12 or newer"
#endif

/// Before QLITE_INLINE where kernels on a GPU share the function.
#if defined(__CUDACC__)
#define QLITE_HOST_DEVICE __host__ __device__
#else
#define QLITE_HOST_DEVICE
#endif

/// After the parameters of a lambda that must be inlined.
#define QLITE_LAMBDA __attribute__((always_inline))

/// Debug assertion, for what the door has checked already.
#if defined(NDEBUG)
#define QLITE_ASSERT(condition) static_cast<void>(0)
#else
#include <cassert>
#define QLITE_ASSERT(condition) assert(condition)
#endif
