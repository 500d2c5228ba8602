// AVX2 with FMA and F16C, and the same with the VEX-encoded dot product (AVX-VNNI). A strip of 16 columns is two
// registers.
#pragma once

#include <qlite/cpu/isa.hpp>

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <qlite/cpu/four_rows.hpp>

#include <immintrin.h>

QLITE_BEGIN_FUNCTIONS
namespace impl {

struct avx2_common {
  using floats = simd_floats<own_arch<xsimd::avx2>>;
  using rows = four_rows<floats>;
  struct weights {
    __m256i v[2];
  };
  struct inputs {
    __m256i v;
  };
  struct ints {
    __m256i v[2];
  };
  struct words {
    __m256i v[2];
  };
  static constexpr std::size_t k_unit = 4, row_unit = 1;

  static constexpr std::size_t integer_tiles[] = {4, 2, 1}, integer_strips = 1;
  static constexpr std::size_t float_direct_tiles[] = {4, 2, 1}, float_direct_strips = 1;
  static constexpr tile_shape float_tiles[] = {{6, 1}, {3, 1}};
  static constexpr std::size_t float_few_rows = float_direct_tiles[0];

  QLITE_INLINE static __m256i load(const std::byte* p) noexcept {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  QLITE_INLINE static weights load_bytes(const std::byte* p) noexcept { return {{load(p), load(p + 32)}}; }
  QLITE_INLINE static void load_nibbles(const std::byte* p, weights& low, weights& high) noexcept {
    const __m256i mask = _mm256_set1_epi8(15);
    for (std::size_t i = 0; i < 2; ++i) {
      const __m256i v = load(p + 32 * i);
      low.v[i] = _mm256_and_si256(v, mask);
      high.v[i] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    }
  }

  template <code_kind C>
  QLITE_INLINE static weights look_up(weights w) noexcept {
    const __m256i book = _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(book_bytes<C>())));
    return {{_mm256_shuffle_epi8(book, w.v[0]), _mm256_shuffle_epi8(book, w.v[1])}};
  }

  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept {
    std::int32_t unit;
    std::memcpy(&unit, x, sizeof unit);
    return {_mm256_set1_epi32(unit)};
  }

  QLITE_INLINE static ints start(std::int32_t z, std::int32_t sum) noexcept {
    const __m256i v = _mm256_set1_epi32(
        static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(z) * static_cast<std::uint32_t>(sum)));
    return {{v, v}};
  }
  template <code_kind C>
  QLITE_INLINE static __m256i widen(const std::byte* bytes) noexcept {
    const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
    return C == code_kind::s8 ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v);
  }
  template <code_kind C>
  QLITE_INLINE static ints start(const std::byte* zeros, std::int32_t sum) noexcept {
    ints r;
    for (std::size_t i = 0; i < 2; ++i)
      r.v[i] =
          _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_mullo_epi32(widen<C>(zeros + 8 * i), _mm256_set1_epi32(sum)));
    return r;
  }
  QLITE_INLINE static ints add_ints(ints a, ints b) noexcept {
    return {{_mm256_add_epi32(a.v[0], b.v[0]), _mm256_add_epi32(a.v[1], b.v[1])}};
  }
  QLITE_INLINE static floats to_floats(ints a) noexcept {
    floats f;
    for (std::size_t i = 0; i < 2; ++i) f.v[i] = floats::batch(_mm256_cvtepi32_ps(a.v[i]));
    return f;
  }

  static constexpr std::size_t word_count = 1;
  QLITE_INLINE static void load_words(const std::byte* p, words* w) noexcept {
    for (std::size_t i = 0; i < 2; ++i) w[0].v[i] = load(p + 32 * i);
  }
  template <code_kind C, int Zero>
  struct decoder {
    template <int Shift>
    QLITE_INLINE floats code(words w) const noexcept {
      floats f;
      for (std::size_t i = 0; i < 2; ++i) {
        const __m256i c = C == code_kind::s8 ? _mm256_srai_epi32(_mm256_slli_epi32(w.v[i], 24 - Shift), 24)
                                             : _mm256_and_si256(_mm256_srli_epi32(w.v[i], Shift),
                                                                _mm256_set1_epi32(C == code_kind::u4 ? 15 : 255));
        f.v[i] = floats::batch(_mm256_cvtepi32_ps(c));
      }
      return Zero == 0 ? f : sub(f, floats::splat(static_cast<float>(Zero)));
    }
  };
  template <code_kind C>
  QLITE_INLINE static floats zero_floats(const std::byte* zeros) noexcept {
    floats f;
    for (std::size_t i = 0; i < 2; ++i) f.v[i] = floats::batch(_mm256_cvtepi32_ps(widen<C>(zeros + 8 * i)));
    return f;
  }
};

