// AVX-512, with and without VNNI. A strip of 16 columns is one register.
#pragma once

#include <qlite/cpu/isa.hpp>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && \
    defined(__AVX512CD__) && defined(__F16C__) && defined(__FMA__)

#include <qlite/cpu/four_rows.hpp>

#include <immintrin.h>

QLITE_BEGIN_FUNCTIONS
namespace impl {

struct avx512_common {
  using floats = simd_floats<own_arch<xsimd::avx512bw>>;
  using rows = four_rows<floats>;
  struct weights {
    __m512i v;
  };
  struct ints {
    __m512i v;
  };
  struct words {
    __m512i v;
  };
  static constexpr std::size_t k_unit = 4, row_unit = 1;

  static constexpr std::size_t integer_tiles[] = {8, 6, 4, 2, 1};
  static constexpr std::size_t float_direct_tiles[] = {8, 4, 3, 2, 1}, float_direct_strips = 2;
  static constexpr tile_shape float_tiles[] = {{12, 2}, {6, 2}, {3, 2}};
  static constexpr std::size_t float_few_rows = no_limit;

  QLITE_INLINE static weights load_bytes(const std::byte* p) noexcept { return {_mm512_loadu_si512(p)}; }
  QLITE_INLINE static void load_nibbles(const std::byte* p, weights& low, weights& high) noexcept {
    const __m512i v = _mm512_loadu_si512(p), mask = _mm512_set1_epi8(15);
    low.v = _mm512_and_si512(v, mask);
    high.v = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
  }

  template <code_kind C>
  QLITE_INLINE static weights look_up(weights w) noexcept {
    const __m128i book = _mm_loadu_si128(static_cast<const __m128i*>(book_bytes<C>()));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(book), w.v)};
  }

  QLITE_INLINE static __m512i load_unit(const std::int8_t* x) noexcept {
    std::int32_t unit;
    std::memcpy(&unit, x, sizeof unit);
    return _mm512_set1_epi32(unit);
  }

  QLITE_INLINE static ints start(std::int32_t z, std::int32_t sum) noexcept {
    // broadcast from memory before it is multiplied: a broadcast from a general register takes a pipe of the dot
    // product
    const __m512i a = _mm512_set1_epi32(sum);
    return {z == -1 ? a : z == -16 ? _mm512_slli_epi32(a, 4) : _mm512_mullo_epi32(a, _mm512_set1_epi32(-z))};
  }
  template <code_kind C>
  QLITE_INLINE static ints start(const std::byte* zeros, std::int32_t sum) noexcept {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros));
    const __m512i z = C == code_kind::s8 ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    return {_mm512_sub_epi32(_mm512_setzero_si512(), _mm512_mullo_epi32(z, _mm512_set1_epi32(sum)))};
  }
  QLITE_INLINE static ints add_ints(ints a, ints b) noexcept { return {_mm512_add_epi32(a.v, b.v)}; }
  QLITE_INLINE static floats to_floats(ints a) noexcept {
    floats f;
    f.v[0] = floats::batch(_mm512_cvtepi32_ps(a.v));
    return f;
  }

  // Weight-only: 16 columns x 4 (bytes) or 8 (nibbles) weights lie in one register of 32-bit words.
  static constexpr std::size_t word_count = 1;
  QLITE_INLINE static void load_words(const std::byte* p, words* w) noexcept { w[0].v = _mm512_loadu_si512(p); }
  template <code_kind C, int Zero>
  struct decoder;
  template <code_kind C>
  QLITE_INLINE static floats zero_floats(const std::byte* zeros) noexcept {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros));
    floats f;
    f.v[0] = floats::batch(
        _mm512_cvtepi32_ps(C == code_kind::s8 ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes)));
    return f;
  }
};

/// Nibbles: the low four bits of a lane choose from a table.
template <int Zero>
struct avx512_common::decoder<code_kind::u4, Zero> {
  __m512 table = _mm512_setr_ps(0 - Zero, 1 - Zero, 2 - Zero, 3 - Zero, 4 - Zero, 5 - Zero, 6 - Zero, 7 - Zero,
                                8 - Zero, 9 - Zero, 10 - Zero, 11 - Zero, 12 - Zero, 13 - Zero, 14 - Zero, 15 - Zero);

  template <int Shift>
  QLITE_INLINE floats code(words w) const noexcept {
    floats f;
    f.v[0] = floats::batch(_mm512_permutexvar_ps(_mm512_srli_epi32(w.v, Shift), table));
    return f;
  }
};

/// A code book is such a table as it is.
template <code_kind C>
struct avx512_book_decoder {
  __m512 table = _mm512_loadu_ps(book_numbers<C>());

  template <int Shift>
  QLITE_INLINE avx512_common::floats code(avx512_common::words w) const noexcept {
    avx512_common::floats f;
    f.v[0] = avx512_common::floats::batch(_mm512_permutexvar_ps(_mm512_srli_epi32(w.v, Shift), table));
    return f;
  }
};
template <int Zero>
struct avx512_common::decoder<code_kind::nf4, Zero> : avx512_book_decoder<code_kind::nf4> {};
template <int Zero>
struct avx512_common::decoder<code_kind::nl4_s8, Zero> : avx512_book_decoder<code_kind::nl4_s8> {};
template <int Zero>
struct avx512_common::decoder<code_kind::nl4_u8, Zero> : avx512_book_decoder<code_kind::nl4_u8> {};

