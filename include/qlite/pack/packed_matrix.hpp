// The packed form: what the kernels of one backend read. A type of its own, so that it cannot be taken for the
// canonical form. pack/layout.hpp draws the bytes.
#pragma once

#include <qlite/pack/layout.hpp>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// A packed matrix without its scheme: bytes and numbers.
struct packed_data {
  const std::byte* data = nullptr;
  strip_shape shape;

  QLITE_INLINE packed_data() noexcept = default;
  QLITE_INLINE packed_data(const std::byte* bytes, const strip_shape& strips) noexcept : data(bytes), shape(strips) {}
};

}    // namespace detail

/// Packed weights in memory of the caller (an arena, a mapped file). Alignment: 4 bytes; 64 is fast.
template <class Scheme, class Backend>
class packed_view {
 public:
  using scheme_type = Scheme;
  using backend_type = Backend;

  QLITE_INLINE packed_view() noexcept = default;
  QLITE_INLINE packed_view(detail::packed_data data, Scheme scheme) noexcept : data_(data), scheme_(scheme) {}

  QLITE_INLINE std::size_t rows() const noexcept { return data_.shape.rows; }
  QLITE_INLINE std::size_t cols() const noexcept { return data_.shape.cols; }
  QLITE_INLINE std::size_t group_size() const noexcept { return data_.shape.group; }
  QLITE_INLINE Scheme scheme() const noexcept { return scheme_; }
  /// Bytes that a product reads, padding included.
  QLITE_INLINE std::size_t bytes() const noexcept { return data_.shape.bytes(); }
  QLITE_INLINE const std::byte* data() const noexcept { return data_.data; }
  QLITE_INLINE const detail::packed_data& raw() const noexcept { return data_; }

 private:
  detail::packed_data data_;
  Scheme scheme_{};
};

/// Packed weights that own their memory: 64-byte aligned, on huge pages where large. Movable, not copyable;
/// one that was moved from is 0 x 0.
template <class Scheme, class Backend>
class packed_matrix {
 public:
  using scheme_type = Scheme;
  using backend_type = Backend;
  using view_type = packed_view<Scheme, Backend>;

  QLITE_INLINE packed_matrix() noexcept = default;
  QLITE_INLINE packed_matrix(detail::buffer memory, const detail::strip_shape& shape, Scheme scheme) noexcept
      : memory_(static_cast<detail::buffer&&>(memory)), view_({memory_.data(), shape}, scheme) {}
  QLITE_INLINE packed_matrix(packed_matrix&& other) noexcept
      : memory_(static_cast<detail::buffer&&>(other.memory_)), view_(other.view_) {
    other.view_ = view_type{};
  }
  QLITE_INLINE packed_matrix& operator=(packed_matrix&& other) noexcept {
    memory_ = static_cast<detail::buffer&&>(other.memory_);    // swaps
    view_ = other.view_;
    other.view_ = view_type{};
    return *this;
  }
  QLITE_INLINE ~packed_matrix() = default;

  QLITE_INLINE view_type view() const noexcept { return view_; }
  QLITE_INLINE operator view_type() const noexcept { return view_; }    // NOLINT: implicit on purpose
  QLITE_INLINE std::size_t rows() const noexcept { return view_.rows(); }
  QLITE_INLINE std::size_t cols() const noexcept { return view_.cols(); }
  QLITE_INLINE std::size_t group_size() const noexcept { return view_.group_size(); }
  QLITE_INLINE Scheme scheme() const noexcept { return view_.scheme(); }
  QLITE_INLINE std::size_t bytes() const noexcept { return view_.bytes(); }
  QLITE_INLINE const std::byte* data() const noexcept { return view_.data(); }
  QLITE_INLINE const detail::packed_data& raw() const noexcept { return view_.raw(); }

  /// Gives the memory away; the matrix is empty afterwards.
  QLITE_INLINE detail::buffer release() noexcept {
    detail::buffer memory(static_cast<detail::buffer&&>(memory_));
    view_ = view_type{};
    return memory;
  }

 private:
  detail::buffer memory_;
  view_type view_;
};

QLITE_END_NAMESPACE