/// Eight numbers of a code book each in two registers; bit 3 of the code says which.
template <code_kind C>
struct avx2_book_decoder {
  __m256 low = _mm256_loadu_ps(book_numbers<C>()), high = _mm256_loadu_ps(book_numbers<C>() + 8);

  template <int Shift>
  QLITE_INLINE avx2_common::floats code(avx2_common::words w) const noexcept {
    avx2_common::floats f;
    for (std::size_t i = 0; i < 2; ++i) {
      const __m256i c = _mm256_srli_epi32(w.v[i], Shift);
      f.v[i] = avx2_common::floats::batch(_mm256_blendv_ps(_mm256_permutevar8x32_ps(low, c),
                                                           _mm256_permutevar8x32_ps(high, c),
                                                           _mm256_castsi256_ps(_mm256_slli_epi32(c, 28))));
    }
    return f;
  }
};
template <int Zero>
struct avx2_common::decoder<code_kind::nf4, Zero> : avx2_book_decoder<code_kind::nf4> {};
template <int Zero>
struct avx2_common::decoder<code_kind::nl4_s8, Zero> : avx2_book_decoder<code_kind::nl4_s8> {};
template <int Zero>
struct avx2_common::decoder<code_kind::nl4_u8, Zero> : avx2_book_decoder<code_kind::nl4_u8> {};

