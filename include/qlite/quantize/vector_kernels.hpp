// The loops over weights with the compiler's vectors, as wide as the flags of the translation unit allow: the results
// of plain_kernels at the speed of memory.
#pragma once

#include <qlite/quantize/encode.hpp>

#if defined(__CUDACC__)
QLITE_BEGIN_FUNCTIONS
namespace impl {
using kernels = plain_kernels;
}
QLITE_END_FUNCTIONS
#else

QLITE_BEGIN_FUNCTIONS
namespace impl {

struct vector_kernels {
#if defined(__AVX512F__) && defined(__AVX512BW__)
  static constexpr std::size_t width = 64;
#elif defined(__AVX2__)
  static constexpr std::size_t width = 32;
#else
  static constexpr std::size_t width = 16;
#endif
  /// Weights of one round of the loops, and the vectors that hold them.
  static constexpr std::size_t block = 16, lanes = width / 4, vectors = block / lanes;

  typedef float floats __attribute__((vector_size(width)));
  typedef std::int32_t ints __attribute__((vector_size(width)));
  typedef double doubles __attribute__((vector_size(width)));
  typedef float half_floats __attribute__((vector_size(width / 2)));
  typedef std::uint32_t uints __attribute__((vector_size(width)));
  typedef std::int32_t ints4 __attribute__((vector_size(16)));
  typedef std::int16_t shorts8 __attribute__((vector_size(16)));
  typedef std::uint8_t bytes16 __attribute__((vector_size(16)));

  /// Whether the processor converts float16. (Named builtins, because this header belongs to the door that includes no
  /// intrinsics. clang has them as conversions of its vectors of __fp16.)
#if defined(__AVX512F__) || defined(__F16C__)
  static constexpr bool converts_halves = width >= 32;
#else
  static constexpr bool converts_halves = false;
#endif

  /// 16-bit weights of vectors below 512 bits are split into the even and the odd ones, which needs no shuffle.
  template <class T>
  static constexpr bool is_split = sizeof(T) == 2 && width < 64 && !(converts_halves && std::is_same_v<T, float16>);

  QLITE_INLINE static floats widen(ints bits, const bfloat16*) noexcept { return bit_cast<floats>(bits << 16); }
  QLITE_INLINE static floats widen(ints bits, const float16*) noexcept { return from_half<floats>(bits); }

  /// A vector of 16-bit numbers as floats.
  template <class T>
  QLITE_INLINE static floats load_16_bits(const T* w) noexcept {
    typedef std::int16_t shorts __attribute__((vector_size(width / 2)));
    shorts all;
    std::memcpy(&all, w, sizeof all);
    floats wide;
    if constexpr (converts_halves && std::is_same_v<T, float16>) {
#if defined(__clang__) && (defined(__AVX512F__) || defined(__F16C__))
      typedef __fp16 numbers __attribute__((vector_size(width / 2)));
      wide = __builtin_convertvector((numbers)all, floats);
#elif defined(__AVX512F__)
      wide = (floats)__builtin_ia32_vcvtph2ps512_mask(all, floats{}, -1, 4);    // 4: no rounding of its own
#elif defined(__F16C__)
      wide = (floats)__builtin_ia32_vcvtph2ps256(all);
#endif
    } else {
#if defined(__AVX512F__) && !defined(__clang__)    // one instruction; g++ 12 would convert halves and join them
      if constexpr (width == 64)
        wide = widen((ints)__builtin_ia32_pmovzxwd512_mask(all, ints{}, 0xffff), w);
      else
#endif
        wide = widen(__builtin_convertvector(all, ints), w);    // reads the low 16 bits of each lane
    }
    // From here on a plain number: compilers that look through the conversion compare and take signs in its source,
    // lane by lane (clang 14) or with masks (g++ 12).
#if defined(__AVX2__)
    __asm__("" : "+v"(wide));
#endif
    return wide;
  }

