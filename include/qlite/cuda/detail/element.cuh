// CUDA's own 16-bit types beside the library's: the same bits under two names. With this header __half and
// __nv_bfloat16 may stand wherever qlite takes float16 and bfloat16, on the host too.
#pragma once

#include <qlite/core/half.hpp>
#include <qlite/cuda/detail/config.cuh>

#include <type_traits>

QLITE_BEGIN_NAMESPACE
namespace detail {

template <>
struct element<__half> {
  static constexpr const char* name = "float16";
  QLITE_INLINE static float load(__half x) noexcept { return float16::from_bits(__half_as_ushort(x)).to_float(); }
  QLITE_INLINE static __half store(float x) noexcept { return __ushort_as_half(float16::from_float(x).bits()); }
};
template <>
struct element<__nv_bfloat16> {
  static constexpr const char* name = "bfloat16";
  QLITE_INLINE static float load(__nv_bfloat16 x) noexcept {
    return bfloat16::from_bits(__bfloat16_as_ushort(x)).to_float();
  }
  QLITE_INLINE static __nv_bfloat16 store(float x) noexcept {
    return __ushort_as_bfloat16(bfloat16::from_float(x).bits());
  }
};
template <>
inline constexpr bool is_element<__half> = true;
template <>
inline constexpr bool is_element<__nv_bfloat16> = true;

/// What device code calls an element type.
template <class T>
struct device_element {
  using type = T;
};
template <>
struct device_element<float16> {
  using type = __half;
};
template <>
struct device_element<bfloat16> {
  using type = __nv_bfloat16;
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

template <class T>
using device_type = typename device_element<std::remove_const_t<T>>::type;

QLITE_DEVICE float to_float(float x) { return x; }
QLITE_DEVICE float to_float(__half x) { return __half2float(x); }
QLITE_DEVICE float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

/// Rounds to nearest, ties to even.
template <class T>
QLITE_DEVICE T from_float(float x);
template <>
QLITE_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
QLITE_DEVICE __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
QLITE_DEVICE __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
