// The canonical form of a quantized weight matrix: what a file holds, the same bytes on every backend.
//
//   codes        [rows, code_row_bytes]   row-major; int8: one byte each; int4: two a byte, low nibble first, rows
//                                         padded to a whole byte; fields hold code + 8 (symmetric) or the code; nf4
//                                         as int4, the code
//   scales       [scale_rows, groups]     of Scale
//   zero points  [scale_rows, groups]     asymmetric only; packed like the codes (int4: two a byte per row)
//   offsets      [scale_rows, groups]     offset<T> only, of T
//
// with groups = ceil(cols / group size) and scale_rows = rows (per_tensor: 1 and 1). Without columns there are no
// scales.
#pragma once

#include <qlite/core/buffer.hpp>
#include <qlite/core/check.hpp>
#include <qlite/core/scheme.hpp>

QLITE_BEGIN_NAMESPACE

/// Sizes of the canonical form of a rows x cols matrix. constexpr, exact.
template <class Scheme>
class canonical_layout {
 public:
  using traits = detail::scheme_traits<Scheme>;

  QLITE_INLINE constexpr canonical_layout() noexcept = default;
  QLITE_INLINE constexpr canonical_layout(std::size_t rows, std::size_t cols, Scheme scheme = {}) noexcept
      : scheme_(scheme), rows_(rows), cols_(cols) {}

  QLITE_INLINE constexpr Scheme scheme() const noexcept { return scheme_; }
  QLITE_INLINE constexpr std::size_t rows() const noexcept { return rows_; }
  QLITE_INLINE constexpr std::size_t cols() const noexcept { return cols_; }
  /// Weights of a row that share a scale; the last group may have fewer.
  QLITE_INLINE constexpr std::size_t group_size() const noexcept { return traits::group_size(scheme_, cols_); }
  QLITE_INLINE constexpr std::size_t groups() const noexcept {
    if constexpr (traits::grouped)
      return group_size() == 0 ? 0 : detail::ceil_div(cols_, group_size());
    else
      return cols_ == 0 ? 0 : 1;
  }
  QLITE_INLINE constexpr std::size_t scale_rows() const noexcept { return traits::one_scale ? 1 : rows_; }
  QLITE_INLINE constexpr std::size_t scale_count() const noexcept { return scale_rows() * groups(); }

  QLITE_INLINE constexpr std::size_t code_row_bytes() const noexcept {
    return traits::bits == 4 ? cols_ / 2 + cols_ % 2 : cols_;
  }
  QLITE_INLINE constexpr std::size_t zero_row_bytes() const noexcept {
    return !traits::has_zero_point ? 0 : traits::bits == 4 ? groups() / 2 + groups() % 2 : groups();
  }
  QLITE_INLINE constexpr std::size_t code_bytes() const noexcept { return rows_ * code_row_bytes(); }
  QLITE_INLINE constexpr std::size_t scale_bytes() const noexcept {
    return scale_count() * sizeof(typename traits::scale);
  }
  QLITE_INLINE constexpr std::size_t zero_bytes() const noexcept { return scale_rows() * zero_row_bytes(); }
  QLITE_INLINE constexpr std::size_t offset_bytes() const noexcept {
    if constexpr (traits::has_offset)
      return scale_count() * sizeof(typename traits::offset_type);
    else
      return 0;
  }
  /// Bytes of codes, scales, zero points and offsets together: what a file must hold.
  QLITE_INLINE constexpr std::size_t bytes() const noexcept {
    return code_bytes() + scale_bytes() + zero_bytes() + offset_bytes();
  }

 private:
  Scheme scheme_{};
  std::size_t rows_ = 0, cols_ = 0;
};

namespace detail {
/// The type behind `offsets()`; float where the scheme has none, so that the pointer has a type.
template <class Scheme>
using offset_storage =
    std::conditional_t<scheme_traits<Scheme>::has_offset, typename scheme_traits<Scheme>::offset_type, float>;
}    // namespace detail

/// A quantized matrix in somebody else's memory (a mapped file, an arena). Alignment: that of each array's elements.
/// `quantized_view::check` refuses null or misaligned arrays; every function that takes a view calls it.
template <class Scheme>
class quantized_view {
 public:
  using scheme_type = Scheme;
  using layout = canonical_layout<Scheme>;
  using traits = detail::scheme_traits<Scheme>;
  using scale_type = typename traits::scale;
  using offset_type = detail::offset_storage<Scheme>;

