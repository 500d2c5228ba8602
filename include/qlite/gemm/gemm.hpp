// Y = epilogue(X * W^T): the entry points.
#pragma once

#include <qlite/gemm/any_packed.hpp>
#include <qlite/gemm/blocking.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Packed weights as the entry points see them, whether their scheme is a type or a value.
template <class Scheme, class Backend>
struct packed_operand {
  using backend = Backend;
  using format = format_of<Scheme, Backend>;
  static constexpr bool grouped = scheme_traits<Scheme>::grouped;
  packed_data data;

  /// Which scales meet when the activations have one per token, or one per weight group if there are such.
  static constexpr scale_kind kind(bool token_scales) noexcept {
    return !grouped ? scale_kind::row : token_scales ? scale_kind::token : scale_kind::groups;
  }
  QLITE_INLINE bool has_groups() const noexcept { return grouped; }
  QLITE_INLINE static void check_integer() noexcept {
    static_assert(scheme_traits<Scheme>::is_integer,
                  "qlite: nf4 weights take float activations, X itself and not dynamic<int8>(X): their codes do not "
                  "stand for whole numbers");
  }
  template <bool TokenScales>
  QLITE_INLINE const integer_kernels& integer() const noexcept {
    return integer_kernels_of<Backend, format, kind(TokenScales)>;
  }
  template <class T>
  QLITE_INLINE const float_kernels& floating() const noexcept {
    if constexpr (std::is_same_v<T, bfloat16>)
      return bfloat16_kernels<Backend, format>();
    else
      return float_kernels_of<Backend, format>;
  }
};

template <class Backend>
struct any_operand {
  using backend = Backend;
  packed_data data;
  const any_kernels* kernels;

  QLITE_INLINE bool has_groups() const noexcept { return kernels->grouped; }
  QLITE_INLINE void check_integer() const {
    if (QLITE_UNLIKELY(kernels->integer_groups == nullptr))
      fail("qlite: W is nf4, expected float activations with it: X itself, not dynamic<int8>(X)");
  }
  template <bool TokenScales>
  QLITE_INLINE const integer_kernels& integer() const noexcept {
    return TokenScales ? *kernels->integer_token : *kernels->integer_groups;
  }
  template <class T>
  QLITE_INLINE const float_kernels& floating() const noexcept {
    return std::is_same_v<T, bfloat16> ? *kernels->bfloat16 : *kernels->floating;
  }
};

template <class S, class B>
QLITE_INLINE packed_operand<S, B> operand_of(const packed_view<S, B>& w) noexcept {
  return {w.raw()};
}
template <class S, class B>
QLITE_INLINE packed_operand<S, B> operand_of(const packed_matrix<S, B>& w) noexcept {
  return {w.raw()};
}
template <class B>
QLITE_INLINE any_operand<B> operand_of(const any_packed<B>& w) {
  if (QLITE_UNLIKELY(w.kernels() == nullptr)) fail("qlite: W is an empty any_packed, expected packed weights");
  return {w.raw(), static_cast<const any_kernels*>(w.kernels())};
}
template <class T>
inline constexpr bool is_packed = false;
template <class S, class B>
inline constexpr bool is_packed<packed_view<S, B>> = true;
template <class S, class B>
inline constexpr bool is_packed<packed_matrix<S, B>> = true;
template <class B>
inline constexpr bool is_packed<any_packed<B>> = true;
template <class T>
QLITE_INLINE void operand_of(const T&) noexcept {
  static_assert(is_packed<T>,
                "qlite: gemm takes packed weights: a packed_matrix, packed_view or any_packed; "
                "call qlite::pack<Backend>(quantized) first");
}

// The forms of X. Each says its shape, carves its scratch, and runs.

