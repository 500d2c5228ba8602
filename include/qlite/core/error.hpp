// One policy for bad input: a message with the name, the value and what was expected, thrown as std::invalid_argument,
// or given to a handler where there are no exceptions. Checks are O(1) and always on.
#pragma once

#include <qlite/core/config.hpp>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#if !defined(QLITE_NO_EXCEPTIONS)
#include <stdexcept>
#endif

QLITE_BEGIN_NAMESPACE

/// Receives the message of an error in builds without exceptions. It must not return.
using error_handler = void (*)(const char* message);

namespace detail {
/// The one shared global of the library.
inline error_handler current_error_handler = nullptr;
}    // namespace detail

/// Sets the handler called instead of throwing in translation units compiled with QLITE_NO_EXCEPTIONS (which
/// -fno-exceptions implies). Without one, the message goes to stderr and the program ends. Set it before threads start.
QLITE_INLINE void set_error_handler(error_handler handler) noexcept { detail::current_error_handler = handler; }

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Ends the call with a printf-formatted message.
[[noreturn]] QLITE_COLD inline __attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
  char message[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
#if defined(QLITE_NO_EXCEPTIONS)
  if (current_error_handler != nullptr) current_error_handler(message);
  std::fprintf(stderr, "%s\n", message);
  std::abort();
#else
  throw std::invalid_argument(message);
#endif
}

}    // namespace impl
QLITE_END_FUNCTIONS
