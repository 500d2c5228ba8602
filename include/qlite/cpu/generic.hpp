// xsimd's default architecture for the flags of the translation unit, in nothing but portable operations: 16-bit
// products of bytes, which xsimd has everywhere, stand in for a dot product. Multiplies and adds floats with one
// rounding even where the hardware has no such instruction (core/bits.hpp), so that the bits agree with every backend.
#pragma once

#include <qlite/cpu/isa.hpp>
#include <qlite/cpu/simd.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <>
struct isa<cpu::generic> {
  using arch = own_arch<xsimd::default_arch>;
  using floats = simd_floats<arch>;
  using shorts = xsimd::batch<std::int16_t, arch>;
  using longs = xsimd::batch<std::int32_t, arch>;
  static constexpr std::size_t count = floats::count;
  static constexpr std::size_t k_unit = 4, row_unit = 1;

  /// Lane pairs of 16 bits: two codes each.
  struct weights {
    shorts v[count];
  };
  /// Two of four activations each, as 16-bit lanes: k 0 and 2, k 1 and 3.
  struct inputs {
    shorts even, odd;
  };
  struct ints {
    longs v[count];
  };
  struct words {
    longs v[count];
  };

  // few tiles: what is portable should also be quick to build
  static constexpr std::size_t integer_tiles[] = {4, 1}, integer_strips = 1;
  static constexpr std::size_t float_direct_tiles[] = {4, 1}, float_direct_strips = 1;
  static constexpr tile_shape float_tiles[] = {{4, 1}};
  static constexpr std::size_t float_few_rows = float_direct_tiles[0];

  template <class To, class From>
  QLITE_INLINE static To reinterpret(From x) noexcept {
    To y;
    static_assert(sizeof y == sizeof x, "registers of one width");
    std::memcpy(static_cast<void*>(&y), &x, sizeof y);
    return y;
  }
  QLITE_INLINE static longs load_longs(const std::byte* p) noexcept {
    std::int32_t lanes[longs::size];
    std::memcpy(lanes, p, sizeof lanes);
    return longs::load_unaligned(lanes);
  }

  QLITE_INLINE static weights load_bytes(const std::byte* p) noexcept {
    weights w;
    for (std::size_t i = 0; i < count; ++i) w.v[i] = reinterpret<shorts>(load_longs(p + i * sizeof(longs)));
    return w;
  }
  QLITE_INLINE static void load_nibbles(const std::byte* p, weights& low, weights& high) noexcept {
    const shorts mask(std::int16_t{0x0f0f});
    for (std::size_t i = 0; i < count; ++i) {
      const shorts both = reinterpret<shorts>(load_longs(p + i * sizeof(longs)));
      low.v[i] = both & mask;
      high.v[i] = (both >> 4) & mask;
    }
  }
  template <code_kind C>
  QLITE_INLINE static weights look_up(weights w) noexcept {
    std::uint8_t bytes[sizeof w.v];
    std::memcpy(bytes, w.v, sizeof bytes);
    look_up_bytes<C>(bytes, sizeof bytes);
    std::memcpy(static_cast<void*>(w.v), bytes, sizeof bytes);
    return w;
  }
  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept {
    const auto pair = [](std::int8_t low, std::int8_t high) {
      const std::uint32_t bits =
          (static_cast<std::uint32_t>(static_cast<std::uint16_t>(high)) << 16) | static_cast<std::uint16_t>(low);
      return reinterpret<shorts>(longs(static_cast<std::int32_t>(bits)));
    };
    return {pair(x[0], x[2]), pair(x[1], x[3])};
  }

