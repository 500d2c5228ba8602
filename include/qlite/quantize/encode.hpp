// From weights to codes with the parameters of their group, and from codes to the fields of the canonical form.
#pragma once

#include <qlite/core/codebook.hpp>
#include <qlite/quantize/parameters.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// The stored field of one weight: code = round((w - offset) / scale) + zero point, clamped to the codes' range.
///
/// The clamp comes first, in floating point: its limits are integers, so the result is the same, and the rounding never
/// sees a large number. The zero point is added after rounding, as GPTQ does: ties then do not depend on it.
template <class Scheme, class Round>
struct encoder {
  using traits = scheme_traits<Scheme>;
  float scale, offset;
  std::int32_t zero;

  QLITE_INLINE explicit encoder(const group_parameters<Scheme>& p) noexcept
      : scale(p.scale), offset(p.offset), zero(traits::has_zero_point ? p.zero : 0) {}

  /// code - zero point of a weight, or of a vector of them.
  template <class F>
  QLITE_INLINE ints_of<F> steps(F w) const noexcept {
    F x = w / scale;
    if constexpr (traits::has_offset) x = (w - offset) / scale;
    const std::int32_t shift = traits::has_zero_point ? zero : 0, low = traits::code_min - shift;
    const auto lowest = static_cast<float>(low), highest = static_cast<float>(traits::code_max - shift);
    x = at_most(at_least(x, splat<F>(lowest)), splat<F>(highest));
    return Round::round(x, low);
  }
  /// The stored fields.
  template <class F>
  QLITE_INLINE ints_of<F> fields(F w) const noexcept {
    if constexpr (traits::has_codebook) {    // as many as there are limits below
      const F x = w / scale;
      ints_of<F> field{};
      repeat<15>([&](auto i) QLITE_LAMBDA {
        field = field - where_greater(x, splat<F>(book_limit<typename traits::code>(i)));
      });
      return field;
    } else {
      return steps(w) + ((traits::has_zero_point ? zero : 0) + traits::stored_bias);
    }
  }
  /// What the scale is multiplied with.
  template <class F>
  QLITE_INLINE F units(F w) const noexcept {
    if constexpr (traits::has_codebook) {
      const F x = w / scale;
      F unit = splat<F>(book_value<typename traits::code>(0));
      repeat<15>([&](auto i) QLITE_LAMBDA {
        unit = choose_floats(where_greater(x, splat<F>(book_limit<typename traits::code>(i))),
                             splat<F>(book_value<typename traits::code>(i + 1)), unit);
      });
      return unit;
    } else {
      return to_floats<F>(steps(w));
    }
  }
};

/// The number that a stored field stands for: what `dequantize` gives, before it is rounded to the output's type.
template <class Scheme>
struct decoder {
  using traits = scheme_traits<Scheme>;
  float scale, offset;
  std::int32_t zero;    ///< of the fields

  QLITE_INLINE float number(std::uint8_t field) const noexcept {
    const std::int32_t code = traits::bits == 4 ? field : static_cast<std::int8_t>(field);
    if constexpr (traits::has_offset)
      return fma(scale, static_cast<float>(code), offset);
    else if constexpr (traits::has_codebook)
      return book_value<typename traits::code>(field & 15u) * scale;
    else
      return static_cast<float>(code - zero) * scale;
  }
};

/// Sums that errors are added up in, so that vectors of every width do it in the same order.
inline constexpr std::size_t error_lanes = 16;

/// The loops over weights in plain C++, one weight at a time: what every faster version must agree with.
struct plain_kernels {
  /// Groups whose size is a multiple of this may be written and read as nibbles.
  static constexpr std::size_t block = 2;

  /// Groups whose parameters are computed at once, one in each lane.
  using floats = float;
  QLITE_INLINE static bool any(std::int32_t x) noexcept { return x != 0; }