/// Bytes: the code is put into the mantissa of a power of two, where its lowest bit counts one, and that power taken
/// off again. (Shifts and conversions crowd on the same pipes; these two do not.)
template <code_kind C, int Zero>
struct avx512_common::decoder {
  static_assert(Zero == 0 || Zero == 128, "bytes have no other constant zero point");
  __m512i mask[2], power[2];
  __m512 zero[2];

  QLITE_INLINE decoder() noexcept {
    for (int i = 0; i < 2; ++i) {
      const float one = static_cast<float>(1 << (23 - 8 * i));
      mask[i] = _mm512_set1_epi32(255 << (8 * i));
      power[i] = _mm512_castps_si512(_mm512_set1_ps(one));
      // signed bytes with their highest bit turned are code + 128
      zero[i] = _mm512_set1_ps(one + static_cast<float>(C == code_kind::s8 ? 128 : Zero));
      // or g++ makes the constants anew for each group
      __asm__("" : "+v"(mask[i]), "+v"(power[i]), "+v"(zero[i]));
    }
  }
  template <int Shift>
  QLITE_INLINE floats code(words w) const noexcept {
    constexpr int i = Shift / 8 % 2;
    const __m512i turned = C == code_kind::s8 ? _mm512_xor_si512(w.v, _mm512_set1_epi8(-128)) : w.v;
    const __m512i field = Shift < 16 ? turned : _mm512_srli_epi32(turned, 16);
    floats f;
    f.v[0] = floats::batch(
        _mm512_sub_ps(_mm512_castsi512_ps(_mm512_ternarylogic_epi32(field, mask[i], power[i], 0xea)), zero[i]));
    return f;
  }
};

#if defined(__AVX512VNNI__)
template <>
struct isa<cpu::avx512_vnni> : avx512_common {
  static constexpr std::size_t integer_strips = 2;
  template <code_kind>
  static constexpr std::size_t burst = 0;
  /// Left in memory: the dot product reads and broadcasts it.
  struct inputs {
    const std::int8_t* at;
  };
  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept { return {x}; }
  struct shared_inputs {
    __m512i v;
  };
  QLITE_INLINE static shared_inputs load_shared_inputs(const std::int8_t* x) noexcept { return {load_unit(x)}; }
  template <code_kind C>
  QLITE_INLINE static void dot(ints& sum, weights w, shared_inputs x) noexcept {
    static_assert(C != code_kind::s8, "vpdpbusd multiplies unsigned weights by signed activations");
#if defined(__clang__)
    sum.v = _mm512_dpbusd_epi32(sum.v, w.v, x.v);
#else
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum.v) : "v"(w.v), "v"(x.v));
#endif
  }
  template <code_kind C>
  QLITE_INLINE static void dot(ints& sum, weights w, inputs x) noexcept {
    static_assert(C != code_kind::s8, "vpdpbusd multiplies unsigned weights by signed activations");
#if defined(__clang__)
    sum.v = _mm512_dpbusd_epi32(sum.v, w.v, load_unit(x.at));
#else
    // g++ 12 loads and broadcasts first, copies the sum before each intrinsic and spills it after
    using unit [[gnu::may_alias, gnu::aligned(1)]] = std::int32_t;
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum.v) : "v"(w.v), "m"(*reinterpret_cast<const unit*>(x.at)));
#endif
  }
};
#endif

template <>
struct isa<cpu::avx512> : avx512_common {
  static constexpr std::size_t integer_strips = 1;    // sums in 16 bits beside those in 32 leave no room for more
  /// Sums of pairs in 16 bits. Nibbles: 2 * 15 * 127 a unit, eight units stay below 32,768; bytes: |code| <= 128, one.
  template <code_kind C>
  static constexpr std::size_t burst = C == code_kind::u4 ? 8 : 1;
  struct inputs {
    __m512i v;
  };
  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept { return {load_unit(x)}; }
  struct partial {
    __m512i v;
  };
  QLITE_INLINE static partial start_partial() noexcept { return {_mm512_setzero_si512()}; }
  template <code_kind C>
  QLITE_INLINE static void dot(partial& sum, weights w, inputs x) noexcept {
    if constexpr (C == code_kind::u4) {
      sum.v = _mm512_add_epi16(sum.v, _mm512_maddubs_epi16(w.v, x.v));
    } else {
      // |w| * sign(w) x: the magnitude of -128 is 128 as an unsigned byte, and x stays within +-127
      const __m512i signed_x = _mm512_mask_sub_epi8(x.v, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), x.v);
      sum.v = _mm512_add_epi16(sum.v, _mm512_maddubs_epi16(_mm512_abs_epi8(w.v), signed_x));
    }
  }
  QLITE_INLINE static void flush(ints& sum, partial p) noexcept {
    sum.v = _mm512_add_epi32(sum.v, _mm512_madd_epi16(p.v, _mm512_set1_epi16(1)));
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS

#else

QLITE_BEGIN_FUNCTIONS
namespace impl {
template <class B>
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::avx512>>> {
  static_assert(always_false<B>, "qlite: the backend cpu::avx512 needs -march=x86-64-v4 in this translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS

#endif

#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__)
QLITE_BEGIN_FUNCTIONS
namespace impl {
template <class B>
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::avx512_vnni>>> {
  static_assert(always_false<B>,
                "qlite: the backend cpu::avx512_vnni needs -march=x86-64-v4 -mavx512vnni in this translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS
#endif
