// Y = epilogue(X * W^T) on a GPU. docs/cuda.md shows the way through it.
#pragma once

#include <qlite/cuda/activations.cuh>
#include <qlite/cuda/detail/dispatch.cuh>
#include <qlite/cuda/pack.cuh>
#include <qlite/gemm/epilogue.hpp>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

template <class Scheme>
QLITE_INLINE weights weights_of(const packed_view<Scheme>& view, const tile_layout& t) noexcept {
  using traits = scheme_traits<Scheme>;
  weights w{};
  w.codes = view.data();
  w.scales = view.data() + t.scales_at;
  w.zeros = traits::has_zero_point ? reinterpret_cast<const std::uint8_t*>(view.data() + t.zeros_at) : nullptr;
  w.offsets = traits::has_offset ? view.data() + t.offsets_at : nullptr;
  w.rows = static_cast<std::uint32_t>(t.rows);
  w.cols = static_cast<std::uint32_t>(t.cols);
  w.row_tiles = static_cast<std::uint32_t>(t.row_tiles);
  w.col_tiles = static_cast<std::uint32_t>(t.col_tiles);
  w.groups = static_cast<std::uint32_t>(t.groups);
  w.group = static_cast<std::uint32_t>(t.group);
  const std::uint64_t runs = w.group / 8;
  w.magic = t.groups <= 1 ? 1
            : runs == 1   ? 0
                          : static_cast<std::uint32_t>(((std::uint64_t{1} << 32) + runs - 1) / runs);
  w.bias = traits::stored_bias;
  w.wide_scales = std::is_same_v<typename traits::scale, float>;
  w.wide_offsets = std::is_same_v<typename traits::offset_type, float>;
  return w;
}

/// How a form of X reaches the kernels. For each: the arithmetic, the door, the scratch, and the inputs.
template <class X>
struct input_form;

template <class T>
struct input_form<matrix_view<T>> {
  using value = device_type<T>;
  static_assert(std::is_same_v<value, __half> || std::is_same_v<value, __nv_bfloat16>,
                "qlite: on CUDA weight-only products take X of float16 or bfloat16");
  using math = float_math<value>;
  using view = matrix_view<T>;

  QLITE_INLINE static std::size_t rows(const view& x) noexcept { return x.rows(); }
  QLITE_INLINE static std::size_t cols(const view& x) noexcept { return x.cols(); }
  QLITE_INLINE static bool valid(const view& x, const tile_layout&) noexcept { return is_matrix(x); }
  /// Rows that runs of 16 bytes can be read from.
  QLITE_INLINE static bool readable(const view& x) noexcept {
    return is_aligned(x.data(), 16) && (x.rows() <= 1 || x.row_stride() % 8 == 0) && x.cols() % 8 == 0;
  }
  QLITE_INLINE static std::size_t padded(const view& x) noexcept { return round_up(x.cols(), 8); }
  QLITE_INLINE static std::size_t scratch_bytes(const view& x, const tile_layout&) noexcept {
    carver memory;
    if (!readable(x)) static_cast<void>(memory.take<std::uint16_t>(x.rows() * padded(x)));
    return memory.bytes();
  }
  /// Whether `prepare` starts a kernel.
  QLITE_INLINE static bool prepares(const view& x) noexcept { return !readable(x); }
  QLITE_INLINE static cudaError_t prepare(const view& x, const tile_layout&, void* scratch, inputs& in,
                                          cudaStream_t stream) noexcept {
    in.rows = static_cast<std::uint32_t>(x.rows());
    in.cols = static_cast<std::uint32_t>(padded(x));
    in.scale_groups = 1;
    if (readable(x)) {
      in.data = reinterpret_cast<const std::byte*>(x.data());
      in.row_bytes = 2 * x.row_stride();
      return cudaSuccess;
    }
    carver memory(scratch);
    auto* const copy = memory.take<unsigned short>(x.rows() * padded(x));
    in.data = reinterpret_cast<const std::byte*>(copy);
    in.row_bytes = 2 * padded(x);
    return launch(copy_rows<>, blocks_for(x.rows() * padded(x)), 256, 0, stream,
                  reinterpret_cast<const unsigned short*>(x.data()), x.rows(), x.cols(), x.row_stride(), copy,
                  padded(x));
  }
};

