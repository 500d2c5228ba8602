// From packed codes to fragments of mma.sync, in registers. detail/layout.cuh draws the words that come in.
//
// 16-bit floats: a code is put into the fraction of a number whose unit in the last place is 1, then the number that
// stands for code = zero point is subtracted; both are exact. For float16, 0x6400 | u is 1024 + u for u < 1024. The
// idea is of Y. Kim et al., "Who Says Elephants Can't Run", 2022; the interleaved nibbles, which save shifts, follow
// Marlin (E. Frantar et al., 2024). bfloat16 has seven bits of fraction: 0x4300 | u is 128 + u for u < 128, and an int8
// code is the difference of 0x4300 | (its low seven bits) and 0x4300 | (its sign bit), 128 or 256.
#pragma once

#include <qlite/cuda/detail/book.cuh>
#include <qlite/cuda/detail/operands.cuh>
#include <qlite/cuda/detail/ptx.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

template <class T>
QLITE_DEVICE std::uint32_t sub_pair(std::uint32_t a, std::uint32_t b) {
  using pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
  const pair r = __hsub2(*reinterpret_cast<const pair*>(&a), *reinterpret_cast<const pair*>(&b));
  return *reinterpret_cast<const std::uint32_t*>(&r);
}
/// a / 16 + b, in float16.
QLITE_DEVICE std::uint32_t sixteenth_plus(std::uint32_t a, std::uint32_t b) {
  const std::uint32_t sixteenth = 0x2c002c00u;
  const __half2 r = __hfma2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&sixteenth),
                            *reinterpret_cast<const __half2*>(&b));
  return *reinterpret_cast<const std::uint32_t*>(&r);
}

/// Arithmetic with activations of T, 16 bits: a tile takes four steps of 16 k.
template <class T>
struct float_math {
  using element = T;
  using sum = float;
  static constexpr int steps = 4;                    // of a tile
  static constexpr std::uint32_t row_bytes = 128;    // of a row of X in a tile
  static constexpr bool is_integer = false;
  static constexpr bool has_book = false;

  /// The number that a code stands for, in units of the scale.
  QLITE_DEVICE static float number(int code, int zero) { return static_cast<float>(code - zero); }

  /// What is subtracted from the codes of rows g and g + 8.
  struct zeros {
    std::uint32_t c[2];
  };
  template <int Bits>
  QLITE_DEVICE static zeros make_zeros(std::uint32_t stored) {
    const std::uint32_t z0 = stored & 0xffu, z1 = stored >> 8;
    constexpr bool half = std::is_same_v<T, __half>;
    // Bytes are put beside a constant one, and doubled: 0x6400 | z0, and 0xd400 | z1 << 4 (below 64).
    if (Bits == 4 && half)
      return {{__byte_perm(stored, 0x64u, 0x4040), __byte_perm(and_or(stored >> 4, 0x0ff0u, 0xd400u), 0, 0x1010)}};
    if (Bits == 4) return {{__byte_perm(stored, 0x43u, 0x4040), __byte_perm(stored, 0x43u, 0x4141)}};
    if (half) {
      const std::uint32_t flipped = stored ^ 0x8080u;
      return {{__byte_perm(flipped, 0x64u, 0x4040), __byte_perm(flipped, 0x64u, 0x4141)}};
    }
    return {{bfloat_pair(z0), bfloat_pair(z1)}};
  }

  /// The fragments of steps 2 h and 2 h + 1.
  QLITE_DEVICE static void decode(const uint4 (&raw)[1], int h, const zeros& z, std::uint32_t (&a)[2][4]) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const std::uint32_t w = h == 0 ? (e == 0 ? raw[0].x : raw[0].y) : (e == 0 ? raw[0].z : raw[0].w);
      if constexpr (std::is_same_v<T, __half>) {
        constexpr std::uint32_t ones = 0x64006400u, low = 0x000f000fu, high = 0x00f000f0u;
        const std::uint32_t shifted = w >> 8;
        a[e][0] = sub_pair<T>(and_or(w, low, ones), z.c[0]);
        a[e][1] = sixteenth_plus(and_or(w, high, ones), z.c[1]);
        a[e][2] = sub_pair<T>(and_or(shifted, low, ones), z.c[0]);
        a[e][3] = sixteenth_plus(and_or(shifted, high, ones), z.c[1]);
      } else {
        constexpr std::uint32_t ones = 0x43004300u, low = 0x000f000fu;
#pragma unroll
        for (int i = 0; i < 4; ++i) a[e][i] = sub_pair<T>(and_or(w >> (4 * i), low, ones), z.c[i % 2]);
      }
    }
  }
  QLITE_DEVICE static void decode(const uint4 (&raw)[2], int h, const zeros& z, std::uint32_t (&a)[2][4]) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const std::uint32_t w = h == 0 ? (e == 0 ? raw[r].x : raw[r].y) : (e == 0 ? raw[r].z : raw[r].w);
        if constexpr (std::is_same_v<T, __half>) {
          const std::uint32_t u = w ^ 0x80808080u;
          a[e][r] = sub_pair<T>(__byte_perm(u, 0x64646464u, 0x4240), z.c[r]);
          a[e][r + 2] = sub_pair<T>(__byte_perm(u, 0x64646464u, 0x4341), z.c[r]);
        } else {
#pragma unroll
          for (int p = 0; p < 2; ++p) {
            const std::uint32_t v = w >> (8 * p);
            const std::uint32_t code =
                sub_pair<T>(and_or(v, 0x007f007fu, 0x43004300u), and_or(v, 0x00800080u, 0x43004300u));
            a[e][r + 2 * p] = sub_pair<T>(code, z.c[r]);
          }
        }
      }
    }
  }

  /// A fragment of ones: its product is the sum of the other operand.
  static constexpr std::uint32_t ones = std::is_same_v<T, __half> ? 0x3c003c00u : 0x3f803f80u;

 private:
  QLITE_DEVICE static std::uint32_t bfloat_pair(std::uint32_t byte) {
    const auto value = static_cast<float>(static_cast<std::int8_t>(byte));
    return (__float_as_uint(value) >> 16) * 0x10001u;    // exact
  }
};

