// Four rows of activations at once on x86: codes of four consecutive columns of each, side by side, are what saturating
// packs of 32 to 8 bits leave in a 128-bit lane, and the order in which panels have them (gemm/input_rows.hpp).
#pragma once

#include <qlite/cpu/isa.hpp>
#include <qlite/cpu/simd.hpp>

#if defined(__AVX2__)

#include <immintrin.h>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// What four_rows needs of vectors of `Size` floats: those of F, which may be narrower than the flags allow.
template <std::size_t Size>
struct row_vector;
template <>
struct row_vector<8> {
  using type = __m256i;
  QLITE_INLINE static __m128i folded(type a) noexcept {
    return _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  }
  QLITE_INLINE static type larger(type a, type b) noexcept { return _mm256_max_epi32(a, b); }
  QLITE_INLINE static type bits(__m256 a) noexcept { return _mm256_castps_si256(a); }
  QLITE_INLINE static type nearest(__m256 a) noexcept {
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(127.0f), _mm256_max_ps(_mm256_set1_ps(-127.0f), a)));
  }
  QLITE_INLINE static type packed(type a, type b, type c, type d) noexcept {
    return _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  }
  template <std::size_t I>
  QLITE_INLINE static __m128i lane(type v) noexcept {
    return _mm256_extracti128_si256(v, I);
  }
  /// Sums of four bytes each.
  QLITE_INLINE static type sums_of(type codes) noexcept {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes), _mm256_set1_epi16(1));
  }
  QLITE_INLINE static type add(type a, type b) noexcept { return _mm256_add_epi32(a, b); }
};
#if defined(__AVX512F__) && defined(__AVX512BW__)
template <>
struct row_vector<16> {
  using type = __m512i;
  QLITE_INLINE static __m128i folded(type a) noexcept {
    return row_vector<8>::folded(_mm256_max_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1)));
  }
  QLITE_INLINE static type larger(type a, type b) noexcept { return _mm512_max_epi32(a, b); }
  QLITE_INLINE static type bits(__m512 a) noexcept { return _mm512_castps_si512(a); }
  QLITE_INLINE static type nearest(__m512 a) noexcept {
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(127.0f), _mm512_max_ps(_mm512_set1_ps(-127.0f), a)));
  }
  QLITE_INLINE static type packed(type a, type b, type c, type d) noexcept {
    return _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  }
  template <std::size_t I>
  QLITE_INLINE static __m128i lane(type v) noexcept {
    return _mm512_extracti32x4_epi32(v, I);
  }
  QLITE_INLINE static type sums_of(type codes) noexcept {
    return _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_set1_epi8(1), codes), _mm512_set1_epi16(1));
  }
  QLITE_INLINE static type add(type a, type b) noexcept { return _mm512_add_epi32(a, b); }
};
#endif

/// Codes are those of store_codes (cpu/simd.hpp).
template <class F>
struct four_rows {
  static constexpr std::size_t units = 16 / 4;    // of four columns, in 16 columns

  /// Largest magnitude of `count` columns from `begin` on, of each row, as bits of a float; NaN counts as largest.
  template <class T>
  QLITE_INLINE static __m128i largest_magnitudes(const T* const (&x)[4], std::size_t begin,
                                                 std::size_t count) noexcept {
    F most[4];
    repeat<4>([&](auto r) QLITE_LAMBDA { most[r] = F::splat(0.0f); });
    std::size_t k = begin;
    const std::size_t end = begin + count;
    for (; k + 16 <= end; k += 16)
      repeat<4>([&](auto r) QLITE_LAMBDA { most[r] = max_bits(most[r], bit_and(F::load(x[r] + k), 0x7fffffffu)); });
    if (k < end)
      repeat<4>([&](auto r) QLITE_LAMBDA {
        most[r] = max_bits(most[r], bit_and(load_part<F>(x[r] + k, end - k), 0x7fffffffu));
      });
    __m128i row[4];
    repeat<4>([&](auto r) QLITE_LAMBDA { row[r] = folded(most[r]); });
    const auto of_pairs = [](__m128i a, __m128i b) QLITE_LAMBDA {
      return _mm_max_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    };
    const __m128i ab = of_pairs(row[0], row[1]), cd = of_pairs(row[2], row[3]);
    return _mm_max_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
  }