  // Vectors are copied from and to memory one by one: a copy of several would go through the stack.
  QLITE_INLINE static void load(const float* w, floats (&v)[vectors]) noexcept {
    for (std::size_t i = 0; i < vectors; ++i) std::memcpy(&v[i], w + i * lanes, sizeof v[i]);
  }
  template <class T>
  QLITE_INLINE static void load(const T* w, floats (&v)[vectors]) noexcept {
    if constexpr (is_split<T>) {
      for (std::size_t i = 0; i < vectors; i += 2) {
        ints pairs;
        std::memcpy(&pairs, w + i * lanes, sizeof pairs);
        v[i] = widen(pairs & 0xffff, w);
        v[i + 1] = widen((pairs >> 16) & 0xffff, w);
      }
    } else {
      for (std::size_t i = 0; i < vectors; ++i) v[i] = load_16_bits(w + i * lanes);
    }
  }

  /// Lanes 4 i ... 4 i + 3 of several vectors.
  template <std::size_t I, class V>
  QLITE_INLINE static ints4 quarter(const V* v) noexcept {
    if constexpr (sizeof(V) == 32)
      return I % 2 == 0 ? __builtin_shufflevector(v[I / 2], v[I / 2], 0, 1, 2, 3)
                        : __builtin_shufflevector(v[I / 2], v[I / 2], 4, 5, 6, 7);
    else
      return v[I];
  }
  /// The low 16 bits of each of 8 lanes.
  QLITE_INLINE static bytes16 low_halves(ints4 a, ints4 b) noexcept {
    return (bytes16)__builtin_shufflevector((shorts8)a, (shorts8)b, 0, 2, 4, 6, 8, 10, 12, 14);
  }
  /// The low 8 bits of each of 16 lanes.
  QLITE_INLINE static bytes16 low_bytes(bytes16 a, bytes16 b) noexcept {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  }
  /// A block of fields, a byte each, from weights that were loaded as type T.
  template <class T>
  QLITE_INLINE static bytes16 narrow(const ints (&v)[vectors]) noexcept {
    if constexpr (width == 64) {
      typedef std::uint8_t bytes __attribute__((vector_size(width / 4)));
      const bytes all = __builtin_convertvector(v[0], bytes);
      return bit_cast<bytes16>(all);
    } else if constexpr (is_split<T>) {
      ints pairs[(vectors + 1) / 2];
      for (std::size_t i = 0; i < vectors / 2; ++i) pairs[i] = (v[2 * i] & 255) | (v[2 * i + 1] << 8);
      return low_halves(quarter<0>(pairs), quarter<1>(pairs));
    } else {
      return low_bytes(low_halves(quarter<0>(v), quarter<1>(v)), low_halves(quarter<2>(v), quarter<3>(v)));
    }
  }
  template <class Scheme, class Round, class T>
  QLITE_INLINE static bytes16 encode_block(const encoder<Scheme, Round>& code, const T* w) noexcept {
    floats v[vectors];
    load(w, v);
    ints codes[vectors];
    for (std::size_t j = 0; j < vectors; ++j) codes[j] = code.fields(v[j]);
    return narrow<T>(codes);
  }