template <class T>
QLITE_INLINE std::size_t rows_of(matrix_view<T> x) noexcept {
  return x.rows();
}
template <class T>
QLITE_INLINE std::size_t cols_of(matrix_view<T> x) noexcept {
  return x.cols();
}
template <class C, class G, class T>
QLITE_INLINE std::size_t rows_of(const dynamic_activations<C, G, T>& x) noexcept {
  return x.x.rows();
}
template <class C, class G, class T>
QLITE_INLINE std::size_t cols_of(const dynamic_activations<C, G, T>& x) noexcept {
  return x.x.cols();
}
template <class C, class T>
QLITE_INLINE std::size_t rows_of(const fixed_activations<C, T>& x) noexcept {
  return x.x.rows();
}
template <class C, class T>
QLITE_INLINE std::size_t cols_of(const fixed_activations<C, T>& x) noexcept {
  return x.x.cols();
}
template <class G, class B>
QLITE_INLINE std::size_t rows_of(const quantized_activations<G, B>& x) noexcept {
  return x.rows();
}
template <class G, class B>
QLITE_INLINE std::size_t cols_of(const quantized_activations<G, B>& x) noexcept {
  return x.cols();
}

template <class T>
QLITE_INLINE void check_input(matrix_view<T> x) {
  static_assert(is_element<std::remove_const_t<T>>, "qlite: X is of float, float16 or bfloat16");
  check_matrix("X", x);
}
template <class C, class G, class T>
QLITE_INLINE void check_input(const dynamic_activations<C, G, T>& x) {
  check_matrix("X", x.x);
}
template <class C, class T>
QLITE_INLINE void check_input(const fixed_activations<C, T>& x) {
  check_matrix("X", x.x);
  if (QLITE_UNLIKELY(!(is_finite(x.scale) && x.scale > 0.0f && is_finite(1.0f / x.scale))))
    fail("qlite: the scale of fixed activations is %g, expected a positive number with a finite inverse",
         static_cast<double>(x.scale));
}
template <class G, class B>
QLITE_INLINE void check_input(const quantized_activations<G, B>&) {}

/// The integer forms that are quantized as part of the product.
template <class X>
inline constexpr bool quantizes = false;
template <class C, class G, class T>
inline constexpr bool quantizes<dynamic_activations<C, G, T>> = true;
template <class C, class T>
inline constexpr bool quantizes<fixed_activations<C, T>> = true;

template <class X>
inline constexpr bool is_quantized = false;
template <class G, class B>
inline constexpr bool is_quantized<quantized_activations<G, B>> = true;

/// The kernels of a product with quantized rows.
template <class X, class Operand, class Out, class Executor>
inline void multiply_rows(const Operand& w, const input_rows& rows, std::size_t m, const Out& out, Executor& executor,
                          std::size_t concurrency) {
  integer_gemm(w.template integer<wants_token_scales<X>>(), w.data, rows, m, out, executor, concurrency);
}

/// Scratch of a weight-only product, carved the same way when it is asked for and when it is used.
template <class T>
struct float_scratch {
  const float_kernels& kernels;
  float_plan plan;
  std::size_t stride = 0;    // of the copy of X; 0: X is read where it is
  float* copy;
  float* tasks;

  template <class Operand>
  QLITE_INLINE float_scratch(const Operand& w, std::size_t rows, std::size_t concurrency, carver& memory) noexcept
      : kernels(w.template floating<T>()), plan(kernels, w.data.shape, rows, concurrency) {
    const strip_shape& s = w.data.shape;
    const bool whole_lines = s.groups == 0 || (s.group % s.line_k == 0 && s.cols % s.line_k == 0) ||
                             (s.groups == 1 && s.cols % s.line_k == 0);
    if (!std::is_same_v<T, float> || !whole_lines)
      stride =
          s.groups == 0 ? 0 : ((s.groups - 1) * s.group_lines + s.last_lines) * s.line_k / kernels.numbers_per_word();
    copy = memory.take<float>(kernels.copied_rows(rows) * stride);
    tasks = memory.take<float>(plan.task_floats() * plan.work.tasks);
  }
};

