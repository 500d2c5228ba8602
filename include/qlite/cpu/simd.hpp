// xsimd as the kernels use it: a strip of 16 floats, one per column, whatever the register width.
//
// This is the one place that names xsimd's architectures and the places where its versions (8.1 and newer) differ.
// Raw instructions are used for what xsimd has no portable word for: a multiply-add that is always fused, a maximum
// with a defined NaN, and half precision.
#pragma once

#include <qlite/core/bits.hpp>
#include <qlite/core/half.hpp>

#include <xsimd/xsimd.hpp>

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// xsimd's architecture `Base` under a name that belongs to this flag set. Two flag sets can map to one architecture
/// (8.1 has no name for VNNI, say), and in unoptimized builds xsimd's functions are emitted: with this type in their
/// signature they are never shared between objects built for different instruction sets.
template <class Base>
struct tagged_arch : Base {};

#if defined(__aarch64__)
template <class Base>
using own_arch = Base;    // xsimd 8.1's neon64 cannot be derived from; one NEON register set, so nothing to tell apart
#else
template <class Base>
using own_arch = tagged_arch<Base>;
#endif

}    // namespace impl
QLITE_END_FUNCTIONS

namespace xsimd {
namespace types {
template <class T, class Base>
struct simd_register<T, ::qlite::v0::QLITE_FLAG_SET::impl::tagged_arch<Base>> {
  using register_type = typename simd_register<T, Base>::register_type;
  register_type data;
  QLITE_INLINE simd_register() noexcept = default;
  QLITE_INLINE simd_register(register_type r) noexcept : data(r) {}    // NOLINT: as xsimd's own registers
  QLITE_INLINE operator register_type() const noexcept { return data; }
};
template <class T, class Base>
struct has_simd_register<T, ::qlite::v0::QLITE_FLAG_SET::impl::tagged_arch<Base>> : has_simd_register<T, Base> {};
template <class T, class Base>
struct get_bool_simd_register<T, ::qlite::v0::QLITE_FLAG_SET::impl::tagged_arch<Base>> {
  // AVX-512 has mask registers, all others compare into full ones
  using base = typename get_bool_simd_register<T, Base>::type;
  using type = std::conditional_t<std::is_same<base, simd_register<T, Base>>::value,
                                  simd_register<T, ::qlite::v0::QLITE_FLAG_SET::impl::tagged_arch<Base>>, base>;
};
}    // namespace types
}    // namespace xsimd

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// `count` times four 32-bit words in a register: as many fours as the flags allow, each by itself (zip_low and
/// zip_high take the first and last two words of every four; transpose_fours makes register i of the fours i of all).
#if defined(__AVX512F__) || defined(__AVX2__)
struct word_fours {
#if defined(__AVX512F__)
  static constexpr std::size_t count = 4;
  __m512i v;
  QLITE_INLINE word_fours() noexcept = default;
  QLITE_INLINE word_fours(__m512i words) noexcept : v(words) {}    // NOLINT: as xsimd's batches
  QLITE_INLINE explicit word_fours(std::uint32_t word) noexcept : v(_mm512_set1_epi32(static_cast<int>(word))) {}
  QLITE_INLINE static word_fours load(const std::byte* p) noexcept { return _mm512_loadu_si512(p); }
  QLITE_INLINE void store(std::byte* p) const noexcept { _mm512_storeu_si512(p, v); }
  /// Past the caches, which a whole line may go; p is aligned to it. Ends with `streamed`.
  QLITE_INLINE void stream(std::byte* p) const noexcept { _mm512_stream_si512(reinterpret_cast<__m512i*>(p), v); }
  QLITE_INLINE friend void transpose_fours(word_fours (&r)[4]) noexcept {
    const __m512i a = _mm512_shuffle_i32x4(r[0].v, r[1].v, 0x44), b = _mm512_shuffle_i32x4(r[2].v, r[3].v, 0x44),
                  c = _mm512_shuffle_i32x4(r[0].v, r[1].v, 0xee), d = _mm512_shuffle_i32x4(r[2].v, r[3].v, 0xee);
    r[0].v = _mm512_shuffle_i32x4(a, b, 0x88);
    r[1].v = _mm512_shuffle_i32x4(a, b, 0xdd);
    r[2].v = _mm512_shuffle_i32x4(c, d, 0x88);
    r[3].v = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
  QLITE_INLINE friend word_fours operator^(word_fours a, word_fours b) noexcept { return _mm512_xor_si512(a.v, b.v); }
  QLITE_INLINE friend word_fours operator&(word_fours a, word_fours b) noexcept { return _mm512_and_si512(a.v, b.v); }
  QLITE_INLINE friend word_fours operator<<(word_fours a, int n) noexcept {
    return _mm512_slli_epi32(a.v, static_cast<unsigned>(n));
  }
  QLITE_INLINE friend word_fours operator>>(word_fours a, int n) noexcept {
    return _mm512_srli_epi32(a.v, static_cast<unsigned>(n));
  }
  QLITE_INLINE friend word_fours zip_low(word_fours a, word_fours b) noexcept {
    return _mm512_unpacklo_epi32(a.v, b.v);
  }
  QLITE_INLINE friend word_fours zip_high(word_fours a, word_fours b) noexcept {
    return _mm512_unpackhi_epi32(a.v, b.v);
  }
#else
  static constexpr std::size_t count = 2;
  __m256i v;
  QLITE_INLINE word_fours() noexcept = default;
  QLITE_INLINE word_fours(__m256i words) noexcept : v(words) {}    // NOLINT: as xsimd's batches
  QLITE_INLINE explicit word_fours(std::uint32_t word) noexcept : v(_mm256_set1_epi32(static_cast<int>(word))) {}
  QLITE_INLINE static word_fours load(const std::byte* p) noexcept {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  QLITE_INLINE void store(std::byte* p) const noexcept { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  QLITE_INLINE void stream(std::byte* p) const noexcept { store(p); }
  QLITE_INLINE friend void transpose_fours(word_fours (&r)[2]) noexcept {
    const __m256i a = r[0].v, b = r[1].v;
    r[0].v = _mm256_permute2x128_si256(a, b, 0x20);
    r[1].v = _mm256_permute2x128_si256(a, b, 0x31);
  }
  QLITE_INLINE friend word_fours operator^(word_fours a, word_fours b) noexcept { return _mm256_xor_si256(a.v, b.v); }
  QLITE_INLINE friend word_fours operator&(word_fours a, word_fours b) noexcept { return _mm256_and_si256(a.v, b.v); }
  QLITE_INLINE friend word_fours operator<<(word_fours a, int n) noexcept { return _mm256_slli_epi32(a.v, n); }
  QLITE_INLINE friend word_fours operator>>(word_fours a, int n) noexcept { return _mm256_srli_epi32(a.v, n); }
  QLITE_INLINE friend word_fours zip_low(word_fours a, word_fours b) noexcept {
    return _mm256_unpacklo_epi32(a.v, b.v);
  }
  QLITE_INLINE friend word_fours zip_high(word_fours a, word_fours b) noexcept {
    return _mm256_unpackhi_epi32(a.v, b.v);
  }
#endif
};
#else
struct word_fours {
#if defined(__aarch64__)
  using batch = xsimd::batch<std::uint32_t, xsimd::neon64>;
#else
  using batch = xsimd::batch<std::uint32_t, own_arch<xsimd::sse2>>;
#endif
  static constexpr std::size_t count = 1;
  batch v;
  QLITE_INLINE word_fours() noexcept = default;
  QLITE_INLINE word_fours(batch words) noexcept : v(words) {}    // NOLINT: as xsimd's batches
  QLITE_INLINE explicit word_fours(std::uint32_t word) noexcept : v(word) {}
  QLITE_INLINE static word_fours load(const std::byte* p) noexcept {
    std::uint32_t words[4];
    std::memcpy(words, p, sizeof words);
    return batch::load_unaligned(words);
  }
  QLITE_INLINE void store(std::byte* p) const noexcept {
    std::uint32_t words[4];
    v.store_unaligned(words);
    std::memcpy(p, words, sizeof words);
  }
  QLITE_INLINE void stream(std::byte* p) const noexcept { store(p); }
  QLITE_INLINE friend void transpose_fours(word_fours (&)[1]) noexcept {}
  QLITE_INLINE friend word_fours operator^(word_fours a, word_fours b) noexcept { return a.v ^ b.v; }
  QLITE_INLINE friend word_fours operator&(word_fours a, word_fours b) noexcept { return a.v & b.v; }
  QLITE_INLINE friend word_fours operator<<(word_fours a, int n) noexcept { return a.v << n; }
  QLITE_INLINE friend word_fours operator>>(word_fours a, int n) noexcept { return a.v >> n; }
  QLITE_INLINE friend word_fours zip_low(word_fours a, word_fours b) noexcept { return zip_lo(a.v, b.v); }
  QLITE_INLINE friend word_fours zip_high(word_fours a, word_fours b) noexcept { return zip_hi(a.v, b.v); }
};
#endif

/// What was streamed comes before what follows for other threads too.
QLITE_INLINE void streamed() noexcept {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}

/// Columns of a strip: rows of W that are laid out side by side, one per lane.
inline constexpr std::size_t strip_columns = 16;

#if (defined(__x86_64__) || defined(__i386__)) && !defined(__FMA__)
/// Lane by lane, and out of line: a product has hundreds of them, and inlined they dominate the time of a build.
template <class Register>
QLITE_NOINLINE inline Register emulated_fma(Register a, Register b, Register c) noexcept {
  for (std::size_t i = 0; i < sizeof(Register) / sizeof(float); ++i) c[i] = detail::fma(a[i], b[i], c[i]);
  return c;
}
#endif

// fused: a * b + c, rounded once. store_nearest: as integers, ties to even. max_or_nan: a if a > b, else b,
// so that a NaN in b stays. quotient: a / b, rounded once, which xsimd 8.1 only estimates on Arm.
#if defined(__x86_64__) || defined(__i386__)
QLITE_INLINE __m128 fused(__m128 a, __m128 b, __m128 c) noexcept {
#if defined(__FMA__)
  return _mm_fmadd_ps(a, b, c);
#else
  return emulated_fma(a, b, c);
#endif
}
QLITE_INLINE void store_nearest(__m128 x, std::int32_t* p) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_cvtps_epi32(x));
}
QLITE_INLINE __m128 max_or_nan(__m128 a, __m128 b) noexcept { return _mm_max_ps(a, b); }
QLITE_INLINE __m128 quotient(__m128 a, __m128 b) noexcept { return _mm_div_ps(a, b); }
#if defined(__AVX__)
QLITE_INLINE __m256 fused(__m256 a, __m256 b, __m256 c) noexcept {
#if defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return emulated_fma(a, b, c);
#endif
}
QLITE_INLINE void store_nearest(__m256 x, std::int32_t* p) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvtps_epi32(x));
}
QLITE_INLINE __m256 max_or_nan(__m256 a, __m256 b) noexcept { return _mm256_max_ps(a, b); }
QLITE_INLINE __m256 quotient(__m256 a, __m256 b) noexcept { return _mm256_div_ps(a, b); }
#endif
#if defined(__AVX512F__)
QLITE_INLINE __m512 fused(__m512 a, __m512 b, __m512 c) noexcept { return _mm512_fmadd_ps(a, b, c); }
QLITE_INLINE void store_nearest(__m512 x, std::int32_t* p) noexcept { _mm512_storeu_si512(p, _mm512_cvtps_epi32(x)); }
QLITE_INLINE __m512 max_or_nan(__m512 a, __m512 b) noexcept { return _mm512_max_ps(a, b); }
QLITE_INLINE __m512 quotient(__m512 a, __m512 b) noexcept { return _mm512_div_ps(a, b); }
#endif
#elif defined(__aarch64__)
QLITE_INLINE float32x4_t fused(float32x4_t a, float32x4_t b, float32x4_t c) noexcept { return vfmaq_f32(c, a, b); }
QLITE_INLINE void store_nearest(float32x4_t x, std::int32_t* p) noexcept { vst1q_s32(p, vcvtnq_s32_f32(x)); }
QLITE_INLINE float32x4_t max_or_nan(float32x4_t a, float32x4_t b) noexcept {
  return vbslq_f32(vcgtq_f32(a, b), a, b);    // as x86 has it, zeros included
}
QLITE_INLINE float32x4_t quotient(float32x4_t a, float32x4_t b) noexcept { return vdivq_f32(a, b); }
#endif

