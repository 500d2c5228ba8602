// A scheme says how stored numbers are read back:
//     w = scale * (code - zero point)      symmetric (zero point 0) and asymmetric
//     w = scale * code + offset            offset<T>
//     w = scale * code_book[code]          nf4, nl4
// It does not say how the codes were chosen (a method does) nor how they are laid out (a backend does).
#pragma once

#include <qlite/core/half.hpp>

#include <type_traits>

QLITE_BEGIN_NAMESPACE

/// 8-bit integer codes, -128 ... 127, one byte each.
struct int8 {
  static constexpr const char* name = "int8";
  static constexpr int bits = 8;
};

/// 4-bit integer codes, two a byte, low nibble first. Symmetric codes are -8 ... 7, stored as code + 8; asymmetric and
/// offset codes are 0 ... 15.
struct int4 {
  static constexpr const char* name = "int4";
  static constexpr int bits = 4;
};

/// 4-bit codes, stored as int4's, that stand for the 16 numbers of NormalFloat (core/codebook.hpp), from -1 to 1. The
/// scale is the largest magnitude of its group. Symmetric schemes only; QLoRA's is
/// `scheme<nf4, per_group<64>, symmetric, float>`.
struct nf4 {
  static constexpr const char* name = "nf4";
  static constexpr int bits = 4;
};

/// 4-bit codes, stored as int4's, that stand for 16 whole numbers from -127 to 113 (core/codebook.hpp), which lie
/// closer together where weights are many. As they are whole, INT8 activations multiply them as integers, at the speed
/// of int4 and with a lower error. None of them is 0: a weight of 0 is read back as one scale. Symmetric schemes only;
/// ggml's IQ4_NL is `scheme<nl4, per_group<32>>`.
struct nl4 {
  static constexpr const char* name = "nl4";
  static constexpr int bits = 4;
};

/// A group size that is known only at run time.
inline constexpr std::size_t dynamic_extent = ~std::size_t{0};

/// One scale for the whole matrix.
struct per_tensor {};
/// One scale per row of W (output channel).
struct per_channel {};
/// One scale per row of X.
struct per_token {};

/// One scale per `Size` consecutive weights of a row (along K); the last group of a row may be shorter.
template <std::size_t Size>
struct per_group {
  static_assert(Size != 0, "qlite: per_group<0>: a group needs at least one weight");
};

/// The same with a size given at run time: `scheme<int4, per_group<dynamic_extent>>{{48}}`.
template <>
struct per_group<dynamic_extent> {
  std::size_t size = 0;
};

/// Zero point 0.
struct symmetric {};
/// An integer zero point per scale, in the range of the codes and stored in their width.
struct asymmetric {};
/// A real offset per scale instead of a zero point: w = scale * code + offset. T is float or float16.
template <class T = float16>
struct offset {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, float16>, "qlite: offset<T> takes float or float16");
};

/// How the numbers of a quantized matrix are read back. A value of this type carries only a run-time group size.
template <class Code, class Granularity, class Zero = symmetric, class Scale = float16>
struct scheme {
  using code_type = Code;
  using granularity_type = Granularity;
  using zero_type = Zero;
  using scale_type = Scale;
  static_assert(std::is_same_v<Scale, float> || std::is_same_v<Scale, float16>,
                "qlite: the scales of a scheme are float or float16");

  Granularity granularity{};
};

namespace detail {

template <class T>
inline constexpr bool is_scheme = false;
template <class C, class G, class Z, class S>
inline constexpr bool is_scheme<scheme<C, G, Z, S>> = true;

template <class G>
inline constexpr std::size_t static_group_size = 0;    // 0: a whole row
template <std::size_t N>
inline constexpr std::size_t static_group_size<per_group<N>> = N;

template <class G>
inline constexpr bool is_group = false;
template <std::size_t N>
inline constexpr bool is_group<per_group<N>> = true;

template <class Z>
struct offset_of {
  using type = void;
};
template <class T>
struct offset_of<offset<T>> {
  using type = T;
};

/// What the rest of the library asks about a scheme, in one place.
template <class Scheme>
struct scheme_traits {
  static_assert(is_scheme<Scheme>, "qlite: expected a qlite::scheme<Code, Granularity, Zero, Scale>");
  using code = typename Scheme::code_type;
  using granularity = typename Scheme::granularity_type;
  using zero = typename Scheme::zero_type;
  using scale = typename Scheme::scale_type;
  using offset_type = typename offset_of<zero>::type;

