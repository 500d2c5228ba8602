// From a matrix of floats to its canonical quantized form.
//
// A method is a type with functions that are found by argument-dependent lookup; a new method is a new file with its
// type and its functions, and nothing here changes.
//
//   Group-local methods choose the numbers of one group at a time (rtn, mse_clip):
//       using round_type = round_rule::half_even;    // in the type: how a quotient becomes a code
//       group_parameters<Scheme> fit_group(const Method&, Scheme, const weight_group<T, Kernels>&);
//   and, if the smallest and the largest weight are all they need, several at once, which is faster:
//       group_parameters<Scheme, F> fit_ranges(const Method&, Scheme, const weight_range<F>&);
//
//   Whole-matrix methods write the codes themselves (gptq, awq):
//       Result quantize_matrix(const Method&, Scheme, matrix_view<const T> W, const Executor&);
//   where Result is quantized_matrix<Scheme>, or another type that holds one.
//
// A method with parameters of its own checks them in `void check_method(const Method&)`, and one with numbers for each
// column of W in `void check_columns(const Method&, std::size_t columns)`. Parameters with a `fault` end
// the call with an error that names the row and column.
#pragma once

#include <qlite/core/executor.hpp>
#include <qlite/quantize/encode.hpp>
#include <qlite/quantize/nibbles.hpp>
#include <qlite/quantize/quantized_matrix.hpp>
#include <qlite/quantize/vector_kernels.hpp>

QLITE_BEGIN_NAMESPACE

/// A canonical form in memory that the caller owns, to be written: quantize_into's destination. The arrays are those of
/// quantized_view, of the sizes that canonical_layout tells.
template <class Scheme>
struct quantized_target {
  using traits = detail::scheme_traits<Scheme>;
  using scale_type = typename traits::scale;
  using offset_type = detail::offset_storage<Scheme>;

  canonical_layout<Scheme> shape{};
  std::uint8_t* codes = nullptr;     ///< [rows, code_row_bytes]
  scale_type* scales = nullptr;      ///< [scale_rows, groups]
  std::uint8_t* zeros = nullptr;     ///< [scale_rows, zero_row_bytes], asymmetric only
  offset_type* offsets = nullptr;    ///< [scale_rows, groups], offset<T> only

  QLITE_INLINE constexpr quantized_target() noexcept = default;
  QLITE_INLINE constexpr quantized_target(canonical_layout<Scheme> layout, std::uint8_t* code_bytes,
                                          scale_type* scale_array, std::uint8_t* zero_bytes = nullptr,
                                          offset_type* offset_array = nullptr) noexcept
      : shape(layout), codes(code_bytes), scales(scale_array), zeros(zero_bytes), offsets(offset_array) {}
  /// The arrays of a matrix that owns its memory.
  QLITE_INLINE quantized_target(quantized_matrix<Scheme>& q) noexcept    // NOLINT: implicit on purpose
      : quantized_target(q.shape(), q.codes(), q.scales(), q.zeros(), q.offsets()) {}

