// The run-time twin of a scheme, for engines that read it from a config, and the bridge from one to the other.
#pragma once

#include <qlite/core/backend.hpp>
#include <qlite/core/error.hpp>
#include <qlite/core/scheme.hpp>

QLITE_BEGIN_NAMESPACE

/// What shares a scale.
enum class granularity_kind : std::uint8_t { per_tensor, per_channel, per_group };
/// The type of a stored real number; `none` where a scheme stores none.
enum class real_kind : std::uint8_t { none, float16, float32 };
/// The code book that 4-bit codes choose from; `none` where they are numbers themselves.
enum class codebook_kind : std::uint8_t { none, nf4, nl4 };

/// A scheme as data. The defaults and `bits`, `group_size`, `symmetric` are what model configs write.
struct scheme_info {
  int bits = 8;                  ///< bits of a code: 8 or 4
  std::size_t group_size = 0;    ///< weights per scale; per_group only
  bool symmetric = true;         ///< false: zero points, or offsets if `offset` says so
  granularity_kind granularity = granularity_kind::per_group;
  real_kind scale = real_kind::float16;
  real_kind offset = real_kind::none;              ///< not none: w = scale * code + offset
  codebook_kind codebook = codebook_kind::none;    ///< not none: w = scale * code_book[code]

  // Named so that it is inlined: clang emits an implicit constructor at -O0, and objects would share it.
  QLITE_INLINE constexpr scheme_info() noexcept = default;

  QLITE_INLINE friend constexpr bool operator==(const scheme_info& a, const scheme_info& b) noexcept {
    return a.bits == b.bits && a.symmetric == b.symmetric && a.granularity == b.granularity && a.scale == b.scale &&
           a.offset == b.offset && a.codebook == b.codebook &&
           (a.granularity != granularity_kind::per_group || a.group_size == b.group_size);
  }
  QLITE_INLINE friend constexpr bool operator!=(const scheme_info& a, const scheme_info& b) noexcept {
    return !(a == b);
  }
};

/// The schemes that one build can name at run time; see visit_scheme.
template <class... Schemes>
struct scheme_list {};

namespace detail {

template <class T>
inline constexpr real_kind kind_of_real = real_kind::none;
template <>
inline constexpr real_kind kind_of_real<float> = real_kind::float32;
template <>
inline constexpr real_kind kind_of_real<float16> = real_kind::float16;

template <class A, class B>
struct join_lists;
template <class... As, class... Bs>
struct join_lists<scheme_list<As...>, scheme_list<Bs...>> {
  using type = scheme_list<As..., Bs...>;
};

template <class Code, class Zero>
using default_granularities =
    scheme_list<scheme<Code, per_channel, Zero>, scheme<Code, per_group<32>, Zero>, scheme<Code, per_group<64>, Zero>,
                scheme<Code, per_group<128>, Zero>, scheme<Code, per_group<dynamic_extent>, Zero>>;

}    // namespace detail

/// INT8 and INT4, symmetric and asymmetric, per channel and in groups of any size, with float16 scales. The run-time
/// group size comes after the sizes that have a type of their own, and takes all others.
using default_schemes = typename detail::join_lists<
    typename detail::join_lists<detail::default_granularities<int8, symmetric>,
                                detail::default_granularities<int4, symmetric>>::type,
    typename detail::join_lists<detail::default_granularities<int8, asymmetric>,
                                detail::default_granularities<int4, asymmetric>>::type>::type;

/// The run-time description of a scheme.
template <class Scheme>
QLITE_INLINE constexpr scheme_info info_of(Scheme s = {}) noexcept {
  using traits = detail::scheme_traits<Scheme>;
  scheme_info info;
  info.bits = traits::bits;
  info.symmetric = traits::is_symmetric;
  info.codebook = !traits::has_codebook ? codebook_kind::none
                  : traits::is_integer  ? codebook_kind::nl4
                                        : codebook_kind::nf4;
  info.granularity = traits::one_scale ? granularity_kind::per_tensor
                     : traits::grouped ? granularity_kind::per_group
                                       : granularity_kind::per_channel;
  info.group_size = traits::grouped ? traits::group_size(s, 0) : 0;
  info.scale = detail::kind_of_real<typename traits::scale>;
  info.offset = detail::kind_of_real<typename traits::offset_type>;
  return info;
}

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

[[noreturn]] QLITE_COLD inline void fail_scheme(const scheme_info& info) {
  if (info.bits != 4 && info.bits != 8) fail("qlite: scheme_info.bits is %d, expected 4 or 8", info.bits);
  if (info.granularity == granularity_kind::per_group && info.group_size == 0)
    fail("qlite: scheme_info.group_size is 0, expected at least 1 (or granularity per_channel or per_tensor)");
  if (info.symmetric && info.offset != real_kind::none)
    fail("qlite: scheme_info.symmetric is true and .offset is set, expected one of them");
  if (info.scale == real_kind::none) fail("qlite: scheme_info.scale is none, expected float16 or float32");
  fail(
      "qlite: no scheme of the list has bits %d, group_size %zu, symmetric %d, granularity %d, scale %d, offset %d, "
      "codebook "
      "%d; "
      "name it in visit_scheme<scheme_list<...>>",
      info.bits, info.group_size, static_cast<int>(info.symmetric), static_cast<int>(info.granularity),
      static_cast<int>(info.scale), static_cast<int>(info.offset), static_cast<int>(info.codebook));
}

template <class Scheme, class F>
QLITE_INLINE bool visit_if(const scheme_info& info, F& f) {
  using traits = scheme_traits<Scheme>;
  Scheme s{};
  if constexpr (traits::dynamic_group) s.granularity.size = info.group_size;
  if (info_of(s) != info) return false;
  f(s);
  return true;
}

template <class... Schemes, class F>
inline void visit_list(scheme_list<Schemes...>, const scheme_info& info, F& f) {
  const bool sane = !(info.granularity == granularity_kind::per_group && info.group_size == 0);
  if (!(sane && (visit_if<Schemes>(info, f) || ...))) fail_scheme(info);
}

}    // namespace impl

/// Calls `f(scheme)` with the first scheme of `List` that `info` describes; the value carries the run-time group size
/// where its type has none. `f` is instantiated once per scheme of the list, so a list of one's own keeps builds small.
/// Error: no scheme of the list fits; the message names the field that is out of range.
template <class List = default_schemes, class F>
inline void visit_scheme(const scheme_info& info, F&& f) {
  impl::visit_list(List{}, info, f);
}

QLITE_END_FUNCTIONS
