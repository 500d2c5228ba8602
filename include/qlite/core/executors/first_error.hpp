// What every executor does with an exception: all tasks of the call end, then the first one caught goes to the caller.
#pragma once

#include <qlite/core/config.hpp>

#if !defined(QLITE_NO_EXCEPTIONS)
#include <exception>
#endif

QLITE_BEGIN_FUNCTIONS
namespace impl {

#if defined(QLITE_NO_EXCEPTIONS)

class first_error {
 public:
  template <class F>
  QLITE_INLINE void run(F& f, std::size_t i) {
    f(i);
  }
  QLITE_INLINE void rethrow() const noexcept {}
};

#else

/// Keeps the first exception of several tasks. `rethrow` comes after all of them have ended.
///
/// std::exception_ptr has inline members, which unoptimized objects share (core/config.hpp); they only count
/// references.
class first_error {
 public:
  template <class F>
  QLITE_INLINE void run(F& f, std::size_t i) noexcept {
    try {
      f(i);
    } catch (...) {
      if (!__atomic_exchange_n(&caught_, true, __ATOMIC_RELAXED)) error_ = std::current_exception();
    }
  }
  QLITE_INLINE void rethrow() const {
    if (QLITE_UNLIKELY(error_ != nullptr)) std::rethrow_exception(error_);
  }

 private:
  bool caught_ = false;    // a std::atomic_flag would bring shared symbols (core/config.hpp)
  std::exception_ptr error_;
};

#endif

}    // namespace impl
QLITE_END_FUNCTIONS