  /// Two products a unit in 16 bits: nibbles 2 * 15 * 127, eight units stay below 32,768; bytes 2 * 128 * 127, one
  /// does.
  template <code_kind C>
  static constexpr std::size_t burst = C == code_kind::u4 ? 8 : 1;
  struct partial {
    shorts v[count];
  };
  QLITE_INLINE static partial start_partial() noexcept {
    partial p;
    for (std::size_t i = 0; i < count; ++i) p.v[i] = shorts(std::int16_t{0});
    return p;
  }
  template <code_kind C>
  QLITE_INLINE static void dot(partial& sum, weights w, inputs x) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      const shorts even = C == code_kind::u4 ? w.v[i] & shorts(std::int16_t{0xff}) : (w.v[i] << 8) >> 8;
      const shorts odd = w.v[i] >> 8;
      sum.v[i] = sum.v[i] + (even * x.even + odd * x.odd);
    }
  }
  QLITE_INLINE static void flush(ints& sum, partial p) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      const longs both = reinterpret<longs>(p.v[i]);
      sum.v[i] = sum.v[i] + (((both << 16) >> 16) + (both >> 16));
    }
  }

  QLITE_INLINE static std::int32_t negative_product(std::int32_t z, std::int32_t sum) noexcept {
    return static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(z) * static_cast<std::uint32_t>(sum));
  }
  QLITE_INLINE static ints start(std::int32_t z, std::int32_t sum) noexcept {
    ints r;
    for (std::size_t i = 0; i < count; ++i) r.v[i] = longs(negative_product(z, sum));
    return r;
  }
  template <code_kind C>
  QLITE_INLINE static std::int32_t value(std::byte stored) noexcept {
    const auto byte = static_cast<std::uint8_t>(stored);
    return C == code_kind::s8 ? static_cast<std::int8_t>(byte) : byte;
  }
  template <code_kind C>
  QLITE_INLINE static ints start(const std::byte* zeros, std::int32_t sum) noexcept {
    std::int32_t lanes[strip_columns];
    for (std::size_t i = 0; i < strip_columns; ++i) lanes[i] = negative_product(value<C>(zeros[i]), sum);
    ints r;
    for (std::size_t i = 0; i < count; ++i) r.v[i] = longs::load_unaligned(lanes + i * longs::size);
    return r;
  }
  QLITE_INLINE static ints add_ints(ints a, ints b) noexcept {
    for (std::size_t i = 0; i < count; ++i) a.v[i] = a.v[i] + b.v[i];
    return a;
  }
  QLITE_INLINE static floats to_floats(ints a) noexcept {
    floats f;
    for (std::size_t i = 0; i < count; ++i) f.v[i] = xsimd::to_float(a.v[i]);
    return f;
  }

  static constexpr std::size_t word_count = 1;
  QLITE_INLINE static void load_words(const std::byte* p, words* w) noexcept {
    for (std::size_t i = 0; i < count; ++i) w[0].v[i] = load_longs(p + i * sizeof(longs));
  }
  QLITE_INLINE static longs shifted_right(longs x, int n) noexcept {
#if defined(__aarch64__)
    return longs(vshlq_s32(x, vdupq_n_s32(-n)));    // xsimd 8.1's own, under g++ 12 -O2, shifts by 16 and more wrongly
#else
    return x >> n;
#endif
  }
  template <code_kind C, int Zero>
  struct decoder {
    template <int Shift>
    QLITE_INLINE floats code(words w) const noexcept {
      if constexpr (is_book<C>) return numbers_of<C>(decoder<code_kind::u4, 0>().template code<Shift>(w));
      floats f;
      for (std::size_t i = 0; i < count; ++i) {
        if constexpr (C == code_kind::s8) {
          f.v[i] = xsimd::to_float((w.v[i] << (24 - Shift)) >> 24);
        } else {
          f.v[i] = xsimd::to_float(shifted_right(w.v[i], Shift) & longs(C == code_kind::u4 ? 15 : 255));
        }
      }
      return Zero == 0 ? f : sub(f, floats::splat(static_cast<float>(Zero)));
    }
  };
  template <code_kind C>
  QLITE_INLINE static floats zero_floats(const std::byte* zeros) noexcept {
    float lanes[strip_columns];
    for (std::size_t i = 0; i < strip_columns; ++i) lanes[i] = static_cast<float>(value<C>(zeros[i]));
    return floats::load(lanes);
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
