// Plain C++: the readable twin of every instruction set. Loops over 16 columns, which a compiler may vectorize.
#pragma once

#include <qlite/core/half.hpp>
#include <qlite/cpu/isa.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

struct scalar_floats {
  static constexpr std::size_t lanes = 16, count = lanes;    // each its own register
  float v[lanes];

  QLITE_INLINE static scalar_floats splat(float x) noexcept {
    scalar_floats r;
    for (std::size_t i = 0; i < lanes; ++i) r.v[i] = x;
    return r;
  }
  template <class T>
  QLITE_INLINE static scalar_floats load(const T* p) noexcept {
    scalar_floats r;
    for (std::size_t i = 0; i < lanes; ++i) r.v[i] = element<T>::load(p[i]);
    return r;
  }
  template <class T>
  QLITE_INLINE void store(T* p) const noexcept {
    for (std::size_t i = 0; i < lanes; ++i) p[i] = element<T>::store(v[i]);
  }
  QLITE_INLINE friend scalar_floats add(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] += b.v[i];
    return a;
  }
  QLITE_INLINE friend scalar_floats sub(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] -= b.v[i];
    return a;
  }
  QLITE_INLINE friend scalar_floats mul(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] *= b.v[i];
    return a;
  }
  QLITE_INLINE friend scalar_floats divide(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] /= b.v[i];
    return a;
  }
  QLITE_INLINE friend scalar_floats fma(scalar_floats a, scalar_floats b, scalar_floats c) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = detail::fma(a.v[i], b.v[i], c.v[i]);
    return a;
  }
  QLITE_INLINE friend scalar_floats maximum(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return a;
  }
  QLITE_INLINE friend scalar_floats max_bits(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = bits_float(max_of(float_bits(a.v[i]), float_bits(b.v[i])));
    return a;
  }
  QLITE_INLINE friend std::uint32_t largest_bits(scalar_floats a) noexcept {
    std::uint32_t most = 0;
    for (std::size_t i = 0; i < lanes; ++i) most = max_of(most, float_bits(a.v[i]));
    return most;
  }
  struct code_sums {
    std::int32_t sum;
    QLITE_INLINE code_sums() noexcept : sum(0) {}
    QLITE_INLINE std::int32_t total() const noexcept { return sum; }
  };
  QLITE_INLINE friend void store_codes(scalar_floats a, std::int8_t* p, code_sums& sums) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) {
      const float x = a.v[i] > 127.0f ? 127.0f : a.v[i] < -127.0f ? -127.0f : a.v[i];
      const std::int32_t code = nearest_int(x);
      p[i] = static_cast<std::int8_t>(code);
      sums.sum += code;
    }
  }
  QLITE_INLINE friend scalar_floats bit_and(scalar_floats a, std::uint32_t mask) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = bits_float(float_bits(a.v[i]) & mask);
    return a;
  }
  QLITE_INLINE friend scalar_floats bit_or(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = bits_float(float_bits(a.v[i]) | float_bits(b.v[i]));
    return a;
  }
  QLITE_INLINE friend scalar_floats shift_left(scalar_floats a, int n) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = bits_float(float_bits(a.v[i]) << n);
    return a;
  }
  QLITE_INLINE friend scalar_floats add_bits(scalar_floats a, scalar_floats b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] = bits_float(float_bits(a.v[i]) + float_bits(b.v[i]));
    return a;
  }
};

template <>
struct isa<cpu::scalar> {
  using floats = scalar_floats;
  static constexpr std::size_t lanes = 16, k_unit = 4, row_unit = 1;
  struct weights {
    std::uint8_t v[lanes * k_unit];
  };
  struct inputs {
    std::int8_t v[k_unit];
  };
  struct ints {
    std::int32_t v[lanes];
  };
  struct words {
    std::uint32_t v[lanes];
  };

  static constexpr std::size_t integer_tiles[] = {1}, integer_strips = 1;
  static constexpr std::size_t float_direct_tiles[] = {1}, float_direct_strips = 1;
  static constexpr tile_shape float_tiles[] = {{1, 1}};
  static constexpr std::size_t float_few_rows = float_direct_tiles[0];

