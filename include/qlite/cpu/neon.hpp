// Armv8.2 with the dot product (sdot) and with the matrix product (smmla). A strip of 16 columns is four registers;
// smmla multiplies two rows of X by two rows of W over eight k, so its lines hold eight k of each row (k_unit 8).
#pragma once

#include <qlite/cpu/isa.hpp>

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)

#include <qlite/cpu/simd.hpp>

#include <arm_neon.h>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// What both share. `Registers`: 16-byte registers in a line.
template <std::size_t Registers>
struct neon_common {
  using floats = simd_floats<own_arch<xsimd::neon64>>;
  struct weights {
    int8x16_t v[Registers];
  };
  struct ints {
    int32x4_t v[Registers];
  };
  struct words {
    uint32x4_t v[4];
  };

  template <code_kind>
  static constexpr std::size_t burst = 0;

  QLITE_INLINE static const std::uint8_t* bytes(const std::byte* p) noexcept {
    return reinterpret_cast<const std::uint8_t*>(p);
  }
  QLITE_INLINE static weights load_bytes(const std::byte* p) noexcept {
    weights w;
    for (std::size_t i = 0; i < Registers; ++i) w.v[i] = vreinterpretq_s8_u8(vld1q_u8(bytes(p + 16 * i)));
    return w;
  }
  QLITE_INLINE static void load_nibbles(const std::byte* p, weights& low, weights& high) noexcept {
    for (std::size_t i = 0; i < Registers; ++i) {
      const uint8x16_t both = vld1q_u8(bytes(p + 16 * i));
      low.v[i] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
      high.v[i] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    }
  }
  template <code_kind C>
  QLITE_INLINE static weights look_up(weights w) noexcept {
    const int8x16_t book = vld1q_s8(static_cast<const std::int8_t*>(book_bytes<C>()));
    for (std::size_t i = 0; i < Registers; ++i) w.v[i] = vqtbl1q_s8(book, vreinterpretq_u8_s8(w.v[i]));
    return w;
  }
  QLITE_INLINE static ints add_ints(ints a, ints b) noexcept {
    for (std::size_t i = 0; i < Registers; ++i) a.v[i] = vaddq_s32(a.v[i], b.v[i]);
    return a;
  }
  QLITE_INLINE static ints start(std::int32_t z, std::int32_t sum) noexcept {
    ints r;
    for (std::size_t i = 0; i < Registers; ++i) r.v[i] = vnegq_s32(vmulq_s32(vdupq_n_s32(z), vdupq_n_s32(sum)));
    return r;
  }

  /// 16 bytes as four registers of 32 bits.
  template <code_kind C>
  QLITE_INLINE static void widen(const std::byte* p, int32x4_t (&r)[4]) noexcept {
    const uint8x16_t v = vld1q_u8(bytes(p));
    int16x8_t low, high;
    if constexpr (C == code_kind::s8) {
      low = vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(v)));
      high = vmovl_s8(vget_high_s8(vreinterpretq_s8_u8(v)));
    } else {
      low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(v)));
      high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(v)));
    }
    r[0] = vmovl_s16(vget_low_s16(low));
    r[1] = vmovl_s16(vget_high_s16(low));
    r[2] = vmovl_s16(vget_low_s16(high));
    r[3] = vmovl_s16(vget_high_s16(high));
  }
  template <code_kind C>
  QLITE_INLINE static floats zero_floats(const std::byte* zeros) noexcept {
    int32x4_t z[4];
    widen<C>(zeros, z);
    floats f;
    for (std::size_t i = 0; i < 4; ++i) f.v[i] = typename floats::batch(vcvtq_f32_s32(z[i]));
    return f;
  }
  template <code_kind C, int Zero>
  struct decoder {
    template <int Shift>
    QLITE_INLINE floats code(words w) const noexcept {
      floats f;
      if constexpr (is_book<C>) {    // the four bytes of each number out of the 64 of the code book
        uint8x16x4_t book;
        for (std::size_t i = 0; i < 4; ++i) book.val[i] = vreinterpretq_u8_f32(vld1q_f32(book_numbers<C>() + 4 * i));
        for (std::size_t i = 0; i < 4; ++i) {
          const uint32x4_t c = vandq_u32(vshlq_u32(w.v[i], vdupq_n_s32(-Shift)), vdupq_n_u32(15));
          const uint32x4_t at = vmlaq_u32(vdupq_n_u32(0x03020100u), c, vdupq_n_u32(0x04040404u));
          f.v[i] = typename floats::batch(vreinterpretq_f32_u8(vqtbl4q_u8(book, vreinterpretq_u8_u32(at))));
        }
        return f;
      }
      for (std::size_t i = 0; i < 4; ++i) {
        if constexpr (C == code_kind::s8)
          f.v[i] = typename floats::batch(
              vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(vreinterpretq_s32_u32(w.v[i]), vdupq_n_s32(24 - Shift)), 24)));
        else
          f.v[i] = typename floats::batch(vcvtq_f32_u32(
              vandq_u32(vshlq_u32(w.v[i], vdupq_n_s32(-Shift)), vdupq_n_u32(C == code_kind::u4 ? 15 : 255))));
      }
      return Zero == 0 ? f : sub(f, floats::splat(static_cast<float>(Zero)));
    }
  };
};

template <>
struct isa<cpu::neon_dotprod> : neon_common<4> {
  static constexpr std::size_t k_unit = 4, row_unit = 1;
  static constexpr std::size_t integer_tiles[] = {4, 2, 1}, integer_strips = 1;
  static constexpr std::size_t float_direct_tiles[] = {4, 2, 1}, float_direct_strips = 1;
  static constexpr tile_shape float_tiles[] = {{6, 1}, {3, 1}};
  static constexpr std::size_t float_few_rows = float_direct_tiles[0];

