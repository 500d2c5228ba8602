// The message of a refusal, for tests of what is refused and why.
#pragma once

#include <stdexcept>
#include <string>

namespace qlite_test {

// What std::invalid_argument says when f() throws it; empty if f() returns.
template <class F>
std::string refusal_of(F&& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

}    // namespace qlite_test
