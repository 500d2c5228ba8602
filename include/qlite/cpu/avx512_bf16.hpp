// AVX-512 with VNNI and BF16: avx512_vnni, and weight-only products with X of bfloat16 two terms at a time.
//
// vdpbf16ps adds to each lane the product of the upper halves and then that of the lower ones, each rounded to nearest
// even, whatever the rounding mode; subnormal operands and results count as 0.
#pragma once

#include <qlite/core/view.hpp>
#include <qlite/cpu/avx512.hpp>

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__) && defined(__AVX512CD__) && defined(__F16C__) && defined(__FMA__)

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <>
struct isa<cpu::avx512_bf16> : isa<cpu::avx512_vnni> {
  static constexpr std::size_t pair_tiles[] = {8, 4, 2, 1}, pair_strips = 2;

  /// 16 columns of two codes, as bfloat16.
  struct pairs {
    __m512i v;
  };
  /// Two numbers of X: left in memory where one dot product reads them, broadcast where several do.
  struct pair_in_memory {
    const float* at;
  };
  struct shared_pair {
    __m512i v;
  };
  QLITE_INLINE static __m512i spread(const float* x) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  template <std::size_t Strips>
  QLITE_INLINE static auto load_pair(const float* x) noexcept {
    if constexpr (Strips == 1)
      return pair_in_memory{x};
    else
      return shared_pair{spread(x)};
  }
  QLITE_INLINE static void dot_pairs(floats& sum, pairs w, shared_pair x) noexcept {
#if defined(__clang__)
    sum.v[0] =
        floats::batch(_mm512_dpbf16_ps(sum.v[0], reinterpret_cast<__m512bh>(w.v), reinterpret_cast<__m512bh>(x.v)));
#else
    // g++ 12 copies the sum before each intrinsic and spills it after
    __m512 y = sum.v[0];
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(y) : "v"(w.v), "v"(x.v));
    sum.v[0] = floats::batch(y);
#endif
  }
  QLITE_INLINE static void dot_pairs(floats& sum, pairs w, pair_in_memory x) noexcept {
#if defined(__clang__)
    dot_pairs(sum, w, shared_pair{spread(x.at)});
#else
    using pair [[gnu::may_alias, gnu::aligned(1)]] = std::int32_t;
    __m512 y = sum.v[0];
    __asm__("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(y) : "v"(w.v), "m"(*reinterpret_cast<const pair*>(x.at)));
    sum.v[0] = floats::batch(y);
#endif
  }

  /// Numbers of a row of X that copy_pairs takes at a time, and rows that copy_pair_rows does.
  static constexpr std::size_t pair_block = 32, pair_rows = 8;
  /// In the order of the decoder: k, or for nibbles, of every eight those of even k first.
  template <bool Nibbles>
  QLITE_INLINE static __m512i in_order(const bfloat16* x) noexcept {
    const __m512i v = _mm512_loadu_si512(x);
    if constexpr (!Nibbles) return v;
    return _mm512_shuffle_epi8(
        v, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)));
  }
  template <bool Nibbles>
  QLITE_INLINE static void copy_pairs(const bfloat16* x, void* to) noexcept {
    _mm512_storeu_si512(to, in_order<Nibbles>(x));
  }
  /// The same of eight rows from column k on, each pair of all rows side by side; the last stands for missing ones.
  template <bool Nibbles>
  QLITE_INLINE static void copy_pair_rows(matrix_view<const bfloat16> x, std::size_t k, float* to) noexcept {
    const auto row = [&](std::size_t m) QLITE_LAMBDA { return in_order<Nibbles>(x.row(min_of(m, x.rows() - 1)) + k); };
    // 16-byte lane l of four[h][j]: pair 4 l + j of rows 4 h to 4 h + 3
    __m512i four[2][4];
    for (std::size_t h = 0; h < 2; ++h) {
      const __m512i a = row(4 * h), b = row(4 * h + 1), c = row(4 * h + 2), d = row(4 * h + 3);
      const __m512i ab = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
      const __m512i cd = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
      four[h][0] = _mm512_unpacklo_epi64(ab, cd), four[h][1] = _mm512_unpackhi_epi64(ab, cd);
      four[h][2] = _mm512_unpacklo_epi64(ab_high, cd_high), four[h][3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      const auto store = [&](std::size_t pair, __m256i v) QLITE_LAMBDA {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + pair * pair_rows), v);
      };
      const __m512i front =
          _mm512_permutex2var_epi64(four[0][j], _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), four[1][j]);
      const __m512i back =
          _mm512_permutex2var_epi64(four[0][j], _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), four[1][j]);
      store(j, _mm512_castsi512_si256(front)), store(4 + j, _mm512_extracti64x4_epi64(front, 1));
      store(8 + j, _mm512_castsi512_si256(back)), store(12 + j, _mm512_extracti64x4_epi64(back, 1));
    }
  }

  template <code_kind C, int Zero, bool Zeros>
  struct pair_decoder;
  struct no_zeros {};
};

/// Nibbles, two to each byte of a lane: its halves, shifted by nothing and by one, two and three nibbles, begin with
/// k 0 and 2, 4 and 6, 1 and 3, 5 and 7. The lowest five bits choose from a table.
template <code_kind C, int Zero>
struct isa<cpu::avx512_bf16>::pair_decoder<C, Zero, false> {
  static constexpr std::size_t pairs_per_line = 4;
  using zeros = no_zeros;
  __m512i table;    // the 16 numbers twice