  QLITE_INLINE quantized_view<Scheme> view() const noexcept { return {shape, codes, scales, zeros, offsets}; }
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

template <class Method, class Scheme, class T, class = void>
inline constexpr bool is_group_local = false;
template <class Method, class Scheme, class T>
inline constexpr bool
    is_group_local<Method, Scheme, T,
                   std::void_t<decltype(fit_group(std::declval<const Method&>(), Scheme{},
                                                  std::declval<const weight_group<T, kernels>&>()))>> = true;

template <class Method, class = void>
inline constexpr bool has_check = false;
template <class Method>
inline constexpr bool has_check<Method, std::void_t<decltype(check_method(std::declval<const Method&>()))>> = true;

template <class Method, class = void>
inline constexpr bool has_columns = false;
template <class Method>
inline constexpr bool
    has_columns<Method, std::void_t<decltype(check_columns(std::declval<const Method&>(), std::size_t{}))>> = true;

/// What a method wants to be checked before it is used on a matrix of `cols` columns.
template <class Method>
QLITE_INLINE void check_use(const Method& method, std::size_t cols) {
  if constexpr (has_check<Method>) check_method(method);
  if constexpr (has_columns<Method>) check_columns(method, cols);
}

template <class Method, class Scheme, class F, class = void>
inline constexpr bool fits_ranges = false;
template <class Method, class Scheme, class F>
inline constexpr bool fits_ranges<Method, Scheme, F,
                                  std::void_t<decltype(fit_ranges(std::declval<const Method&>(), Scheme{},
                                                                  std::declval<const weight_range<F>&>()))>> = true;

template <class Method, class Scheme, class T, class Executor, class = void>
inline constexpr bool is_whole_matrix = false;
template <class Method, class Scheme, class T, class Executor>
inline constexpr bool
    is_whole_matrix<Method, Scheme, T, Executor,
                    std::void_t<decltype(quantize_matrix(std::declval<const Method&>(), Scheme{},
                                                         matrix_view<const T>{}, std::declval<const Executor&>()))>> =
        true;

/// Writes the parameters of group `g` of scale row `r`.
template <class Scheme>
QLITE_INLINE void store_parameters(const quantized_target<Scheme>& q, std::size_t r, std::size_t g,
                                   const group_parameters<Scheme>& p) {
  using traits = scheme_traits<Scheme>;
  const std::size_t at = r * q.shape.groups() + g;
  q.scales[at] = real_from_bits<typename traits::scale>(p.scale_bits);
  if constexpr (traits::has_offset) q.offsets[at] = real_from_bits<typename traits::offset_type>(p.offset_bits);
  if constexpr (traits::has_zero_point) {
    std::uint8_t* const row = q.zeros + r * q.shape.zero_row_bytes();
    if constexpr (traits::bits == 8)
      row[g] = static_cast<std::uint8_t>(p.zero);
    else if (g % 2 == 0)
      row[g / 2] = static_cast<std::uint8_t>(p.zero);
    else
      row[g / 2] = static_cast<std::uint8_t>(row[g / 2] | (p.zero << 4));
  }
}

/// The fault of a group whose first weight is (row, col).
template <class Scheme, class T, class Kernels>
QLITE_COLD fault locate(const group_parameters<Scheme>& p, const weight_group<T, Kernels>& group, std::size_t row,
                        std::size_t col) {
  fault f;
  f.kind = static_cast<fault_kind>(p.fault);
  f.value = p.value;
  f.row = row;
  f.col = col;
  if (f.kind == fault_kind::not_finite)
    for (std::size_t r = 0; r < group.rows; ++r)
      for (std::size_t c = 0; c < group.cols; ++c) {
        const float w = element<T>::load(group.data[r * group.row_stride + c]);
        if (!is_finite(w)) {
          f.value = w;
          f.row = row + r;
          f.col = col + c;
          return f;
        }
      }
  return f;
}

[[noreturn]] QLITE_COLD inline void fail_fault(const fault& f, const char* scale_type, const char* offset_type) {
  if (f.kind == fault_kind::not_finite) {
    const std::uint32_t bits = float_bits(f.value);
    fail("qlite: W has %s at row %zu, column %zu; expected finite weights",
         (bits & 0x7fffffffu) > float_infinity_bits ? "nan"
         : bits == float_infinity_bits              ? "inf"
                                                    : "-inf",
         f.row, f.col);
  }
  const bool scale = (static_cast<std::int32_t>(f.kind) & static_cast<std::int32_t>(fault_kind::scale_overflow)) != 0;
  const char* const what = scale ? "scale" : "offset";
  fail(
      "qlite: the %s of W at row %zu, column %zu is %g, which overflows %s; expected smaller weights, or a scheme with "
      "float %ss",
      what, f.row, f.col, static_cast<double>(f.value), scale ? scale_type : offset_type, what);
}

/// Writes the codes of `n` weights of one group: columns col ... col + n of the row that `codes` begins.
template <class Kernels, class Round, class Scheme, class T>
QLITE_INLINE void encode_group(const group_parameters<Scheme>& p, const T* w, std::size_t n, std::uint8_t* codes,
                               std::size_t col, std::size_t ahead) {
  const encoder<Scheme, Round> code(p);
  if constexpr (scheme_traits<Scheme>::bits == 8) {
    Kernels::encode(code, w, n, codes + col, ahead);
  } else if (col % 2 == 0 && n % Kernels::block == 0) {
    Kernels::encode_nibbles(code, w, n, codes + col / 2, ahead);
  } else {
    for (std::size_t i = 0; i < n; i += span_size) {
      const std::size_t count = min_of(span_size, n - i);
      std::uint8_t fields[span_size];
      Kernels::encode(code, w + i, count, fields, ahead);
      pack_nibbles(fields, count, codes, col + i);
    }
  }
}

/// Bytes between a weight that is encoded and the one to fetch meanwhile, where `batch` bytes are read twice in a row:
/// once for their range, from memory, and once for their codes, from the cache. Memory would lie idle the second time.
/// (Measured: 1.2 times as fast for rows of 16 KiB; no gain for batches below 8 KiB, where the processor's own
/// prefetching reaches across.)
QLITE_INLINE std::size_t fetch_distance(std::size_t batch) noexcept {
  if (batch < (std::size_t{8} << 10) || batch > (std::size_t{256} << 10)) return 0;
  return max_of(batch, std::size_t{16} << 10);
}

/// f(n), with an n that the compiler knows wherever the group is not a ragged last one and its size is part of the
/// type.
template <class Scheme, class F>
QLITE_INLINE auto with_group_size(std::size_t n, F&& f) {
  using traits = scheme_traits<Scheme>;
  if constexpr (traits::grouped && !traits::dynamic_group) {
    constexpr std::size_t known = static_group_size<typename traits::granularity>;
    if (n == known) return f(known);
  }
  return f(n);
}

/// Fits, stores and encodes group `g` of row `r`: `n` weights from column `col` on. False: p tells the fault.
template <class Kernels, class Scheme, class T, class Method>
QLITE_INLINE bool quantize_group(matrix_view<const T> W, const Method& method, const quantized_target<Scheme>& q,
                                 std::size_t r, std::size_t g, std::size_t col, std::size_t n,
                                 group_parameters<Scheme>& p) {
  const T* const w = W.row(r) + col;
  p = fit_group(method, q.shape.scheme(), weight_group<T, Kernels>{w, 1, n, n, col});
  if (QLITE_UNLIKELY(p.fault != 0)) return false;
  store_parameters(q, r, g, p);
  encode_group<Kernels, typename Method::round_type>(p, w, n, q.codes + r * q.shape.code_row_bytes(), col, 0);
  return true;
}

/// The ranges of `count` groups whose `weights` weights follow each other, all of group_size but the last.
template <class Kernels, class Scheme, class T>
QLITE_INLINE auto ranges_of(const T* w, std::size_t group_size, std::size_t weights, std::size_t count) {
  using floats = typename Kernels::floats;
  constexpr std::size_t lanes = sizeof(floats) / sizeof(float);
  weight_range<floats> all;
  if constexpr (lanes > 1) {
    if (count == lanes && group_size >= Kernels::block && weights == count * group_size) {
      all = with_group_size<Scheme>(group_size, [&](std::size_t n) QLITE_LAMBDA { return Kernels::ranges(w, n); });
      if (QLITE_UNLIKELY(Kernels::any((all.high == -all.low) & 1)))
        for (std::size_t i = 0; i < lanes; ++i)
          all.negative_first[i] = -static_cast<std::int32_t>(negative_extreme_first(
              weight_group<T, Kernels>{w + i * group_size, 1, group_size, group_size}, all.low[i], all.high[i]));
      return all;
    }
  }
  float low[lanes] = {}, high[lanes] = {};
  std::int32_t negative_first[lanes] = {};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = min_of(group_size, weights - i * group_size);
    const weight_range<> range = with_group_size<Scheme>(size, [&](std::size_t n) QLITE_LAMBDA {
      return range_of(weight_group<T, Kernels>{w + i * group_size, 1, n, n});
    });
    low[i] = range.low;
    high[i] = range.high;
    negative_first[i] = range.negative_first;
  }
  std::memcpy(&all.low, low, sizeof low);
  std::memcpy(&all.high, high, sizeof high);
  std::memcpy(&all.negative_first, negative_first, sizeof negative_first);
  return all;
}