  /// The smallest lane. By reference: vectors wider than the target's may not be passed by value.
  template <class V>
  QLITE_INLINE static auto smallest(const V& v) noexcept {
    using number = std::decay_t<decltype(v[0])>;
    typedef number four __attribute__((vector_size(16)));
    typedef number eight __attribute__((vector_size(32)));
    if constexpr (sizeof v == 64) {
      const eight low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
      const eight high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
      return smallest(low < high ? low : high);
    } else if constexpr (sizeof v == 32) {
      const four low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
      const four high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
      return smallest(low < high ? low : high);
    } else {
      const four two = at_most(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
      return at_most(two, __builtin_shufflevector(two, two, 1, 0, 3, 2))[0];
    }
  }
  QLITE_INLINE static bool any(const ints& not_negative) noexcept {
    const ints negated = -not_negative;
    return smallest(negated) != 0;
  }

  /// The smallest and the largest weight in each lane, of n >= block weights. A lane of `high` is infinite where it saw
  /// a NaN or an infinity.
  template <class T>
  QLITE_INLINE static void lane_ranges(const T* w, std::size_t n, floats& lowest, floats& highest) noexcept {
    floats low[vectors], high[vectors];
    uints strange[vectors];    // a sign bit for every NaN and infinity
    load(w, low);
    for (std::size_t i = 0; i < vectors; ++i) {
      high[i] = low[i];
      strange[i] = (bit_cast<uints>(low[i]) & 0x7fffffffu) + 0x00800000u;
    }
    for (std::size_t at = block; at < n; at += block) {
      floats v[vectors];
      load(w + (at + block <= n ? at : n - block), v);    // the last block may overlap the one before
      for (std::size_t i = 0; i < vectors; ++i) {
        low[i] = at_most(v[i], low[i]);
        high[i] = at_least(v[i], high[i]);
        strange[i] |= (bit_cast<uints>(v[i]) & 0x7fffffffu) + 0x00800000u;
      }
    }
    for (std::size_t i = 1; i < vectors; ++i) {
      low[0] = at_most(low[i], low[0]);
      high[0] = at_least(high[i], high[0]);
      strange[0] |= strange[i];
    }
    lowest = low[0];
    highest = choose_floats(bit_cast<ints>(strange[0]) >> 31, splat<floats>(bits_float(float_infinity_bits)), high[0]);
  }

  template <class T>
  QLITE_INLINE static weight_range<> range(const T* w, std::size_t n) noexcept {
    if (n < block) return plain_kernels::range(w, n);
    floats low, high;
    lane_ranges(w, n, low, high);
    const floats below_high = -high;
    weight_range<> all;
    all.low = smallest(low);
    all.high = -smallest(below_high);
    return all;
  }

  /// Lane i of the result is pick of all lanes of v[i]. Two vectors of the input, whose lanes hold several candidates
  /// for each of `Done` results, make one with half as many for each, until one vector is left.
  template <std::size_t Done, class Pick>
  QLITE_INLINE static floats merge_two(const floats* v, const Pick& pick) noexcept {
    constexpr std::size_t half = lanes / Done / 2;
    return pick(halves_of<half, 0>(v[0], v[1], std::make_index_sequence<lanes>{}),
                halves_of<half, half>(v[0], v[1], std::make_index_sequence<lanes>{}));
  }
  template <std::size_t Done, class Pick>
  QLITE_INLINE static void merge_lanes(floats* v, const Pick& pick) noexcept {
    if constexpr (Done < lanes) {
      for (std::size_t i = 0; i < lanes / Done; i += 2) v[i / 2] = merge_two<Done>(v + i, pick);
      merge_lanes<2 * Done>(v, pick);
    }
  }
  template <std::size_t Half, std::size_t Begin, std::size_t... I>
  QLITE_INLINE static floats halves_of(const floats& a, const floats& b, std::index_sequence<I...>) noexcept {
    return __builtin_shufflevector(a, b, (I / Half * 2 * Half + I % Half + Begin)...);
  }

  /// The ranges of as many groups of n >= block weights, one after the other, as a vector has lanes; without
  /// `negative_first`.
  template <class T>
  QLITE_INLINE static weight_range<floats> ranges(const T* w, std::size_t n) noexcept {
    const auto lower = [](const floats& a, const floats& b) QLITE_LAMBDA { return at_most(a, b); };
    const auto higher = [](const floats& a, const floats& b) QLITE_LAMBDA { return at_least(a, b); };
    floats low[lanes / 2], high[lanes / 2];
    for (std::size_t i = 0; i < lanes; i += 2) {
      floats lows[2], highs[2];
      lane_ranges(w + i * n, n, lows[0], highs[0]);
      lane_ranges(w + (i + 1) * n, n, lows[1], highs[1]);
      low[i / 2] = merge_two<1>(lows, lower);
      high[i / 2] = merge_two<1>(highs, higher);
    }
    merge_lanes<2>(low, lower);
    merge_lanes<2>(high, higher);
    weight_range<floats> all;
    all.low = low[0];
    all.high = high[0];
    return all;
  }

  /// Has memory that is read later fetched now; beyond the end of the matrix it does no harm.
  template <class T>
  QLITE_INLINE static void fetch(const T* w, std::size_t ahead) noexcept {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(w) + ahead));
  }