template <>
struct isa<cpu::avx2> : avx2_common {
  /// As for cpu::avx512: pairs are summed in 16 bits, eight units of nibbles or one of bytes before widening.
  template <code_kind C>
  static constexpr std::size_t burst = C == code_kind::u4 ? 8 : 1;
  struct partial {
    __m256i v[2];
  };
  QLITE_INLINE static partial start_partial() noexcept { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
  /// Weights as they are multiplied: |w| <= 128 as an unsigned byte, times x with the sign of w.
  struct signed_weights {
    weights code, magnitude;
  };
  template <code_kind C>
  using staged = std::conditional_t<C == code_kind::u4, weights, signed_weights>;
  template <code_kind C>
  QLITE_INLINE static staged<C> stage(weights w) noexcept {
    if constexpr (C == code_kind::u4)
      return w;
    else
      return {w, {{_mm256_abs_epi8(w.v[0]), _mm256_abs_epi8(w.v[1])}}};
  }
  /// Sums of two products in 16 bits.
  template <code_kind C>
  QLITE_INLINE static partial products(weights w, inputs x) noexcept {
    static_assert(C == code_kind::u4);
    return {{_mm256_maddubs_epi16(w.v[0], x.v), _mm256_maddubs_epi16(w.v[1], x.v)}};
  }
  template <code_kind C>
  QLITE_INLINE static partial products(signed_weights w, inputs x) noexcept {
    static_assert(C == code_kind::s8);
    return {{_mm256_maddubs_epi16(w.magnitude.v[0], _mm256_sign_epi8(x.v, w.code.v[0])),
             _mm256_maddubs_epi16(w.magnitude.v[1], _mm256_sign_epi8(x.v, w.code.v[1]))}};
  }
  /// Adds at once: g++ would collect what is added to many sums, spilled, and add it up behind them all.
  QLITE_INLINE static void add(partial& sum, partial p) noexcept {
    sum = {{_mm256_add_epi16(sum.v[0], p.v[0]), _mm256_add_epi16(sum.v[1], p.v[1])}};
    __asm__("" : "+x"(sum.v[0]), "+x"(sum.v[1]));
  }
  template <code_kind C>
  QLITE_INLINE static void dot(partial& sum, weights w, inputs x) noexcept {
    add(sum, products<C>(stage<C>(w), x));
  }
  QLITE_INLINE static ints widened(partial p) noexcept {
    const __m256i ones = _mm256_set1_epi16(1);
    return {{_mm256_madd_epi16(p.v[0], ones), _mm256_madd_epi16(p.v[1], ones)}};
  }
  QLITE_INLINE static void flush(ints& sum, partial p) noexcept {
    sum = add_ints(sum, widened(p));
    __asm__("" : "+x"(sum.v[0]), "+x"(sum.v[1]));    // as above
  }

  /// Register by register: g++ copies the whole in quarters.
  template <class T>
  QLITE_INLINE static void store(T a, T* to) noexcept {
    to->v[0] = a.v[0];
    to->v[1] = a.v[1];
  }

  static constexpr std::size_t integer_tiles[] = {8, 6, 4, 2, 1}, staged_rows = 4;
  QLITE_INLINE static void store(signed_weights w, signed_weights* to) noexcept {
    store(w.code, &to->code);
    store(w.magnitude, &to->magnitude);
  }
  using avx2_common::to_floats;
  /// Less z * a.
  QLITE_INLINE static floats to_floats(ints sum, std::size_t, std::int32_t z, std::int32_t a) noexcept {
    const __m256i v = _mm256_set1_epi32(a);
    const __m256i za = z == 8 ? _mm256_slli_epi32(v, 3) : _mm256_mullo_epi32(v, _mm256_set1_epi32(z));
    return to_floats(ints{{_mm256_sub_epi32(sum.v[0], za), _mm256_sub_epi32(sum.v[1], za)}});
  }
  template <code_kind C>
  QLITE_INLINE static floats to_floats(ints sum, std::size_t, const std::byte* zeros, std::int32_t a) noexcept {
    return to_floats(add_ints(sum, start<C>(zeros, a)));
  }
};

#if defined(__AVXVNNI__)
template <>
struct isa<cpu::avx_vnni> : avx2_common {
  template <code_kind>
  static constexpr std::size_t burst = 0;
  template <code_kind C>
  QLITE_INLINE static void dot(ints& sum, weights w, inputs x) noexcept {
    static_assert(C != code_kind::s8, "vpdpbusd multiplies unsigned weights by signed activations");
    for (std::size_t i = 0; i < 2; ++i) {
#if defined(__clang__)
      sum.v[i] = _mm256_dpbusd_avx_epi32(sum.v[i], w.v[i], x.v);
#else
      __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.v[i]) : "x"(w.v[i]), "x"(x.v));    // as in cpu/avx512.hpp
#endif
    }
  }
};
#endif

}    // namespace impl
QLITE_END_FUNCTIONS

#else

QLITE_BEGIN_FUNCTIONS
namespace impl {
template <class B>
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::avx2>>> {
  static_assert(always_false<B>, "qlite: the backend cpu::avx2 needs -mavx2 -mfma -mf16c in this translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS

#endif

#if !defined(__AVXVNNI__) || !defined(__AVX2__)
QLITE_BEGIN_FUNCTIONS
namespace impl {
template <class B>
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::avx_vnni>>> {
  static_assert(always_false<B>,
                "qlite: the backend cpu::avx_vnni needs -mavx2 -mfma -mf16c -mavxvnni in this translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS
#endif