/// The same for `count` groups of row `r` from group `first` on, as many as a vector has lanes. False: a group has to
/// be looked at on its own.
template <class Kernels, class Scheme, class T, class Method>
QLITE_INLINE bool quantize_batch(matrix_view<const T> W, const Method& method, const quantized_target<Scheme>& q,
                                 std::size_t r, std::size_t first, std::size_t count) {
  using floats = typename Kernels::floats;
  constexpr std::size_t lanes = sizeof(floats) / sizeof(float);
  const std::size_t group_size = q.shape.group_size();
  const T* const w = W.row(r) + first * group_size;
  const std::size_t weights = min_of(count * group_size, W.cols() - first * group_size);
  const auto size = [&](std::size_t i) { return min_of(group_size, weights - i * group_size); };

  const weight_range<floats> ranges = ranges_of<Kernels, Scheme>(w, group_size, weights, count);
  const group_parameters<Scheme, floats> all = fit_ranges(method, q.shape.scheme(), ranges);
  if (QLITE_UNLIKELY(Kernels::any(all.fault))) return false;

  float scale[lanes], offset[lanes];
  std::int32_t zero[lanes], scale_bits[lanes], offset_bits[lanes];
  std::memcpy(scale, &all.scale, sizeof scale);
  std::memcpy(offset, &all.offset, sizeof offset);
  std::memcpy(zero, &all.zero, sizeof zero);
  std::memcpy(scale_bits, &all.scale_bits, sizeof scale_bits);
  std::memcpy(offset_bits, &all.offset_bits, sizeof offset_bits);
  std::uint8_t* const codes = q.codes + r * q.shape.code_row_bytes();
  const std::size_t ahead =
      fetch_distance((weights == W.cols() ? W.row_stride() : weights) * sizeof(T));    // a batch may be a whole row
  for (std::size_t i = 0; i < count; ++i) {
    group_parameters<Scheme> p;
    p.scale = scale[i];
    p.offset = offset[i];
    p.zero = zero[i];
    p.scale_bits = scale_bits[i];
    p.offset_bits = offset_bits[i];
    store_parameters(q, r, first + i, p);
    with_group_size<Scheme>(size(i), [&](std::size_t n) QLITE_LAMBDA {
      encode_group<Kernels, typename Method::round_type>(p, w + i * group_size, n, codes, (first + i) * group_size,
                                                         ahead);
    });
  }
  return true;
}

