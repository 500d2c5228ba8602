// The error policy of translation units without exceptions. (This one has them, to come back out of the handler.)
#define QLITE_NO_EXCEPTIONS 1
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <qlite/core/check.hpp>
#include <qlite/core/scheme_info.hpp>
#include <string>

#include "support/catch.hpp"

namespace {

struct handled {
  std::string message;
};

template <class F>
std::string message_of(F&& f) {
  qlite::set_error_handler([](const char* message) { throw handled{message}; });
  std::string message;
  try {
    f();
  } catch (const handled& h) {
    message = h.message;
  }
  qlite::set_error_handler(nullptr);
  return message;
}

}    // namespace

TEST_CASE("without exceptions the handler gets the message") {
  CHECK(message_of([] { qlite::impl::fail("qlite: %s is %d", "bits", 5); }) == "qlite: bits is 5");
  CHECK_THAT(message_of([] {
               qlite::impl::check_matrix("X", qlite::matrix_view<const float>{nullptr, 1, 64});
             }),
             ContainsSubstring("X is null"));
  qlite::scheme_info odd;
  odd.bits = 5;
  CHECK_THAT(message_of([&] { qlite::visit_scheme(odd, [](auto) {}); }), ContainsSubstring("bits is 5"));
}

// The child's end and what it wrote to stderr.
static int end_of_child(void (*run)(), std::string& text) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::signal(SIGABRT, SIG_DFL);    // Catch2's handler would report a failed test
    run();
    ::_exit(0);
  }
  ::close(ends[1]);
  char bytes[256];
  for (ssize_t n; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;) text.append(bytes, static_cast<std::size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST_CASE("without a handler, or with one that returns, the message goes to stderr and the program aborts") {
  std::string text;
  int status = end_of_child([] { qlite::impl::fail("qlite: no handler"); }, text);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK_THAT(text, ContainsSubstring("qlite: no handler"));

  text.clear();
  status = end_of_child(
      [] {
        qlite::set_error_handler([](const char*) {});
        qlite::impl::fail("qlite: it returned");
      },
      text);
  CHECK(WIFSIGNALED(status));
  CHECK_THAT(text, ContainsSubstring("qlite: it returned"));
}