  /// amax / 127 and 127 / amax of each row; false, and nothing, if one of them is not a normal case (a magnitude of 0,
  /// of a NaN or an infinity, or so small that its inverse is not finite).
  QLITE_INLINE static bool scales(__m128i amax_bits, float* scale, float* inverse) noexcept {
    const __m128 amax = _mm_castsi128_ps(amax_bits), most = _mm_set1_ps(127.0f), quotient = _mm_div_ps(most, amax);
    const __m128i infinity = _mm_set1_epi32(0x7f800000);
    const __m128i finite =
        _mm_and_si128(_mm_cmplt_epi32(amax_bits, infinity), _mm_cmplt_epi32(_mm_castps_si128(quotient), infinity));
    if (QLITE_UNLIKELY(_mm_movemask_epi8(finite) != 0xffff)) return false;
    _mm_storeu_ps(scale, _mm_div_ps(amax, most));
    _mm_storeu_ps(inverse, quotient);
    return true;
  }

  /// Codes of `count` columns of each row: 16 bytes for each four columns, `stride` bytes apart from `to` on, padded
  /// with zeros to 16 columns. Returns the sums of each row's codes.
  template <class T>
  QLITE_INLINE static __m128i codes(const T* const (&x)[4], std::size_t count, const float* factors, std::byte* to,
                                    std::size_t stride) noexcept {
    F factor[4];
    repeat<4>([&](auto r) QLITE_LAMBDA { factor[r] = F::splat(factors[r]); });
    sums all;
    std::size_t k = 0;
    for (; k + 16 <= count; k += 16, to += units * stride) {
      F values[4];
      repeat<4>([&](auto r) QLITE_LAMBDA { values[r] = mul(F::load(x[r] + k), factor[r]); });
      store(values, to, stride, all);
    }
    if (k < count) {
      F values[4];
      repeat<4>([&](auto r) QLITE_LAMBDA { values[r] = mul(load_part<F>(x[r] + k, count - k), factor[r]); });
      store(values, to, stride, all);
    }
    return all.total();
  }

 private:
  using ops = row_vector<F::size>;
  using vector = typename ops::type;
  static constexpr std::size_t vectors = F::count;

  QLITE_INLINE static __m128i folded(const F& a) noexcept {
    vector most = ops::bits(a.v[0]);
    repeat<vectors - 1>([&](auto i) QLITE_LAMBDA { most = ops::larger(most, ops::bits(a.v[i + 1])); });
    return ops::folded(most);
  }
  static constexpr std::size_t lanes = units / vectors;

  struct sums {
    vector v{};
    QLITE_INLINE __m128i total() const noexcept {
      __m128i sum = _mm_setzero_si128();
      repeat<lanes>([&](auto i) QLITE_LAMBDA { sum = _mm_add_epi32(sum, ops::template lane<i>(v)); });
      return sum;
    }
  };

  QLITE_INLINE static void store(const F (&values)[4], std::byte* to, std::size_t stride, sums& all) noexcept {
    repeat<vectors>([&](auto i) QLITE_LAMBDA {
      const vector codes = ops::packed(ops::nearest(values[0].v[i]), ops::nearest(values[1].v[i]),
                                       ops::nearest(values[2].v[i]), ops::nearest(values[3].v[i]));
      all.v = ops::add(all.v, ops::sums_of(codes));
      repeat<lanes>([&](auto j) QLITE_LAMBDA {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + (i * lanes + j) * stride), ops::template lane<j>(codes));
      });
    });
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS

#endif