/// 16 floats in as few registers as `Arch` needs.
template <class Arch>
struct simd_floats {
  using batch = xsimd::batch<float, Arch>;
  using words = xsimd::batch<std::int32_t, Arch>;
  static constexpr std::size_t size = batch::size;
  static constexpr std::size_t count = strip_columns / size;
  static_assert(count * size == strip_columns, "qlite: vectors wider than 512 bits are not supported");

  batch v[count];

  QLITE_INLINE static simd_floats splat(float x) noexcept {
    simd_floats r;
    for (std::size_t i = 0; i < count; ++i) r.v[i] = batch(x);
    return r;
  }
  QLITE_INLINE static simd_floats load(const float* p) noexcept {
    simd_floats r;
    for (std::size_t i = 0; i < count; ++i) r.v[i] = batch::load_unaligned(p + i * size);
    return r;
  }
  QLITE_INLINE void store(float* p) const noexcept {
    for (std::size_t i = 0; i < count; ++i) v[i].store_unaligned(p + i * size);
  }

  QLITE_INLINE static simd_floats load(const float16* p) noexcept {
    [[maybe_unused]] simd_floats r;
#if defined(__AVX512F__)
    if constexpr (size == 16) {
      r.v[0] = batch(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
      return r;
    }
#endif
#if defined(__F16C__)
    if constexpr (size == 8) {
      for (std::size_t i = 0; i < count; ++i)
        r.v[i] = batch(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * size))));
      return r;
    }