  /// The range of n weights, at least one.
  template <class T>
  QLITE_INLINE static weight_range<> range(const T* w, std::size_t n) noexcept {
    weight_range<> all;
    all.low = all.high = element<T>::load(w[0]);
    bool finite = true;
    for (std::size_t i = 0; i < n; ++i) {
      const float x = element<T>::load(w[i]);
      all.low = at_most(x, all.low);
      all.high = at_least(x, all.high);
      finite = finite && is_finite(x);
    }
    if (!finite) all.high = bits_float(float_infinity_bits);
    return all;
  }

  /// The numbers that n fields stand for.
  template <class Scheme, class T>
  QLITE_INLINE static void decode(const decoder<Scheme>& code, const std::uint8_t* fields, std::size_t n,
                                  T* out) noexcept {
    for (std::size_t i = 0; i < n; ++i) out[i] = element<T>::store(code.number(fields[i]));
  }

  /// The same for a number of fields that is a multiple of `block`, two a byte.
  template <class Scheme, class T>
  QLITE_INLINE static void decode_nibbles(const decoder<Scheme>& code, const std::uint8_t* bytes, std::size_t n,
                                          T* out) noexcept {
    for (std::size_t i = 0; i < n; ++i)
      out[i] = element<T>::store(code.number(static_cast<std::uint8_t>((bytes[i / 2] >> (4 * (i % 2))) & 15)));
  }

  /// Adds the squared errors of n weights to 16 sums, that of weight i to sum i % 16.
  ///
  /// The product scale * steps is exact in double and so is the square of a float: it makes no difference whether a
  /// compiler fuses them with the additions, and every target gets the same bits.
  template <class Scheme, class Round>
  QLITE_INLINE static void add_squared_errors(const encoder<Scheme, Round>& code, const float* w, std::size_t n,
                                              double (&sums)[error_lanes]) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(code.scale) * static_cast<double>(code.units(w[i]));
      const double exact = scheme_traits<Scheme>::has_offset
                               ? static_cast<double>(w[i]) - static_cast<double>(code.offset)
                               : static_cast<double>(w[i]);
      const double error = static_cast<double>(static_cast<float>(exact - value));
      sums[i % error_lanes] += error * error;
    }
  }

  /// The same, each square times an importance: a rounded float and a float, whose product is exact in double again.
  template <class Scheme, class Round>
  QLITE_INLINE static void add_weighted_errors(const encoder<Scheme, Round>& code, const float* w,
                                               const float* importance, std::size_t n,
                                               double (&sums)[error_lanes]) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(code.scale) * static_cast<double>(code.units(w[i]));
      const double exact = scheme_traits<Scheme>::has_offset
                               ? static_cast<double>(w[i]) - static_cast<double>(code.offset)
                               : static_cast<double>(w[i]);
      const auto error = static_cast<float>(exact - value);
      const float square = error * error;
      sums[i % error_lanes] += static_cast<double>(square) * static_cast<double>(importance[i]);
    }
  }

  /// The fields of n weights, a byte each. `ahead`: how many bytes further on the weights lie that come next.
  template <class Scheme, class Round, class T>
  QLITE_INLINE static void encode(const encoder<Scheme, Round>& code, const T* w, std::size_t n, std::uint8_t* fields,
                                  std::size_t ahead) noexcept {
    static_cast<void>(ahead);
    for (std::size_t i = 0; i < n; ++i) fields[i] = static_cast<std::uint8_t>(code.fields(element<T>::load(w[i])));
  }

  /// The fields of a number of weights that is a multiple of `block`, two a byte.
  template <class Scheme, class Round, class T>
  QLITE_INLINE static void encode_nibbles(const encoder<Scheme, Round>& code, const T* w, std::size_t n,
                                          std::uint8_t* bytes, std::size_t ahead) noexcept {
    static_cast<void>(ahead);
    for (std::size_t i = 0; i < n; i += 2)
      bytes[i / 2] = static_cast<std::uint8_t>(code.fields(element<T>::load(w[i])) |
                                               (code.fields(element<T>::load(w[i + 1])) << 4));
  }
};

}    // namespace impl
QLITE_END_FUNCTIONS