  QLITE_INLINE static weights load_bytes(const std::byte* p) noexcept {
    weights w;
    std::memcpy(w.v, p, sizeof w.v);
    return w;
  }
  QLITE_INLINE static void load_nibbles(const std::byte* p, weights& low, weights& high) noexcept {
    const weights both = load_bytes(p);
    for (std::size_t i = 0; i < lanes * k_unit; ++i) {
      low.v[i] = both.v[i] & 15;
      high.v[i] = static_cast<std::uint8_t>(both.v[i] >> 4);
    }
  }
  template <code_kind C>
  QLITE_INLINE static weights look_up(weights w) noexcept {
    look_up_bytes<C>(w.v, sizeof w.v);
    return w;
  }
  QLITE_INLINE static inputs load_inputs(const std::int8_t* x) noexcept {
    inputs r;
    std::memcpy(r.v, x, sizeof r.v);
    return r;
  }

  template <code_kind>
  static constexpr std::size_t burst = 0;
  template <code_kind C>
  QLITE_INLINE static std::int32_t value(std::uint8_t stored) noexcept {
    return C == code_kind::s8 ? static_cast<std::int8_t>(stored) : stored;
  }
  template <code_kind C>
  QLITE_INLINE static void dot(ints& sum, const weights& w, inputs x) noexcept {
    for (std::size_t i = 0; i < lanes; ++i)
      for (std::size_t k = 0; k < k_unit; ++k) sum.v[i] += value<C>(w.v[i * k_unit + k]) * x.v[k];
  }

  QLITE_INLINE static std::int32_t negative_product(std::int32_t z, std::int32_t sum) noexcept {
    return static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(z) * static_cast<std::uint32_t>(sum));
  }
  QLITE_INLINE static ints start(std::int32_t z, std::int32_t sum) noexcept {
    ints r;
    for (std::size_t i = 0; i < lanes; ++i) r.v[i] = negative_product(z, sum);
    return r;
  }
  template <code_kind C>
  QLITE_INLINE static ints start(const std::byte* zeros, std::int32_t sum) noexcept {
    ints r;
    for (std::size_t i = 0; i < lanes; ++i)
      r.v[i] = negative_product(value<C>(static_cast<std::uint8_t>(zeros[i])), sum);
    return r;
  }
  QLITE_INLINE static ints add_ints(ints a, ints b) noexcept {
    for (std::size_t i = 0; i < lanes; ++i) a.v[i] += b.v[i];
    return a;
  }
  QLITE_INLINE static floats to_floats(ints a) noexcept {
    floats f;
    for (std::size_t i = 0; i < lanes; ++i) f.v[i] = static_cast<float>(a.v[i]);
    return f;
  }

  static constexpr std::size_t word_count = 1;
  QLITE_INLINE static void load_words(const std::byte* p, words* w) noexcept { std::memcpy(w[0].v, p, sizeof w[0].v); }
  template <code_kind C, int Zero>
  struct decoder {
    template <int Shift>
    QLITE_INLINE floats code(words w) const noexcept {
      if constexpr (is_book<C>) return numbers_of<C>(decoder<code_kind::u4, 0>().template code<Shift>(w));
      floats f;
      for (std::size_t i = 0; i < lanes; ++i)
        f.v[i] = static_cast<float>(
            value<C>(static_cast<std::uint8_t>((w.v[i] >> Shift) & (C == code_kind::u4 ? 15u : 255u))));
      return Zero == 0 ? f : sub(f, floats::splat(static_cast<float>(Zero)));
    }
  };
  template <code_kind C>
  QLITE_INLINE static floats zero_floats(const std::byte* zeros) noexcept {
    floats f;
    for (std::size_t i = 0; i < lanes; ++i) f.v[i] = static_cast<float>(value<C>(static_cast<std::uint8_t>(zeros[i])));
    return f;
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