/// X as float, each group padded with zeros to whole lines.
template <class F, class T, class Executor>
inline void copy_floats(matrix_view<const T> x, const strip_shape& shape, float* to, std::size_t stride,
                        Executor& executor) {
  const std::size_t padded = shape.group_lines * shape.line_k;
  const std::size_t tasks = task_count(executor, x.rows(), x.rows() * x.cols(), std::size_t{1} << 15);
  run_tasks(executor, tasks, [&](std::size_t i) {
    const slice part = slice_of(x.rows(), tasks, i);
    for (std::size_t r = part.begin; r < part.end; ++r) {
      float* const row = to + r * stride;
      for (std::size_t g = 0; g < shape.groups; ++g) {
        const std::size_t length = shape.length(g), end = shape.lines(g) * shape.line_k;
        const T* const from = x.row(r) + g * shape.group;
        std::size_t k = 0;
        for (; k + strip_rows <= length; k += strip_rows) F::load(from + k).store(row + g * padded + k);
        for (; k < length; ++k) row[g * padded + k] = element<T>::load(from[k]);
        for (; k < end; ++k) row[g * padded + k] = 0.0f;
      }
    }
  });
}

/// X as panels of pairs of bfloat16, for the tiles that read such.
template <class Executor>
inline void copy_panels(matrix_view<const bfloat16> x, const strip_shape& shape, const float_kernels& set, float* to,
                        std::size_t stride, Executor& executor) {
  const std::size_t rows = set.few.one.tiles[0].rows, panels = ceil_div(x.rows(), rows);
  const std::size_t tasks = task_count(executor, panels, x.rows() * x.cols(), std::size_t{1} << 15);
  run_tasks(executor, tasks, [&](std::size_t i) {
    const slice part = slice_of(panels, tasks, i);
    for (std::size_t r = part.begin * rows; r < min_of(x.rows(), part.end * rows); r += rows) {
      const std::size_t left = x.rows() - r;
      set.copy_pairs({x.row(r), min_of(rows, left), x.cols(), x.row_stride()}, set.few.one.pick(left).rows, shape,
                     to + r * stride);
    }
  });
}

template <class T, class Operand>
inline std::size_t scratch_bytes(matrix_view<T> x, const Operand& w, std::size_t concurrency) {
  carver memory;
  const float_scratch<std::remove_const_t<T>> scratch(w, x.rows(), concurrency, memory);
  static_cast<void>(scratch);
  return memory.bytes();
}
template <class X, class Operand, std::enable_if_t<quantizes<X>, int> = 0>
inline std::size_t scratch_bytes(const X& x, const Operand& w, std::size_t concurrency) {
  carver memory;
  const input_buffers<isa<typename Operand::backend>> rows(memory, w.data.shape, rows_of(x));
  static_cast<void>(rows), static_cast<void>(concurrency);
  return memory.bytes();
}
template <class G, class B, class Operand>
inline std::size_t scratch_bytes(const quantized_activations<G, B>&, const Operand&, std::size_t) {
  return 0;
}

/// Quantizes the rows of X with the scales that this product wants.
template <class I, class X, class Executor>
inline void quantize_input(const X& x, const strip_shape& shape, bool token_scales, const input_buffers<I>& to,
                           Executor& executor) {
  if constexpr (wants_token_scales<X>) {
    static_cast<void>(token_scales);
    quantize_rows<I, false>(x, shape, to, executor);
  } else if (token_scales) {
    quantize_rows<I, false>(x, shape, to, executor);
  } else {
    quantize_rows<I, true>(x, shape, to, executor);
  }
}

