// Packed weights whose scheme is a value: for models whose layers differ.
#pragma once

#include <qlite/core/scheme_info.hpp>
#include <qlite/gemm/kernel_set.hpp>
#include <qlite/pack/pack.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Every kernel that a product with one kind of weights may ask for; null where there is none.
struct any_kernels {
  bool grouped;
  const integer_kernels* integer_groups;
  const integer_kernels* integer_token;
  const float_kernels* floating;
  const float_kernels* bfloat16;    // the same for X of bfloat16
};

/// Codes that stand for whole numbers can be multiplied as integers.
template <class Scheme, class Backend, scale_kind Scales>
QLITE_INLINE constexpr const integer_kernels* integer_kernels_if() noexcept {
  if constexpr (!scheme_traits<Scheme>::is_integer)
    return nullptr;
  else
    return &integer_kernels_of<Backend, format_of<Scheme, Backend>, Scales>;
}

template <class Scheme, class Backend>
inline constexpr any_kernels any_kernels_of = {
    scheme_traits<Scheme>::grouped,
    integer_kernels_if<Scheme, Backend, scheme_traits<Scheme>::grouped ? scale_kind::groups : scale_kind::row>(),
    integer_kernels_if<Scheme, Backend, scheme_traits<Scheme>::grouped ? scale_kind::token : scale_kind::row>(),
    &float_kernels_of<Backend, format_of<Scheme, Backend>>, &bfloat16_kernels<Backend, format_of<Scheme, Backend>>()};

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// An owning packed matrix of any scheme for one backend; gemm takes it as it takes a packed_matrix.
/// Movable, not copyable; one that was moved from is empty, as one without arguments. A product with an empty one is an
/// error.
template <class Backend>
class any_packed {
 public:
  using backend_type = Backend;

  QLITE_INLINE any_packed() noexcept = default;
  template <class Scheme>
  QLITE_INLINE any_packed(packed_matrix<Scheme, Backend>&& packed) noexcept    // NOLINT: implicit on purpose
      : data_(packed.raw()),
        info_(info_of(packed.scheme())),
        name_(name<Scheme>()),
        kernels_(&impl::any_kernels_of<Scheme, Backend>) {
    memory_ = packed.release();
  }
  QLITE_INLINE any_packed(any_packed&& other) noexcept
      : memory_(static_cast<detail::buffer&&>(other.memory_)),
        data_(other.data_),
        info_(other.info_),
        name_(other.name_),
        kernels_(other.kernels_) {
    other.forget();
  }
  QLITE_INLINE any_packed& operator=(any_packed&& other) noexcept {
    memory_ = static_cast<detail::buffer&&>(other.memory_);    // swaps
    data_ = other.data_;
    info_ = other.info_;
    name_ = other.name_;
    kernels_ = other.kernels_;
    other.forget();
    return *this;
  }
  QLITE_INLINE ~any_packed() = default;

  QLITE_INLINE std::size_t rows() const noexcept { return data_.shape.rows; }
  QLITE_INLINE std::size_t cols() const noexcept { return data_.shape.cols; }
  QLITE_INLINE std::size_t group_size() const noexcept { return data_.shape.group; }
  QLITE_INLINE std::size_t bytes() const noexcept { return data_.shape.bytes(); }
  /// What the weights are, as data and by name.
  QLITE_INLINE scheme_info info() const noexcept { return info_; }
  QLITE_INLINE const char* scheme_name() const noexcept { return name_; }
  QLITE_INLINE const detail::packed_data& raw() const noexcept { return data_; }
  /// Kernels of the translation unit that packed the matrix, which has the instructions of the backend.
  QLITE_INLINE const void* kernels() const noexcept { return kernels_; }

 private:
  QLITE_INLINE void forget() noexcept {
    data_ = {};
    info_ = {};
    name_ = "";
    kernels_ = nullptr;
  }

  detail::buffer memory_;
  detail::packed_data data_;
  scheme_info info_;
  const char* name_ = "";
  const void* kernels_ = nullptr;
};

QLITE_END_NAMESPACE
