// Memory the library owns: aligned for the widest vector, on huge pages where it is large, and the scratch that callers
// lend to gemm.
#pragma once

#include <qlite/core/bits.hpp>

#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

QLITE_BEGIN_NAMESPACE

/// Scratch memory lent to a call. Any alignment; the size to lend is what gemm_workspace_bytes says.
struct workspace {
  void* data = nullptr;
  std::size_t size = 0;
};

namespace detail {

inline constexpr std::size_t cache_line = 64;
inline constexpr std::size_t huge_page = std::size_t{2} << 20;

/// Owning, uninitialized, movable bytes, aligned to 64 bytes. From 4 MiB on they are aligned to 2 MiB and Linux is
/// asked for huge pages: with 4 KiB pages a stream from DRAM loses up to half of its bandwidth to page walks.
class buffer {
 public:
  QLITE_INLINE buffer() noexcept = default;
  QLITE_INLINE explicit buffer(std::size_t size) : size_(size) {
    if (size == 0) return;
    data_ = static_cast<std::byte*>(::operator new (size, std::align_val_t{alignment()}));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment() == huge_page) static_cast<void>(::madvise(data_, size, MADV_HUGEPAGE));    // advice: may be ignored
#endif
  }
  QLITE_INLINE buffer(buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  QLITE_INLINE buffer& operator=(buffer&& other) noexcept {
    std::byte* const data = data_;
    const std::size_t size = size_;
    data_ = other.data_;
    size_ = other.size_;
    other.data_ = data;
    other.size_ = size;
    return *this;
  }
  QLITE_INLINE ~buffer() {
    if (data_ != nullptr) ::operator delete (data_, std::align_val_t{alignment()});
  }

  QLITE_INLINE std::byte* data() const noexcept { return data_; }
  QLITE_INLINE std::size_t size() const noexcept { return size_; }

 private:
  QLITE_INLINE std::size_t alignment() const noexcept { return size_ >= 2 * huge_page ? huge_page : cache_line; }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Hands out 64-byte aligned pieces of a block of memory, or only counts them when it has none: the same code that
/// carves a workspace says how large it must be.
class carver {
 public:
  QLITE_INLINE carver() noexcept = default;
  QLITE_INLINE explicit carver(void* data) noexcept
      : base_(static_cast<std::byte*>(data)),
        shift_((cache_line - reinterpret_cast<std::uintptr_t>(data) % cache_line) % cache_line) {}

  template <class T>
  QLITE_INLINE T* take(std::size_t count) noexcept {
    const std::size_t at = used_;
    used_ += round_up(count * sizeof(T), cache_line);
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + shift_ + at);
  }

  /// Bytes that a workspace of any alignment needs for everything taken so far.
  QLITE_INLINE std::size_t bytes() const noexcept { return used_ == 0 ? 0 : used_ + cache_line - 1; }

 private:
  std::byte* base_ = nullptr;
  std::size_t shift_ = 0, used_ = 0;
};

}    // namespace detail
QLITE_END_NAMESPACE