#endif
#if defined(__aarch64__)
    for (std::size_t i = 0; i < count; ++i)
      r.v[i] =
          batch(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(p + i * size)))));
    return r;
#else
    float values[strip_columns];
    for (std::size_t i = 0; i < strip_columns; ++i) values[i] = p[i].to_float();
    return load(values);
#endif
  }
  QLITE_INLINE void store(float16* p) const noexcept {
#if defined(__AVX512F__)
    if constexpr (size == 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v[0], _MM_FROUND_TO_NEAREST_INT));
      return;
    }
#endif
#if defined(__F16C__)
    if constexpr (size == 8) {
      for (std::size_t i = 0; i < count; ++i)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p + i * size), _mm256_cvtps_ph(v[i], _MM_FROUND_TO_NEAREST_INT));
      return;
    }
#endif
#if defined(__aarch64__)
    for (std::size_t i = 0; i < count; ++i)
      vst1_u16(reinterpret_cast<std::uint16_t*>(p + i * size), vreinterpret_u16_f16(vcvt_f16_f32(v[i])));
#else
    float values[strip_columns];
    store(values);
    for (std::size_t i = 0; i < strip_columns; ++i) p[i] = float16::from_float(values[i]);
#endif
  }

  QLITE_INLINE static simd_floats load(const bfloat16* p) noexcept {
    std::uint32_t bits[strip_columns];
    for (std::size_t i = 0; i < strip_columns; ++i) bits[i] = static_cast<std::uint32_t>(p[i].bits()) << 16;
    float values[strip_columns];
    std::memcpy(values, bits, sizeof values);
    return load(values);
  }
  QLITE_INLINE void store(bfloat16* p) const noexcept {
    float values[strip_columns];
    store(values);
    for (std::size_t i = 0; i < strip_columns; ++i) p[i] = bfloat16::from_float(values[i]);
  }

  QLITE_INLINE friend simd_floats add(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = a.v[i] + b.v[i];
    return a;
  }
  QLITE_INLINE friend simd_floats sub(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = a.v[i] - b.v[i];
    return a;
  }
  /// A product that only ever feeds another product or an fma: anywhere else use `product`.
  QLITE_INLINE friend simd_floats mul(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = a.v[i] * b.v[i];
    return a;
  }
  QLITE_INLINE friend simd_floats divide(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = batch(quotient(a.v[i], b.v[i]));
    return a;
  }
  QLITE_INLINE friend simd_floats fma(simd_floats a, simd_floats b, simd_floats c) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = batch(fused(a.v[i], b.v[i], c.v[i]));
    return a;
  }
  /// a where a > b, else b: a NaN in b stays.
  QLITE_INLINE friend simd_floats maximum(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = batch(max_or_nan(a.v[i], b.v[i]));
    return a;
  }
  /// The larger of the bits as signed integers: for magnitudes, a maximum in which NaN is the largest.
  QLITE_INLINE friend simd_floats max_bits(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = as_floats((xsimd::max)(as_words(a.v[i]), as_words(b.v[i])));
    return a;
  }
  QLITE_INLINE friend std::uint32_t largest_bits(simd_floats a) noexcept {
#if defined(__AVX512F__)
    if constexpr (size == 16) return static_cast<std::uint32_t>(_mm512_reduce_max_epi32(_mm512_castps_si512(a.v[0])));
#endif
    for (std::size_t i = 1; i < count; ++i) a.v[0] = as_floats((xsimd::max)(as_words(a.v[0]), as_words(a.v[i])));
    std::int32_t lanes[size], most = 0;
    as_words(a.v[0]).store_unaligned(lanes);
    for (std::size_t i = 0; i < size; ++i) most = max_of(most, lanes[i]);
    return static_cast<std::uint32_t>(most);
  }
  /// Sums of codes, one a lane.
  struct code_sums {
    words v[count];
    QLITE_INLINE code_sums() noexcept {
      for (std::size_t i = 0; i < count; ++i) v[i] = words(0);
    }
    QLITE_INLINE std::int32_t total() const noexcept {
#if defined(__AVX512F__)
      if constexpr (size == 16) return _mm512_reduce_add_epi32(v[0]);
#endif
      words all = v[0];
      for (std::size_t i = 1; i < count; ++i) all = all + v[i];
      std::int32_t lanes[size], sum = 0;
      all.store_unaligned(lanes);
      for (std::size_t i = 0; i < size; ++i) sum += lanes[i];
      return sum;
    }
  };
  /// 16 codes of a value each: rounded to nearest, ties to even, and clamped to +-127. Adds them to `sums`.
  QLITE_INLINE friend void store_codes(simd_floats a, std::int8_t* p, code_sums& sums) noexcept {
    const batch most(127.0f), least(-127.0f);
#if defined(__AVX512F__)
    if constexpr (size == 16) {
      const __m512i codes = _mm512_cvtps_epi32(_mm512_min_ps(most, _mm512_max_ps(least, static_cast<__m512>(a.v[0]))));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(codes));
      sums.v[0] = sums.v[0] + words(codes);
      return;
    }