  QLITE_INLINE pair_decoder() noexcept {
    alignas(64) std::uint16_t numbers[32];
    for (int i = 0; i < 32; ++i)
      numbers[i] =
          bfloat16::from_float(C == code_kind::u4 ? static_cast<float>(i % 16 - Zero) : nl4_values[i % 16]).bits();
    table = _mm512_load_si512(numbers);
  }
  QLITE_INLINE static zeros load_zeros(const std::byte*) noexcept { return {}; }
  template <std::size_t P>
  QLITE_INLINE pairs codes(words w, zeros) const noexcept {
    return {_mm512_permutexvar_epi16(P == 0 ? w.v : _mm512_srli_epi16(w.v, 4 * P), table)};
  }
};

/// With zero points: the table has the integers from -16 to 15, at code + 16 - zero point.
template <int Zero>
struct isa<cpu::avx512_bf16>::pair_decoder<code_kind::u4, Zero, true> {
  static constexpr std::size_t pairs_per_line = 4;
  struct zeros {
    __m512i v;    // 16 - zero point, in both halves
  };
  __m512i table;

  QLITE_INLINE pair_decoder() noexcept {
    alignas(64) std::uint16_t numbers[32];
    for (int i = 0; i < 32; ++i) numbers[i] = bfloat16::from_float(static_cast<float>(i - 16)).bits();
    table = _mm512_load_si512(numbers);
  }
  QLITE_INLINE static zeros load_zeros(const std::byte* p) noexcept {
    const __m512i z = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {_mm512_sub_epi16(_mm512_set1_epi16(16), _mm512_or_si512(z, _mm512_slli_epi32(z, 16)))};
  }
  template <std::size_t P>
  QLITE_INLINE pairs codes(words w, zeros z) const noexcept {
    const __m512i shifted = P == 0 ? w.v : _mm512_srli_epi16(w.v, 4 * P);
    const __m512i code = P == 3 ? shifted : _mm512_and_si512(shifted, _mm512_set1_epi16(15));
    return {_mm512_permutexvar_epi16(_mm512_add_epi16(code, z.v), table)};
  }
};

/// Bytes become floats as avx512_common::decoder has it. Small integers have no bits in the lower half of a float, so
/// that of the second of a pair takes the upper half of the first.
struct avx512_byte_pairs {
  static constexpr std::size_t pairs_per_line = 2;
  __m512i mask[2], power[2], upper_half;

  QLITE_INLINE avx512_byte_pairs() noexcept {
    for (int i = 0; i < 2; ++i) {
      mask[i] = _mm512_set1_epi32(255 << (8 * i));
      power[i] = _mm512_castps_si512(_mm512_set1_ps(one(i)));
      __asm__("" : "+v"(mask[i]), "+v"(power[i]));    // or g++ makes the constants anew for each group
    }
    upper_half = _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15));
    __asm__("" : "+v"(upper_half));
  }
  QLITE_INLINE static constexpr float one(int i) noexcept { return static_cast<float>(1 << (23 - 8 * i)); }
  template <std::size_t P>
  QLITE_INLINE __m512i pair(__m512i word, const __m512 (&zero)[2]) const noexcept {
    const __m512i field = P == 0 ? word : _mm512_srli_epi32(word, 16);
    __m512i f[2];
    for (int i = 0; i < 2; ++i)
      f[i] = _mm512_castps_si512(
          _mm512_sub_ps(_mm512_castsi512_ps(_mm512_ternarylogic_epi32(field, mask[i], power[i], 0xea)), zero[i]));
    return _mm512_mask_shuffle_epi8(f[1], 0x3333333333333333u, f[0], upper_half);
  }
};
template <int Zero>
struct isa<cpu::avx512_bf16>::pair_decoder<code_kind::u8, Zero, false> : avx512_byte_pairs {
  using zeros = no_zeros;
  __m512 zero[2];

  QLITE_INLINE pair_decoder() noexcept {
    for (int i = 0; i < 2; ++i) {
      zero[i] = _mm512_set1_ps(one(i) + static_cast<float>(Zero));
      __asm__("" : "+v"(zero[i]));
    }
  }
  QLITE_INLINE static zeros load_zeros(const std::byte*) noexcept { return {}; }
  template <std::size_t P>
  QLITE_INLINE pairs codes(words w, zeros) const noexcept {
    return {pair<P>(w.v, zero)};
  }
};
template <int Zero>
struct isa<cpu::avx512_bf16>::pair_decoder<code_kind::u8, Zero, true> : avx512_byte_pairs {
  struct zeros {
    __m512 v[2];
  };
  QLITE_INLINE static zeros load_zeros(const std::byte* p) noexcept {
    const __m512 z = zero_floats<code_kind::u8>(p).v[0];
    return {{_mm512_add_ps(z, _mm512_set1_ps(one(0))), _mm512_add_ps(z, _mm512_set1_ps(one(1)))}};
  }
  template <std::size_t P>
  QLITE_INLINE pairs codes(words w, const zeros& z) const noexcept {
    return {pair<P>(w.v, z.v)};
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS

#else

QLITE_BEGIN_FUNCTIONS
namespace impl {
template <class B>
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::avx512_bf16>>> {
  static_assert(always_false<B>,
                "qlite: the backend cpu::avx512_bf16 needs -march=x86-64-v4 -mavx512vnni -mavx512bf16 in this "
                "translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS

#endif