  QLITE_INLINE constexpr quantized_view() noexcept = default;
  QLITE_INLINE constexpr quantized_view(layout shape, const std::uint8_t* codes, const scale_type* scales,
                                        const std::uint8_t* zeros = nullptr,
                                        const offset_type* offsets = nullptr) noexcept
      : layout_(shape), codes_(codes), scales_(scales), zeros_(zeros), offsets_(offsets) {}

  QLITE_INLINE constexpr const layout& shape() const noexcept { return layout_; }
  QLITE_INLINE constexpr std::size_t rows() const noexcept { return layout_.rows(); }
  QLITE_INLINE constexpr std::size_t cols() const noexcept { return layout_.cols(); }
  QLITE_INLINE constexpr std::size_t groups() const noexcept { return layout_.groups(); }
  QLITE_INLINE constexpr std::size_t group_size() const noexcept { return layout_.group_size(); }
  QLITE_INLINE constexpr Scheme scheme() const noexcept { return layout_.scheme(); }
  QLITE_INLINE constexpr std::size_t bytes() const noexcept { return layout_.bytes(); }
  /// Stored bits per weight, everything counted; 0 for an empty matrix.
  QLITE_INLINE constexpr double bits_per_weight() const noexcept {
    const std::size_t weights = rows() * cols();
    return weights == 0 ? 0.0 : 8.0 * static_cast<double>(bytes()) / static_cast<double>(weights);
  }

  QLITE_INLINE constexpr const std::uint8_t* codes() const noexcept { return codes_; }
  QLITE_INLINE constexpr const scale_type* scales() const noexcept { return scales_; }
  QLITE_INLINE constexpr const std::uint8_t* zeros() const noexcept { return zeros_; }
  QLITE_INLINE constexpr const offset_type* offsets() const noexcept { return offsets_; }

  /// The code of weight (r, c), in the range of the scheme's codes.
  QLITE_INLINE constexpr int code(std::size_t r, std::size_t c) const noexcept {
    return field(codes_ + r * layout_.code_row_bytes(), c) - traits::stored_bias;
  }
  QLITE_INLINE float scale(std::size_t r, std::size_t group) const noexcept {
    return detail::element<scale_type>::load(scales_[scale_index(r, group)]);
  }
  /// The integer zero point; 0 where the scheme has none.
  QLITE_INLINE constexpr int zero_point(std::size_t r, std::size_t group) const noexcept {
    if constexpr (traits::has_zero_point)
      return field(zeros_ + (traits::one_scale ? 0 : r) * layout_.zero_row_bytes(), group);
    else
      return (static_cast<void>(r), static_cast<void>(group), 0);
  }
  /// The offset; 0 where the scheme has none.
  QLITE_INLINE float offset(std::size_t r, std::size_t group) const noexcept {
    if constexpr (traits::has_offset)
      return detail::element<offset_type>::load(offsets_[scale_index(r, group)]);
    else
      return (static_cast<void>(r), static_cast<void>(group), 0.0f);
  }

  QLITE_INLINE constexpr std::size_t scale_index(std::size_t r, std::size_t group) const noexcept {
    return (traits::one_scale ? 0 : r) * groups() + group;
  }

 private:
  /// Field i of a row of codes or zero points: a signed byte, or an unsigned nibble.
  QLITE_INLINE static constexpr int field(const std::uint8_t* row, std::size_t i) noexcept {
    if constexpr (traits::bits == 4)
      return (row[i / 2] >> (4 * (i % 2))) & 15;
    else
      return static_cast<std::int8_t>(row[i]);
  }

  layout layout_{};
  const std::uint8_t* codes_ = nullptr;
  const scale_type* scales_ = nullptr;
  const std::uint8_t* zeros_ = nullptr;
  const offset_type* offsets_ = nullptr;
};

/// A quantized matrix that owns its memory (one allocation, 64-byte aligned). Movable, not copyable.
template <class Scheme>
class quantized_matrix {
 public:
  using scheme_type = Scheme;
  using layout = canonical_layout<Scheme>;
  using view_type = quantized_view<Scheme>;
  using traits = detail::scheme_traits<Scheme>;
  using scale_type = typename traits::scale;
  using offset_type = detail::offset_storage<Scheme>;

  QLITE_INLINE quantized_matrix() noexcept = default;
  /// Allocates for a rows x cols matrix; the contents are indeterminate until written.
  QLITE_INLINE quantized_matrix(std::size_t rows, std::size_t cols, Scheme scheme = {})
      : quantized_matrix(layout{rows, cols, scheme}) {}
  QLITE_INLINE explicit quantized_matrix(layout shape) : layout_(shape), memory_(carve(nullptr).bytes()) {
    static_cast<void>(carve(memory_.data()));
  }
  QLITE_INLINE quantized_matrix(quantized_matrix&&) noexcept = default;
  QLITE_INLINE quantized_matrix& operator=(quantized_matrix&&) noexcept = default;
  QLITE_INLINE ~quantized_matrix() = default;