  template <class Scheme, class Round, class T>
  QLITE_INLINE static void encode(const encoder<Scheme, Round>& code, const T* w, std::size_t n, std::uint8_t* fields,
                                  std::size_t ahead) noexcept {
    if (n < block) return plain_kernels::encode(code, w, n, fields, ahead);
    const encoder<Scheme, Round> local = code;    // bytes may alias anything, a local object aside
    for (std::size_t i = 0; i < n; i += block) {
      const std::size_t at = i + block <= n ? i : n - block;
      fetch(w + at, ahead);
      const bytes16 all = encode_block(local, w + at);
      std::memcpy(fields + at, &all, sizeof all);
    }
  }

  /// Fields of a block of bytes, and of half as many bytes with two each.
  QLITE_INLINE static bytes16 load_fields(const std::uint8_t* fields) noexcept {
    bytes16 all;
    std::memcpy(&all, fields, sizeof all);
    return all;
  }
  QLITE_INLINE static bytes16 load_nibbles(const std::uint8_t* bytes) noexcept {
    typedef std::uint64_t words2 __attribute__((vector_size(16)));
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    const words2 low{word & 0x0f0f0f0f0f0f0f0fu, 0}, high{(word >> 4) & 0x0f0f0f0f0f0f0f0fu, 0};
    return interleave_low((bytes16)low, (bytes16)high);
  }
  /// a0 b0 a1 b1 ... of the lower and of the upper halves.
  QLITE_INLINE static bytes16 interleave_low(bytes16 a, bytes16 b) noexcept {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  QLITE_INLINE static bytes16 interleave_high(bytes16 a, bytes16 b) noexcept {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  /// Bytes as integers, 0 ... 255.
  QLITE_INLINE static void widen(bytes16 all, ints (&v)[vectors]) noexcept {
    if constexpr (width == 64) {
      typedef std::uint8_t bytes __attribute__((vector_size(width / 4)));
      v[0] = __builtin_convertvector(bit_cast<bytes>(all), ints);
    } else {
      const bytes16 none{};
      const auto low = (shorts8)interleave_low(all, none), high = (shorts8)interleave_high(all, none);
      const shorts8 zeros{};
      const ints4 parts[4] = {(ints4)__builtin_shufflevector(low, zeros, 0, 8, 1, 9, 2, 10, 3, 11),
                              (ints4)__builtin_shufflevector(low, zeros, 4, 12, 5, 13, 6, 14, 7, 15),
                              (ints4)__builtin_shufflevector(high, zeros, 0, 8, 1, 9, 2, 10, 3, 11),
                              (ints4)__builtin_shufflevector(high, zeros, 4, 12, 5, 13, 6, 14, 7, 15)};
      for (std::size_t i = 0; i < vectors; ++i) {
        if constexpr (width == 32)
          v[i] = bit_cast<ints>(__builtin_shufflevector(parts[2 * i], parts[2 * i + 1], 0, 1, 2, 3, 4, 5, 6, 7));
        else
          v[i] = bit_cast<ints>(parts[i]);
      }
    }
  }

  QLITE_INLINE static void store(const floats (&v)[vectors], float* out) noexcept {
    for (std::size_t i = 0; i < vectors; ++i) std::memcpy(out + i * lanes, &v[i], sizeof v[i]);
  }
  template <class T>
  QLITE_INLINE static void store(const floats (&v)[vectors], T* out) noexcept {
    ints bits[vectors];
    for (std::size_t i = 0; i < vectors; ++i) bits[i] = std::is_same_v<T, float16> ? to_half(v[i]) : to_bfloat(v[i]);
    if constexpr (width == 64) {
      typedef std::uint16_t halves __attribute__((vector_size(width / 2)));
      const halves all = __builtin_convertvector(bits[0], halves);
      std::memcpy(static_cast<void*>(out), &all, sizeof all);
    } else {
      const bytes16 all[2] = {low_halves(quarter<0>(bits), quarter<1>(bits)),
                              low_halves(quarter<2>(bits), quarter<3>(bits))};
      std::memcpy(static_cast<void*>(out), &all[0], sizeof all[0]);
      std::memcpy(static_cast<void*>(out + 8), &all[1], sizeof all[1]);
    }
  }

  /// The fields of half as many bytes as integers.
  QLITE_INLINE static void widen_nibbles(const std::uint8_t* bytes, ints (&v)[vectors]) noexcept {
    if constexpr (width == 64) {    // a byte in each 64-bit lane, then its upper half into the upper half of the lane
      typedef std::uint8_t narrow __attribute__((vector_size(width / 8)));
      typedef std::uint64_t wide __attribute__((vector_size(width)));
      narrow pairs;
      std::memcpy(&pairs, bytes, sizeof pairs);
      const wide spread = __builtin_convertvector(pairs, wide);
      v[0] = bit_cast<ints>((spread | (spread << 28)) & 0x0000000f0000000fu);
    } else {
      widen(load_nibbles(bytes), v);
    }
  }

  /// Stores the numbers of a block whose fields, less `zero`, are the multiples of the scale.
  template <class Scheme, class T>
  QLITE_INLINE static void decode_block(const decoder<Scheme>& code, const ints (&fields)[vectors], std::int32_t zero,
                                        T* out) noexcept {
    floats numbers[vectors];
    for (std::size_t i = 0; i < vectors; ++i) {
      numbers[i] = to_floats<floats>(fields[i] - zero) * code.scale;
      if constexpr (scheme_traits<Scheme>::has_offset) numbers[i] += code.offset;
    }
    store(numbers, out);
  }
  /// Numbers that vectors of the compiler cannot make: from a code book, and with an offset, which is added by an fma;
  /// but a float16 times a code is exact, and then a sum is the same.
  template <class Scheme>
  static constexpr bool decodes_plainly = scheme_traits<Scheme>::has_codebook ||
                                          (scheme_traits<Scheme>::has_offset &&
                                           !std::is_same_v<typename scheme_traits<Scheme>::scale, float16>);

  template <class Scheme, class T>
  QLITE_INLINE static void decode(const decoder<Scheme>& code, const std::uint8_t* fields, std::size_t n,
                                  T* out) noexcept {
    if (decodes_plainly<Scheme> || n < block) return plain_kernels::decode(code, fields, n, out);
    const decoder<Scheme> local = code;
    for (std::size_t i = 0; i < n; i += block) {
      const std::size_t at = i + block <= n ? i : n - block;
      ints codes[vectors];
      if constexpr (scheme_traits<Scheme>::bits == 8) {
        widen(load_fields(fields + at) ^ 128, codes);    // code + 128
        decode_block(local, codes, local.zero + 128, out + at);
      } else {
        widen(load_fields(fields + at), codes);
        decode_block(local, codes, local.zero, out + at);
      }
    }
  }

  template <class Scheme, class T>
  QLITE_INLINE static void decode_nibbles(const decoder<Scheme>& code, const std::uint8_t* bytes, std::size_t n,
                                          T* out) noexcept {
    if (decodes_plainly<Scheme>) return plain_kernels::decode_nibbles(code, bytes, n, out);
    const decoder<Scheme> local = code;
    for (std::size_t i = 0; i < n; i += block) {
      ints codes[vectors];
      widen_nibbles(bytes + i / 2, codes);
      decode_block(local, codes, local.zero, out + i);
    }
  }

  /// The errors of as many weights as a vector has doubles, a float in each lane.
  template <class Scheme, class Round>
  QLITE_INLINE static half_floats errors_of(const encoder<Scheme, Round>& code, const doubles& scale,
                                            const float* w) noexcept {
    half_floats x;
    std::memcpy(&x, w, sizeof x);
    const half_floats steps = code.units(x);
    doubles exact = __builtin_convertvector(x, doubles);
    if constexpr (scheme_traits<Scheme>::has_offset) exact -= static_cast<double>(code.offset);
    return __builtin_convertvector(exact - scale * __builtin_convertvector(steps, doubles), half_floats);
  }

  /// The blocks among n weights: term(i) is what the weights from i on add, as many as a vector has doubles. Returns
  /// where they end.
  template <class Term>
  QLITE_INLINE static std::size_t add_blocks(std::size_t n, double (&sums)[error_lanes], Term&& term) noexcept {
    static_assert(error_lanes == block, "a block adds to each sum once");
    constexpr std::size_t count = width / sizeof(double);
    doubles acc[block / count];
    for (std::size_t i = 0; i < block / count; ++i) std::memcpy(&acc[i], sums + i * count, sizeof acc[i]);
    std::size_t at = 0;
    for (; at + block <= n; at += block)
      for (std::size_t i = 0; i < block / count; ++i) acc[i] += term(at + i * count);
    for (std::size_t i = 0; i < block / count; ++i) std::memcpy(sums + i * count, &acc[i], sizeof acc[i]);
    return at;
  }

  template <class Scheme, class Round>
  QLITE_INLINE static void add_squared_errors(const encoder<Scheme, Round>& code, const float* w, std::size_t n,
                                              double (&sums)[error_lanes]) noexcept {
    const doubles scale = static_cast<double>(code.scale) - doubles{};
    const std::size_t at = add_blocks(n, sums, [&](std::size_t i) QLITE_LAMBDA {
      const doubles wide = __builtin_convertvector(errors_of(code, scale, w + i), doubles);
      return doubles(wide * wide);
    });
    plain_kernels::add_squared_errors(code, w + at, n - at, sums);
  }

  template <class Scheme, class Round>
  QLITE_INLINE static void add_weighted_errors(const encoder<Scheme, Round>& code, const float* w,
                                               const float* importance, std::size_t n,
                                               double (&sums)[error_lanes]) noexcept {
    const doubles scale = static_cast<double>(code.scale) - doubles{};
    const std::size_t at = add_blocks(n, sums, [&](std::size_t i) QLITE_LAMBDA {
      const half_floats errors = errors_of(code, scale, w + i), squares = errors * errors;
      half_floats factors;
      std::memcpy(&factors, importance + i, sizeof factors);
      return doubles(__builtin_convertvector(squares, doubles) * __builtin_convertvector(factors, doubles));
    });
    plain_kernels::add_weighted_errors(code, w + at, importance + at, n - at, sums);
  }

  /// The fields of a number of weights that is a multiple of `block`, two a byte.
  template <class Scheme, class Round, class T>
  QLITE_INLINE static void encode_nibbles(const encoder<Scheme, Round>& code, const T* w, std::size_t n,
                                          std::uint8_t* bytes, std::size_t ahead) noexcept {
    const encoder<Scheme, Round> local = code;
    for (std::size_t i = 0; i < n; i += block) {
      fetch(w + i, ahead);
      const shorts8 pairs = (shorts8)encode_block(local, w + i);
      const bytes16 joined = (bytes16)((pairs | (pairs >> 4)) & 255);
      const bytes16 all = low_bytes(joined, joined);
      std::memcpy(bytes + i / 2, &all, block / 2);
    }
  }
};

using kernels = vector_kernels;

}    // namespace impl
QLITE_END_FUNCTIONS
#endif