/// Arithmetic with activations of T and codes that choose from a code book. Its numbers are rounded to T: those of nl4
/// are whole and stay what they are. A byte permutation looks up four bytes among eight; two of them and a third that
/// chooses by the highest bit of each code are a table of 16.
template <class T, class Code>
struct book_math : float_math<T> {
  using zeros = typename float_math<T>::zeros;
  static constexpr bool has_book = true;

  QLITE_DEVICE static float number(int code, int) {
    constexpr book_tables t = tables_in<Code, T>;
    const std::uint32_t word = static_cast<std::uint32_t>(code) / 4, shift = 8 * (static_cast<std::uint32_t>(code) % 4);
    std::uint32_t low = 0, high = 0;
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) {
      low = i == word ? t.low[i] : low;
      high = i == word ? t.high[i] : high;
    }
    const auto bits = static_cast<unsigned short>((low >> shift & 0xffu) | (high >> shift & 0xffu) << 8);
    return to_float(*reinterpret_cast<const T*>(&bits));
  }

  QLITE_DEVICE static void decode(const uint4 (&raw)[1], int h, const zeros&, std::uint32_t (&a)[2][4]) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const std::uint32_t w = h == 0 ? (e == 0 ? raw[0].x : raw[0].y) : (e == 0 ? raw[0].z : raw[0].w);
      // Fields 0 to 3 are the first of the pairs of a[e][0 ... 3], fields 4 to 7 the second.
      const std::uint32_t index = w & 0x77777777u, half = and_or(w >> 1, 0x44444444u, 0x32103210u);
      const uint2 first = look_up(index, half), second = look_up(index >> 16, half >> 16);
      a[e][0] = __byte_perm(first.x, second.x, 0x5410);
      a[e][1] = __byte_perm(first.x, second.x, 0x7632);
      a[e][2] = __byte_perm(first.y, second.y, 0x5410);
      a[e][3] = __byte_perm(first.y, second.y, 0x7632);
    }
  }

 private:
  /// The numbers of four codes, two to a word. `index`: the low three bits of each; `half`: i or 4 + i for code i, by
  /// its highest bit.
  QLITE_DEVICE static uint2 look_up(std::uint32_t index, std::uint32_t half) {
    constexpr book_tables t = tables_in<Code, T>;
    const std::uint32_t low =
        __byte_perm(__byte_perm(t.low[0], t.low[1], index), __byte_perm(t.low[2], t.low[3], index), half);
    const std::uint32_t high =
        __byte_perm(__byte_perm(t.high[0], t.high[1], index), __byte_perm(t.high[2], t.high[3], index), half);
    return make_uint2(__byte_perm(low, high, 0x5140), __byte_perm(low, high, 0x7362));
  }
};

/// The arithmetic of a scheme's codes.
template <class Math, class Code, bool Book>
struct math_with_book {
  using type = Math;
};
template <class Math, class Code>
struct math_with_book<Math, Code, true> {
  static_assert(!Math::is_integer, "qlite: on CUDA nf4 and nl4 weights take X of float16 or bfloat16");
  using type = book_math<typename Math::element, Code>;
};

/// Arithmetic with activations of signed bytes: a tile takes two steps of 32 k. Codes of 4 bits are multiplied as
/// 16 (field - 8), so that no shift has to bring a sign along; sums are divided by 16, exactly.
struct integer_math {
  using element = std::int8_t;
  using sum = std::int32_t;
  static constexpr int steps = 2;
  static constexpr std::uint32_t row_bytes = 64;
  static constexpr bool is_integer = true;
  static constexpr bool has_book = false;

  /// What the sum of the activations is multiplied with and subtracted.
  struct zeros {
    std::int32_t c[2];
  };
  template <int Bits>
  QLITE_DEVICE static zeros make_zeros(std::uint32_t stored) {
    const std::uint32_t z0 = stored & 0xffu, z1 = stored >> 8;
    if (Bits == 4) return {{static_cast<std::int32_t>(z0) - 8, static_cast<std::int32_t>(z1) - 8}};
    return {{static_cast<std::int8_t>(z0), static_cast<std::int8_t>(z1)}};
  }
  /// The sum of codes times activations that an accumulator stands for.
  template <int Bits>
  QLITE_DEVICE static std::int32_t unscaled(std::int32_t sum) {
    return Bits == 4 ? sum >> 4 : sum;
  }

  QLITE_DEVICE static void decode(const uint4 (&raw)[1], int h, const zeros&, std::uint32_t (&a)[1][4]) {
    const std::uint32_t w0 = h == 0 ? raw[0].x : raw[0].z, w1 = h == 0 ? raw[0].y : raw[0].w;
    constexpr std::uint32_t high = 0xf0f0f0f0u, flip = 0x80808080u;
    a[0][0] = and_xor(w0 << 4, high, flip);
    a[0][1] = and_xor(w0, high, flip);
    a[0][2] = and_xor(w1 << 4, high, flip);
    a[0][3] = and_xor(w1, high, flip);
  }
  QLITE_DEVICE static void decode(const uint4 (&raw)[2], int h, const zeros&, std::uint32_t (&a)[1][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      a[0][r] = h == 0 ? raw[r].x : raw[r].z;
      a[0][r + 2] = h == 0 ? raw[r].y : raw[r].w;
    }
  }

  static constexpr std::uint32_t ones = 0x01010101u;
};

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