/// Quantizes rows [begin, end), every group with a scale of its own.
template <class Kernels, class Scheme, class T, class Method>
fault quantize_weight_rows(matrix_view<const T> W, const Method& method, const quantized_target<Scheme>& q,
                           std::size_t begin, std::size_t end) {
  using floats = typename Kernels::floats;
  constexpr bool batched = fits_ranges<Method, Scheme, floats>;
  constexpr std::size_t lanes = batched ? sizeof(floats) / sizeof(float) : 1;
  const std::size_t cols = W.cols(), groups = q.shape.groups(), group_size = q.shape.group_size();
  for (std::size_t r = begin; r < end; ++r)
    for (std::size_t first = 0; first < groups; first += lanes) {
      const std::size_t count = min_of(lanes, groups - first);
      if constexpr (batched)
        if (QLITE_LIKELY(quantize_batch<Kernels>(W, method, q, r, first, count))) continue;
      for (std::size_t g = first; g < first + count; ++g) {
        const std::size_t col = g * group_size, n = min_of(group_size, cols - col);
        group_parameters<Scheme> p;
        if (QLITE_UNLIKELY(!quantize_group<Kernels>(W, method, q, r, g, col, n, p)))
          return locate(p, weight_group<T, Kernels>{W.row(r) + col, 1, n, n}, r, col);
      }
    }
  return {};
}

/// Tasks of one call at most; each has a fault of its own to fill.
inline constexpr std::size_t max_tasks = 256;
/// Bytes of weights that are worth a task.
inline constexpr std::size_t task_grain = std::size_t{1} << 17;

/// Quantizes the whole matrix with a group-local method, rows spread over the executor's tasks.
template <class Kernels, class Scheme, class T, class Method, class Executor>
void quantize_groups(matrix_view<const T> W, const Method& method, const quantized_target<Scheme>& q,
                     const Executor& executor) {
  using traits = scheme_traits<Scheme>;
  using group = weight_group<T, Kernels>;
  if (W.empty()) {    // a tensor without rows has its one scale all the same
    const T nothing = element<T>::store(0.0f);
    const group_parameters<Scheme> p = fit_group(method, q.shape.scheme(), group{&nothing, 1, 1, 1});
    for (std::size_t r = 0; r < q.shape.scale_rows(); ++r)
      for (std::size_t g = 0; g < q.shape.groups(); ++g) store_parameters(q, r, g, p);
    return;
  }
  fault faults[max_tasks];
  std::size_t tasks = 1;
  group_parameters<Scheme> whole;
  if constexpr (traits::one_scale) {
    const group weights{W.data(), W.rows(), W.cols(), W.row_stride()};
    whole = fit_group(method, q.shape.scheme(), weights);
    if (whole.fault == 0)
      store_parameters(q, 0, 0, whole);
    else
      faults[0] = locate(whole, weights, 0, 0);
  }
  if (faults[0].kind == fault_kind::none) {
    tasks = min_of(max_tasks, task_count(executor, W.rows(), W.rows() * W.cols() * sizeof(T), task_grain));
    executor.parallel_for(tasks, [&](std::size_t i) {
      const slice rows = slice_of(W.rows(), tasks, i);
      if constexpr (traits::one_scale)
        for (std::size_t r = rows.begin; r < rows.end; ++r)
          encode_group<Kernels, typename Method::round_type>(whole, W.row(r), W.cols(),
                                                             q.codes + r * q.shape.code_row_bytes(), 0, 0);
      else
        faults[i] = quantize_weight_rows<Kernels>(W, method, q, rows.begin, rows.end);
    });
  }
  for (std::size_t i = 0; i < tasks; ++i)    // slices are in order of rows: the first fault of the matrix
    if (QLITE_UNLIKELY(faults[i].kind != fault_kind::none))
      fail_fault(faults[i], element<typename traits::scale>::name,
                 element<std::conditional_t<traits::has_offset, typename traits::offset_type, float>>::name);
}