template <class T, class Operand, class Out, class Executor>
inline void run(matrix_view<T> x, const Operand& w, const Out& out, Executor& executor, std::size_t concurrency,
                void* memory) {
  using floats = typename isa<typename Operand::backend>::floats;
  using value = std::remove_const_t<T>;
  carver pieces(memory);
  const float_scratch<value> scratch(w, x.rows(), concurrency, pieces);
  float_rows rows{nullptr, 0};
  if constexpr (std::is_same_v<value, float>) {
    if (x.data() != nullptr) rows = {x.data(), x.row_stride()};    // null where K is 0
  }
  if (scratch.stride != 0) {
    rows = {scratch.copy, scratch.stride};
    bool copied = false;
    if constexpr (std::is_same_v<value, bfloat16>) {
      copied = scratch.kernels.copy_pairs != nullptr;
      if (copied) copy_panels(x, w.data.shape, scratch.kernels, scratch.copy, scratch.stride, executor);
    }
    if (!copied) copy_floats<floats, value>(x, w.data.shape, scratch.copy, scratch.stride, executor);
  }
  if (scratch.plan.few)
    float_gemm_few(scratch.kernels, scratch.plan, w.data, rows, out, executor);
  else
    float_gemm_many(scratch.kernels, scratch.plan, w.data, rows, scratch.tasks, out, executor);
}
template <class X, class Operand, class Out, class Executor, std::enable_if_t<quantizes<X>, int> = 0>
inline void run(const X& x, const Operand& w, const Out& out, Executor& executor, std::size_t concurrency,
                void* memory) {
  carver pieces(memory);
  const bool token_scales = wants_token_scales<X> || !w.has_groups();
  const input_buffers<isa<typename Operand::backend>> rows(pieces, w.data.shape, rows_of(x));
  quantize_input(x, w.data.shape, token_scales, rows, executor);
  multiply_rows<X>(w, rows, rows_of(x), out, executor, concurrency);
}
template <class G, class B, class Operand, class Out, class Executor>
inline void run(const quantized_activations<G, B>& x, const Operand& w, const Out& out, Executor& executor,
                std::size_t concurrency, void*) {
  static_assert(std::is_same_v<B, typename Operand::backend>,
                "qlite: X was quantized for another backend than that of the packed weights");
  multiply_rows<quantized_activations<G, B>>(w, x.data(), x.rows(), out, executor, concurrency);
}

template <class X, class Operand, class T, class Epilogue>
QLITE_INLINE void check_gemm(const X& x, const Operand& w, matrix_view<T> y, const Epilogue& epilogue) {
  static_assert(is_element<T>, "qlite: Y is a mutable matrix_view of float, float16 or bfloat16");
  check_input(x);
  if constexpr (quantizes<X> || is_quantized<X>) w.check_integer();
  check_matrix("Y", y);
  check_equal("the columns of X", cols_of(x), "columns of W", w.data.shape.cols);
  check_equal("the rows of Y", y.rows(), "rows of X", rows_of(x));
  check_equal("the columns of Y", y.cols(), "rows of W", w.data.shape.rows);
  if constexpr (is_quantized<X>)
    check_equal("the group size of the quantized X", x.group_size(), "weights of a row of W that share a scale",
                w.data.shape.group);
  check_epilogue(epilogue, y.rows(), y.cols());
}

template <class X, class Operand, class T, class Epilogue, class Executor>
inline void gemm_with(const X& x, const Operand& w, matrix_view<T> y, const Epilogue& epilogue, Executor& executor,
                      std::size_t concurrency, void* memory) {
  if (y.empty()) return;
  run(x, w, output<isa<typename Operand::backend>, T, Epilogue>{y, epilogue}, executor, concurrency, memory);
}

}    // namespace impl

/// Bytes of workspace that gemm(x, packed, ..., executor, workspace) needs. Enough for every executor with at most this
/// concurrency, and for fewer rows of X.
template <class X, class Packed, class Executor = serial>
inline std::size_t gemm_workspace_bytes(const X& x, const Packed& packed, const Executor& executor = {}) {
  return impl::scratch_bytes(x, impl::operand_of(packed), impl::concurrency_of(executor));
}