#endif
    std::int32_t codes[strip_columns];
    for (std::size_t i = 0; i < count; ++i) {
      store_nearest((xsimd::min)(most, (xsimd::max)(least, a.v[i])), codes + i * size);
      sums.v[i] = sums.v[i] + words::load_unaligned(codes + i * size);
    }
    for (std::size_t i = 0; i < strip_columns; ++i) p[i] = static_cast<std::int8_t>(codes[i]);
  }
  QLITE_INLINE friend simd_floats bit_and(simd_floats a, std::uint32_t mask) noexcept {
    for (std::size_t i = 0; i < count; ++i)
      a.v[i] = as_floats(as_words(a.v[i]) & words(static_cast<std::int32_t>(mask)));
    return a;
  }
  QLITE_INLINE friend simd_floats bit_or(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = as_floats(as_words(a.v[i]) | as_words(b.v[i]));
    return a;
  }
  /// The bits of a as integers, shifted left.
  QLITE_INLINE friend simd_floats shift_left(simd_floats a, int n) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = as_floats(as_words(a.v[i]) << n);
    return a;
  }
  /// a + b, both as 32-bit integers.
  QLITE_INLINE friend simd_floats add_bits(simd_floats a, simd_floats b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = as_floats(as_words(a.v[i]) + as_words(b.v[i]));
    return a;
  }

  // memcpy and not xsimd::bitwise_cast, whose template parameters changed between versions
  QLITE_INLINE static words as_words(batch x) noexcept {
    words w;
    std::memcpy(static_cast<void*>(&w), &x, sizeof w);
    return w;
  }
  QLITE_INLINE static batch as_floats(words x) noexcept {
    batch f;
    std::memcpy(static_cast<void*>(&f), &x, sizeof f);
    return f;
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