  QLITE_INLINE view_type view() const noexcept { return {layout_, codes_, scales_, zeros_, offsets_}; }
  QLITE_INLINE operator view_type() const noexcept { return view(); }    // NOLINT: implicit on purpose

  QLITE_INLINE const layout& shape() const noexcept { return layout_; }
  QLITE_INLINE std::size_t rows() const noexcept { return layout_.rows(); }
  QLITE_INLINE std::size_t cols() const noexcept { return layout_.cols(); }
  QLITE_INLINE std::size_t groups() const noexcept { return layout_.groups(); }
  QLITE_INLINE std::size_t group_size() const noexcept { return layout_.group_size(); }
  QLITE_INLINE Scheme scheme() const noexcept { return layout_.scheme(); }
  QLITE_INLINE std::size_t bytes() const noexcept { return layout_.bytes(); }
  QLITE_INLINE double bits_per_weight() const noexcept { return view().bits_per_weight(); }

  QLITE_INLINE std::uint8_t* codes() noexcept { return codes_; }
  QLITE_INLINE scale_type* scales() noexcept { return scales_; }
  QLITE_INLINE std::uint8_t* zeros() noexcept { return zeros_; }
  QLITE_INLINE offset_type* offsets() noexcept { return offsets_; }
  QLITE_INLINE const std::uint8_t* codes() const noexcept { return codes_; }
  QLITE_INLINE const scale_type* scales() const noexcept { return scales_; }
  QLITE_INLINE const std::uint8_t* zeros() const noexcept { return zeros_; }
  QLITE_INLINE const offset_type* offsets() const noexcept { return offsets_; }

  QLITE_INLINE int code(std::size_t r, std::size_t c) const noexcept { return view().code(r, c); }
  QLITE_INLINE float scale(std::size_t r, std::size_t group) const noexcept { return view().scale(r, group); }
  QLITE_INLINE int zero_point(std::size_t r, std::size_t group) const noexcept { return view().zero_point(r, group); }
  QLITE_INLINE float offset(std::size_t r, std::size_t group) const noexcept { return view().offset(r, group); }

 private:
  QLITE_INLINE detail::carver carve(void* data) noexcept {
    detail::carver memory(data);
    codes_ = memory.take<std::uint8_t>(layout_.code_bytes());
    scales_ = memory.take<scale_type>(layout_.scale_count());
    zeros_ = memory.take<std::uint8_t>(layout_.zero_bytes());
    offsets_ = memory.take<offset_type>(traits::has_offset ? layout_.scale_count() : 0);
    return memory;
  }

  layout layout_{};
  detail::buffer memory_;
  std::uint8_t* codes_ = nullptr;
  scale_type* scales_ = nullptr;
  std::uint8_t* zeros_ = nullptr;
  offset_type* offsets_ = nullptr;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Refuses a run-time group size of 0 and shapes beyond the address space.
template <class Scheme>
QLITE_INLINE void check_layout(const char* name, const canonical_layout<Scheme>& shape) {
  if (QLITE_UNLIKELY(shape.group_size() == 0))
    fail(
        "qlite: the group size of %s is 0, expected at least 1 (pass the scheme with its run-time size: "
        "quantize(scheme, W, method))",
        name);
  const std::size_t limit = ~std::size_t{0} / 16;    // 4 bytes a scale, groups of 1
  if (QLITE_UNLIKELY(shape.rows() != 0 && shape.cols() > limit / shape.rows()))
    fail("qlite: %s is %zu x %zu, which exceeds the address space", name, shape.rows(), shape.cols());
}

/// Refuses null or misaligned arrays, zero points or offsets that the scheme needs and the view lacks.
template <class Scheme>
QLITE_INLINE void check_quantized(const char* name, const quantized_view<Scheme>& q) {
  using traits = scheme_traits<Scheme>;
  check_layout(name, q.shape());
  if (QLITE_UNLIKELY(q.shape().code_bytes() != 0 && q.codes() == nullptr))
    fail("qlite: the codes of %s are null, expected %zu bytes", name, q.shape().code_bytes());
  check_array("scales", q.scales(), q.shape().scale_count());
  if constexpr (traits::has_zero_point) check_array("zero points", q.zeros(), q.shape().zero_bytes());
  if constexpr (traits::has_offset) check_array("offsets", q.offsets(), q.shape().scale_count());
}

}    // namespace impl
QLITE_END_FUNCTIONS