/// Y = epilogue(X * W^T).
///
///   x         [M, K]: a matrix_view of float, float16 or bfloat16, or a form of gemm/activations.hpp
///   packed    W [N, K]: a packed_matrix, packed_view or any_packed
///   y         [M, N], float, float16 or bfloat16; must not overlap X
///   epilogue  gemm/epilogue.hpp
///   executor  core/executor.hpp
///   scratch   gemm_workspace_bytes of it, any alignment
///
/// Allocates nothing, starts no thread. O(M * N * K). Errors: shapes that do not fit, null or misaligned data, a
/// workspace that is too small; nothing is computed then.
template <class X, class Packed, class T, class Epilogue, class Executor>
inline void gemm(const X& x, const Packed& packed, matrix_view<T> y, const Epilogue& epilogue, Executor&& executor,
                 workspace scratch) {
  const auto w = impl::operand_of(packed);
  impl::check_gemm(x, w, y, epilogue);
  const std::size_t concurrency = impl::concurrency_of(executor);    // asked once: the workspace depends on it
  const std::size_t bytes = impl::scratch_bytes(x, w, concurrency);
  if (QLITE_UNLIKELY(bytes != 0 && (scratch.size < bytes || scratch.data == nullptr)))
    impl::fail("qlite: the workspace is %zu bytes at %p, expected at least %zu", scratch.size, scratch.data, bytes);
  impl::gemm_with(x, w, y, epilogue, executor, concurrency, scratch.data);
}

/// The same with a workspace of its own: allocates it, and frees it before it returns.
template <class X, class Packed, class T, class Epilogue = epilogue::none, class Executor = serial>
inline void gemm(const X& x, const Packed& packed, matrix_view<T> y, const Epilogue& epilogue = {},
                 Executor&& executor = {}) {
  const auto w = impl::operand_of(packed);
  impl::check_gemm(x, w, y, epilogue);
  const std::size_t concurrency = impl::concurrency_of(executor);
  const detail::buffer memory(impl::scratch_bytes(x, w, concurrency));
  impl::gemm_with(x, w, y, epilogue, executor, concurrency, memory.data());
}

/// Bytes that quantize_activations needs for these activations and weights of this K and group size.
template <class X, class Packed>
inline std::size_t quantized_activations_bytes(const X& x, const Packed& packed) {
  static_assert(impl::quantizes<X>, "qlite: quantize_activations takes dynamic<int8>(X) or fixed<int8>(X, scale)");
  detail::carver memory;
  const auto w = impl::operand_of(packed);
  const impl::input_buffers<impl::isa<typename decltype(w)::backend>> rows(memory, w.data.shape, impl::rows_of(x));
  static_cast<void>(rows);
  return memory.bytes();
}

/// Quantizes X once, into memory of the caller, for several products with weights of the same K and group size as
/// `packed` (the query, key and value projections of a layer, say). The result refers to that memory.
/// dynamic<int8>(X) keeps one scale per weight group; every other form one per token. O(M * K).
/// Errors: shapes that do not fit, null or misaligned X, too little memory.
template <class X, class Packed, class Executor = serial>
inline auto quantize_activations(const X& x, const Packed& packed, workspace memory, Executor&& executor = {}) {
  static_assert(impl::quantizes<X>, "qlite: quantize_activations takes dynamic<int8>(X) or fixed<int8>(X, scale)");
  const auto w = impl::operand_of(packed);
  using backend = typename decltype(w)::backend;
  using granularity = std::conditional_t<impl::wants_token_scales<X>, per_token, per_weight_group>;
  impl::check_input(x);
  impl::check_equal("the columns of X", impl::cols_of(x), "columns of W", w.data.shape.cols);
  const std::size_t bytes = quantized_activations_bytes(x, packed);
  if (QLITE_UNLIKELY(bytes != 0 && (memory.size < bytes || memory.data == nullptr)))
    impl::fail("qlite: the memory for quantized activations is %zu bytes at %p, expected at least %zu", memory.size,
               memory.data, bytes);
  detail::carver pieces(memory.data);
  const impl::input_buffers<impl::isa<backend>> rows(pieces, w.data.shape, impl::rows_of(x));
  impl::quantize_input(x, w.data.shape, impl::wants_token_scales<X>, rows, executor);
  return quantized_activations<granularity, backend>(rows, impl::rows_of(x), impl::cols_of(x), w.data.shape.group);
}

QLITE_END_FUNCTIONS
