// Quantizing as a step of door 2: the same codes and scales, made with the instructions of a backend and the caller's
// threads. The work is memory traffic, so one set of kernels, as wide as the flags allow, serves every backend;
// cpu::scalar takes the plain loops.
#pragma once

#include <qlite/cpu/kernels.hpp>
#include <qlite/quantize/quantize.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

template <class Backend, class List>
inline constexpr bool is_in_list = false;
template <class Backend, class... Bs>
inline constexpr bool is_in_list<Backend, type_list<Bs...>> = (std::is_same_v<Backend, Bs> || ...);

template <class Backend>
inline constexpr bool is_cpu_backend = is_in_list<Backend, cpu_backends>;

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class Backend>
struct quantize_kernels_of {
  static_assert(sizeof(isa<Backend>) != 0, "names the flag where this translation unit lacks the instructions");
  using type = kernels;
};
template <>
struct quantize_kernels_of<cpu::scalar> {
  using type = plain_kernels;
};

}    // namespace impl

/// quantize<Scheme>(W, method, executor) with the instructions of `Backend`: the same bits, by default on the calling
/// thread.
template <class Scheme, class Backend, class T, class Method, class Executor = serial,
          std::enable_if_t<detail::is_cpu_backend<Backend>, int> = 0>
[[nodiscard]] auto quantize(matrix_view<T> W, const Method& method, const Executor& executor = {}) {
  using kernels = typename impl::quantize_kernels_of<Backend>::type;
  return impl::quantize_any<kernels>(Scheme{}, matrix_view<const T>(W), method, executor);
}

/// The same for a scheme that carries its group size as a value.
template <class Backend, class Scheme, class T, class Method, class Executor = serial,
          std::enable_if_t<detail::is_cpu_backend<Backend>, int> = 0>
[[nodiscard]] auto quantize(Scheme scheme, matrix_view<T> W, const Method& method, const Executor& executor = {}) {
  using kernels = typename impl::quantize_kernels_of<Backend>::type;
  return impl::quantize_any<kernels>(scheme, matrix_view<const T>(W), method, executor);
}

QLITE_END_FUNCTIONS
