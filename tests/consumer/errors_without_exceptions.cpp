// Built with -fno-exceptions -fno-rtti: wrong arguments reach the handler, which must not return.
#include <qlite/gemm.hpp>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

namespace ql = qlite;

static std::jmp_buf back;
static char last_message[512];

static void remember(const char* message) {
  std::strncpy(last_message, message, sizeof last_message - 1);
  std::longjmp(back, 1);
}

// Whether f reaches the handler with a message that has both parts.
template <class F>
static bool refuses(F f, const char* a, const char* b) {
  last_message[0] = '\0';
  if (setjmp(back) == 0) {
    f();
    std::puts("not refused");
    return false;
  }
  std::puts(last_message);
  return std::strstr(last_message, a) != nullptr && std::strstr(last_message, b) != nullptr;
}

int main() {
  ql::set_error_handler(remember);
  static std::vector<float> w(4 * 64, 1.0f), x(64, 1.0f), y(4);
  static const auto packed = ql::pack<ql::cpu::native>(
      ql::quantize<ql::scheme<ql::int4, ql::per_group<32>>>(ql::matrix_view<const float>{w.data(), 4, 64}, ql::rtn{}));
  static const ql::matrix_view<const float> X{x.data(), 1, 64};
  static const ql::matrix_view<float> Y{y.data(), 1, 4};

  bool ok = refuses([] { ql::gemm(X, packed, ql::matrix_view<float>{y.data(), 1, 3}); }, "columns of Y", "expected 4");
  ok = refuses([] { ql::gemm(ql::fixed<ql::int8>(X, 0.0f), packed, Y); }, "fixed activations", "positive") && ok;
  ok = refuses([] { ql::gemm(X, ql::any_packed<ql::cpu::native>{}, Y); }, "any_packed", "empty") && ok;
  ok = refuses(
           [] { ql::gemm(ql::dynamic<ql::int8>(X), packed, Y, ql::epilogue::none{}, ql::serial{}, ql::workspace{}); },
           "workspace", "expected at least") &&
       ok;
  ql::gemm(ql::dynamic<ql::int8>(X), packed, Y);    // and what is right still works
  return ok && y[0] > 63.0f && y[0] < 65.0f ? 0 : 1;
}