  struct inputs {
    int8x16_t v;
  };
  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept {
    std::int32_t unit;
    std::memcpy(&unit, x, sizeof unit);
    return {vreinterpretq_s8_s32(vdupq_n_s32(unit))};
  }
  template <code_kind C>
  QLITE_INLINE static void dot(ints& sum, weights w, inputs x) noexcept {
    for (std::size_t i = 0; i < 4; ++i) sum.v[i] = vdotq_s32(sum.v[i], w.v[i], x.v);
  }
  using neon_common<4>::start;
  template <code_kind C>
  QLITE_INLINE static ints start(const std::byte* zeros, std::int32_t sum) noexcept {
    ints r;
    widen<C>(zeros, r.v);
    for (std::size_t i = 0; i < 4; ++i) r.v[i] = vnegq_s32(vmulq_s32(r.v[i], vdupq_n_s32(sum)));
    return r;
  }
  QLITE_INLINE static floats to_floats(ints a) noexcept {
    floats f;
    for (std::size_t i = 0; i < 4; ++i) f.v[i] = floats::batch(vcvtq_f32_s32(a.v[i]));
    return f;
  }
  static constexpr std::size_t word_count = 1;
  QLITE_INLINE static void load_words(const std::byte* p, words* w) noexcept {
    for (std::size_t i = 0; i < 4; ++i) w[0].v[i] = vreinterpretq_u32_u8(vld1q_u8(bytes(p + 16 * i)));
  }
};

#if defined(__ARM_FEATURE_MATMUL_INT8)
/// Register i of the sums holds rows 0 and 1 of X times columns 2i and 2i + 1: {x0 w0, x0 w1, x1 w0, x1 w1}.
template <>
struct isa<cpu::neon_i8mm> : neon_common<8> {
  static constexpr std::size_t k_unit = 8, row_unit = 2;
  static constexpr std::size_t integer_tiles[] = {4, 2}, integer_strips = 1;
  static constexpr std::size_t float_direct_tiles[] = {4, 2, 1}, float_direct_strips = 1;
  static constexpr tile_shape float_tiles[] = {{6, 1}, {3, 1}};
  static constexpr std::size_t float_few_rows = float_direct_tiles[0];

  struct inputs {
    int8x16_t v;
  };
  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept { return {vld1q_s8(x)}; }
  template <code_kind C>
  QLITE_INLINE static void dot(ints& sum, weights w, inputs x) noexcept {
    for (std::size_t i = 0; i < 8; ++i) sum.v[i] = vmmlaq_s32(sum.v[i], x.v, w.v[i]);
  }

  /// Columns 4j ... 4j + 3 of one of the two rows.
  QLITE_INLINE static int32x4_t row_of(const ints& a, std::size_t row, std::size_t j) noexcept {
    const int32x4_t first = a.v[2 * j], second = a.v[2 * j + 1];
    return row == 0 ? vcombine_s32(vget_low_s32(first), vget_low_s32(second))
                    : vcombine_s32(vget_high_s32(first), vget_high_s32(second));
  }
  /// One row, with -zero * sum of its activations added.
  QLITE_INLINE static floats to_floats(const ints& a, std::size_t row, std::int32_t zero, std::int32_t sum) noexcept {
    floats f;
    for (std::size_t j = 0; j < 4; ++j)
      f.v[j] = floats::batch(vcvtq_f32_s32(vmlsq_s32(row_of(a, row, j), vdupq_n_s32(zero), vdupq_n_s32(sum))));
    return f;
  }
  template <code_kind C>
  QLITE_INLINE static floats to_floats(const ints& a, std::size_t row, const std::byte* zeros,
                                       std::int32_t sum) noexcept {
    int32x4_t z[4];
    widen<C>(zeros, z);
    floats f;
    for (std::size_t j = 0; j < 4; ++j)
      f.v[j] = floats::batch(vcvtq_f32_s32(vmlsq_s32(row_of(a, row, j), z[j], vdupq_n_s32(sum))));
    return f;
  }
  static constexpr std::size_t word_count = 2;
  QLITE_INLINE static void load_words(const std::byte* p, words* w) noexcept {
    for (std::size_t j = 0; j < 4; ++j) {
      const uint32x4_t a = vreinterpretq_u32_u8(vld1q_u8(bytes(p + 32 * j)));
      const uint32x4_t b = vreinterpretq_u32_u8(vld1q_u8(bytes(p + 32 * j + 16)));
      w[0].v[j] = vuzp1q_u32(a, b);    // k 0 ... 3 of four columns
      w[1].v[j] = vuzp2q_u32(a, b);    // k 4 ... 7
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
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::neon_dotprod>>> {
  static_assert(always_false<B>,
                "qlite: the backend cpu::neon_dotprod needs -march=armv8.2-a+dotprod in this translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS

#endif

#if !defined(__aarch64__) || !defined(__ARM_FEATURE_MATMUL_INT8) || !defined(__ARM_FEATURE_DOTPROD)
QLITE_BEGIN_FUNCTIONS
namespace impl {
template <class B>
struct isa<B, std::enable_if_t<std::is_same_v<B, cpu::neon_i8mm>>> {
  static_assert(always_false<B>,
                "qlite: the backend cpu::neon_i8mm needs -march=armv8.2-a+dotprod+i8mm in this translation unit");
};
}    // namespace impl
QLITE_END_FUNCTIONS
#endif