QLITE_INLINE inputs inputs_of(const quantized_activations& q) noexcept {
  inputs in{};
  in.data = q.codes;
  in.row_bytes = q.code_stride;
  in.rows = static_cast<std::uint32_t>(q.rows);
  in.cols = static_cast<std::uint32_t>(q.code_stride);
  in.scales = q.scales;
  in.scale_groups = static_cast<std::uint32_t>(q.scale_groups);
  return in;
}

template <class X>
struct quantizing_form {
  using math = integer_math;
  QLITE_INLINE static std::size_t rows(const X& x) noexcept { return x.x.rows(); }
  QLITE_INLINE static std::size_t cols(const X& x) noexcept { return x.x.cols(); }
  QLITE_INLINE static bool valid(const X& x, const tile_layout&) noexcept { return is_input(x); }
  QLITE_INLINE static std::size_t scratch_bytes(const X& x, const tile_layout& t) noexcept {
    carver memory;
    static_cast<void>(carve_codes(x, t, memory));
    return memory.bytes();
  }
  QLITE_INLINE static bool prepares(const X&) noexcept { return true; }
  QLITE_INLINE static cudaError_t prepare(const X& x, const tile_layout& t, void* scratch, inputs& in,
                                          cudaStream_t stream) noexcept {
    carver memory(scratch);
    const quantized_activations q = carve_codes(x, t, memory);
    in = inputs_of(q);
    return launch_quantize(x, t, q, stream);
  }
};
template <class C, class G, class T>
struct input_form<dynamic_activations<C, G, T>> : quantizing_form<dynamic_activations<C, G, T>> {};
template <class C, class T>
struct input_form<fixed_activations<C, T>> : quantizing_form<fixed_activations<C, T>> {};

template <>
struct input_form<quantized_activations> {
  using math = integer_math;
  QLITE_INLINE static std::size_t rows(const quantized_activations& x) noexcept { return x.rows; }
  QLITE_INLINE static std::size_t cols(const quantized_activations& x) noexcept { return x.cols; }
  QLITE_INLINE static bool valid(const quantized_activations& x, const tile_layout& t) noexcept {
    const bool fits = x.scale_groups == 1 || (x.scale_groups == t.groups && x.group == t.group);
    return fits && x.code_stride == t.col_tiles * tile_cols &&
           (x.rows == 0 || (x.scales != nullptr && is_aligned(x.scales) &&
                            (x.cols == 0 || (x.codes != nullptr && is_aligned(x.codes, 16)))));
  }
  QLITE_INLINE static std::size_t scratch_bytes(const quantized_activations&, const tile_layout&) noexcept { return 0; }
  QLITE_INLINE static bool prepares(const quantized_activations&) noexcept { return false; }
  QLITE_INLINE static cudaError_t prepare(const quantized_activations& x, const tile_layout&, void*, inputs& in,
                                          cudaStream_t) noexcept {
    in = inputs_of(x);
    return cudaSuccess;
  }
};

}    // namespace kernels

/// Bytes of device memory that gemm(x, w, ...) needs as its workspace. Enough for fewer rows of X too. 0 for X of
/// 16-bit elements whose rows lie on 16-byte boundaries.
template <class X, class Scheme>
inline std::size_t gemm_workspace_bytes(const X& x, const packed_view<Scheme>& w) noexcept {
  const detail::tile_layout t = detail::tiles_of(w.rows(), w.cols(), w.scheme());
  return t.valid ? kernels::input_form<X>::scratch_bytes(x, t) : 0;
}