template <class Kernels, class Scheme, class T, class Method, class Executor>
auto quantize_any(Scheme scheme, matrix_view<const T> W, const Method& method, const Executor& executor) {
  static_assert(is_element<T>, "qlite: W is a matrix of float, float16 or bfloat16");
  static_assert(is_whole_matrix<Method, Scheme, T, Executor> || is_group_local<Method, Scheme, T>,
                "qlite: not a method: it offers neither fit_group nor quantize_matrix (quantize/quantize.hpp)");
  check_matrix("W", W);
  check_use(method, W.cols());
  const canonical_layout<Scheme> shape{W.rows(), W.cols(), scheme};
  check_layout("W", shape);
  if constexpr (is_whole_matrix<Method, Scheme, T, Executor>) {
    return quantize_matrix(method, scheme, W, executor);
  } else {
    quantized_matrix<Scheme> q(shape);
    quantize_groups<Kernels>(W, method, quantized_target<Scheme>(q), executor);
    return q;
  }
}

}    // namespace impl

/// Quantizes W [N, K] (float, float16 or bfloat16) by `method`: codes and scales in the canonical form, the same bits
/// on every target, compiler and number of threads.
///
/// `executor` spreads the rows over its tasks. One pass over W; O(N K) for rtn.
/// Errors: a view that cannot be read; a weight that is NaN or infinite, or a scale or offset that overflows its type
/// (the message has the row and column).
template <class Scheme, class T, class Method, class Executor = serial>
[[nodiscard]] auto quantize(matrix_view<T> W, const Method& method, const Executor& executor = {}) {
  return impl::quantize_any<impl::kernels>(Scheme{}, matrix_view<const T>(W), method, executor);
}

/// The same for a scheme that carries its group size as a value: `scheme<int4, per_group<dynamic_extent>>{{48}}`.
template <class Scheme, class T, class Method, class Executor = serial>
[[nodiscard]] auto quantize(Scheme scheme, matrix_view<T> W, const Method& method, const Executor& executor = {}) {
  return impl::quantize_any<impl::kernels>(scheme, matrix_view<const T>(W), method, executor);
}

/// Quantizes W by a group-local method into memory that the caller owns. Allocates nothing.
/// Errors: as quantize; a destination of another shape, or whose arrays are null or misaligned.
template <class T, class Method, class Scheme, class Executor = serial>
void quantize_into(matrix_view<T> W, const Method& method, const quantized_target<Scheme>& q,
                   const Executor& executor = {}) {
  using element_type = std::remove_const_t<T>;
  static_assert(detail::is_element<element_type>, "qlite: W is a matrix of float, float16 or bfloat16");
  static_assert(impl::is_group_local<Method, Scheme, element_type>,
                "qlite: quantize_into takes a method that works group by group; quantize takes every method");
  impl::check_matrix("W", W);
  impl::check_use(method, W.cols());
  impl::check_quantized("destination", q.view());
  impl::check_equal("rows of the destination", q.shape.rows(), "rows of W", W.rows());
  impl::check_equal("columns of the destination", q.shape.cols(), "columns of W", W.cols());
  impl::quantize_groups<impl::kernels>(matrix_view<const element_type>(W), method, q, executor);
}

QLITE_END_FUNCTIONS