  static_assert(!std::is_same_v<granularity, per_token>,
                "qlite: per_token is a granularity of activations; weights take per_tensor, per_channel or per_group");

  static constexpr int bits = code::bits;
  static constexpr bool is_symmetric = std::is_same_v<zero, symmetric>;
  static constexpr bool has_zero_point = std::is_same_v<zero, asymmetric>;
  static constexpr bool has_offset = !std::is_void_v<offset_type>;
  static constexpr bool has_codebook = std::is_same_v<code, nf4> || std::is_same_v<code, nl4>;
  static_assert(!has_codebook || is_symmetric,
                "qlite: nf4 and nl4 have no zero points and no offsets: their numbers are fixed");
  /// Whether codes stand for whole numbers, which integer products need.
  static constexpr bool is_integer = !std::is_same_v<code, nf4>;
  static constexpr bool grouped = is_group<granularity>;
  static constexpr bool one_scale = std::is_same_v<granularity, per_tensor>;
  static constexpr bool dynamic_group = std::is_same_v<granularity, per_group<dynamic_extent>>;

  /// Range of the codes: symmetric int4 -8 ... 7, asymmetric and offset int4, nf4 and nl4 0 ... 15, int8
  /// always -128 ... 127.
  static constexpr bool is_unsigned = bits == 4 && (!is_symmetric || has_codebook);
  static constexpr int code_min = is_unsigned ? 0 : -(1 << (bits - 1));
  static constexpr int code_max = is_unsigned ? (1 << bits) - 1 : (1 << (bits - 1)) - 1;
  /// Added to a code before it is stored in its field.
  static constexpr int stored_bias = bits == 4 && !is_unsigned ? 8 : 0;
  /// The largest number that codes of a symmetric scheme stand for, in units of the scale.
  static constexpr int largest_step = !has_codebook ? code_max : is_integer ? 113 : 1;
  /// The smallest, without its sign; larger than the largest but for nf4.
  static constexpr int smallest_step = !has_codebook ? -code_min : is_integer ? 127 : 1;

  /// Weights that share a scale along K, for rows of `cols` weights (at least 1, so that it can divide).
  QLITE_INLINE static constexpr std::size_t group_size(Scheme s, std::size_t cols) noexcept {
    if constexpr (dynamic_group)
      return s.granularity.size;
    else if constexpr (grouped)
      return (static_cast<void>(s), static_group_size<granularity>);
    else
      return (static_cast<void>(s), cols == 0 ? 1 : cols);
  }
};

/// A string built at compile time.
struct fixed_string {
  char text[96] = {};
  std::size_t size = 0;

  constexpr fixed_string& add(const char* s) {
    while (*s != '\0') text[size++] = *s++;
    return *this;
  }
  constexpr fixed_string& add(std::size_t value) {
    char digits[20] = {};
    std::size_t n = 0;
    do digits[n++] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    while (n > 0) text[size++] = digits[--n];
    return *this;
  }
};

template <class G>
constexpr void add_granularity(fixed_string& s, G*) {
  if (std::is_same_v<G, per_tensor>) s.add("per_tensor");
  if (std::is_same_v<G, per_channel>) s.add("per_channel");
  if (std::is_same_v<G, per_token>) s.add("per_token");
  if (std::is_same_v<G, per_group<dynamic_extent>>)
    s.add("per_group");
  else if (is_group<G>)
    s.add("per_group<").add(static_group_size<G>).add(">");
}

template <class C, class G, class Z, class S>
constexpr fixed_string make_name(scheme<C, G, Z, S>*) {
  fixed_string s;
  s.add(C::name).add(" ");
  add_granularity(s, static_cast<G*>(nullptr));
  if (std::is_same_v<Z, asymmetric>) s.add(" asymmetric");
  if (std::is_same_v<Z, offset<float16>>) s.add(" offset<float16>");
  if (std::is_same_v<Z, offset<float>>) s.add(" offset<float>");
  if (std::is_same_v<S, float>) s.add(" float");
  return s;
}

template <class T, class = void>
struct name_of {
  static constexpr const char* value = T::name;    // code types and backend tags carry theirs
};
template <class T>
struct name_of<T, std::enable_if_t<is_scheme<T>>> {
  static constexpr fixed_string string = make_name(static_cast<T*>(nullptr));
  static constexpr const char* value = string.text;
};

}    // namespace detail

/// The name of a scheme, a code type or a backend, for messages and tables: "int4 per_group<128>", "avx2".
template <class T>
QLITE_INLINE constexpr const char* name() noexcept {
  return detail::name_of<T>::value;
}

QLITE_END_NAMESPACE
