// Large arrays: 64-byte aligned, on huge pages where Linux has some (with 4 KiB pages, reading weights from DRAM
// spends much of its time on page walks), not initialized.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace llm {

template <class T>
class array {
 public:
  array() = default;
  explicit array(std::size_t count) : count_(count) {
    constexpr std::size_t huge = std::size_t{2} << 20;
    const std::size_t alignment = count * sizeof(T) >= 2 * huge ? huge : 64;
    const std::size_t bytes = (count * sizeof(T) + alignment - 1) / alignment * alignment;
    if (bytes == 0) return;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (alignment == huge) madvise(data_.get(), bytes, MADV_HUGEPAGE);    // advice: may be ignored
#endif
  }

  T* data() const { return data_.get(); }
  std::size_t size() const { return count_; }

  /// Makes room for `count` elements; what was there is lost.
  void require(std::size_t count) {
    if (count > count_) *this = array(count);
  }

 private:
  struct release {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], release> data_;
  std::size_t count_ = 0;
};

}    // namespace llm