/// Y = epilogue(X * W^T), in stream order on the current device.
///
///   x         [M, K]: a matrix_view of float16 or bfloat16 (or __half, __nv_bfloat16); dynamic<int8>(X),
///             dynamic<int8, per_token>(X) or fixed<int8>(X, scale), of float too; or quantized_activations
///   w         W [N, K] as `pack` left it
///   y         [M, N], float, float16 or bfloat16; must not overlap X
///   epilogue  gemm/epilogue.hpp; a function of epilogue::map must be callable on the device
///   scratch   device memory of gemm_workspace_bytes, any alignment
///   choice    which kernel, instead of the table's
///
/// Sums are in float32, or exact in int32 for INT8 activations. Allocates nothing, never synchronizes; may be captured
/// into a graph. cudaErrorInvalidValue, before anything is launched: shapes that do not fit, null or misaligned data, a
/// workspace that is too small. cudaErrorNoKernelImageForDevice: the program holds no code for this device.
template <class X, class Scheme, class T, class Epilogue>
inline cudaError_t gemm(const X& x, const packed_view<Scheme>& w, matrix_view<T> y, const Epilogue& epilogue,
                        workspace scratch, const kernel_choice& choice, cudaStream_t stream) {
  using form = kernels::input_form<X>;
  using traits = detail::scheme_traits<Scheme>;
  using math = typename kernels::math_with_book<typename form::math, typename traits::code, traits::has_codebook>::type;
  using value = kernels::device_type<T>;
  using out_type = kernels::output<value, Epilogue>;
  static_assert(detail::is_element<T>, "qlite: Y is a mutable matrix_view of float, float16 or bfloat16");
  const detail::tile_layout t = detail::tiles_of(w.rows(), w.cols(), w.scheme());
  constexpr std::size_t most = std::size_t{1} << 30;
  if (!kernels::is_packed(w) || !form::valid(x, t) || !kernels::is_matrix(y)) return cudaErrorInvalidValue;
  if (form::cols(x) != w.cols() || y.rows() != form::rows(x) || y.cols() != w.rows() || y.rows() > most)
    return cudaErrorInvalidValue;
  if (!kernels::fits(epilogue, y.rows(), y.cols())) return cudaErrorInvalidValue;
  const std::size_t bytes = form::scratch_bytes(x, t);
  if (bytes != 0 && (scratch.data == nullptr || scratch.size < bytes)) return cudaErrorInvalidValue;
  if (y.empty()) return cudaSuccess;

  kernels::inputs in{};
  QLITE_CUDA_RETURN_IF_ERROR(form::prepare(x, t, scratch.data, in, stream));
  in.late = form::prepares(x) || choice.overlap;
  const kernels::weights weights = kernels::weights_of(w, t);
  const out_type out{reinterpret_cast<value*>(y.data()),
                     y.row_stride(),
                     static_cast<std::uint32_t>(y.rows()),
                     static_cast<std::uint32_t>(y.cols()),
                     kernels::is_aligned(y.data(), 4 * sizeof(value)) && (y.rows() <= 1 || y.row_stride() % 4 == 0),
                     kernels::lower(epilogue)};
  constexpr bool sums = traits::has_offset || (math::is_integer && traits::has_zero_point);
  constexpr bool plain = traits::is_symmetric && std::is_same_v<typename traits::scale, float16>;
  // Which kernels a scheme can need is known at compile time; only a group size given at run time needs two kinds.
  using kernels::span_kind;
  const auto run = [&](auto span) {
    constexpr span_kind kind = decltype(span)::value;
    return kernels::launcher<math, traits::bits, sums, kind, plain, out_type>{weights, in, out, stream}.run(choice);
  };
  constexpr bool whole_tiles = detail::static_group_size<typename traits::granularity> % detail::tile_cols == 0;
  if constexpr (!traits::grouped && !traits::has_offset) {
    return run(std::integral_constant<span_kind, span_kind::whole>{});
  } else if constexpr (!traits::grouped || (!traits::dynamic_group && whole_tiles)) {
    return run(std::integral_constant<span_kind, span_kind::tile>{});
  } else if constexpr (traits::dynamic_group) {
    return t.groups <= 1 || t.group % detail::tile_cols == 0 ? run(std::integral_constant<span_kind, span_kind::tile>{})
                                                             : run(std::integral_constant<span_kind, span_kind::run>{});
  } else if constexpr (detail::static_group_size<typename traits::granularity> % 32 == 0) {
    return run(std::integral_constant<span_kind, span_kind::half>{});
  } else {
    return run(std::integral_constant<span_kind, span_kind::run>{});
  }
}

/// The same with the table's choice.
template <class X, class Scheme, class T, class Epilogue>
inline cudaError_t gemm(const X& x, const packed_view<Scheme>& w, matrix_view<T> y, const Epilogue& epilogue,
                        workspace scratch, cudaStream_t stream) {
  return gemm(x, w, y, epilogue, scratch, kernel_choice{}, stream);
}

QLITE_CUDA_END_FUNCTIONS
