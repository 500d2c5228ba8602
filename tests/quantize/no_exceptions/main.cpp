// Quantizing without exceptions and run-time type information: a refusal goes to the handler, on the calling thread,
// and everything else is as usual.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <qlite/quantize.hpp>
#include <vector>

namespace ql = qlite;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;

int main() {
  std::vector<float> w(4 * 64, 0.75f), out(4 * 64);
  const ql::matrix_view<float> W{w.data(), 4, 64};
  const auto q = ql::quantize<w4>(W, ql::rtn{});
  ql::dequantize(q, ql::matrix_view<float>{out.data(), 4, 64});
  if (out != w || ql::quantize<w4>(W, ql::mse_clip{}).scale(3, 1) == 0.0f) return 1;

  ql::set_error_handler([](const char* message) {    // must not return
    std::puts(message);
    const bool named = std::strstr(message, "nan") != nullptr && std::strstr(message, "row 2, column 9") != nullptr;
    std::exit(named ? 0 : 2);
  });
  w[2 * 64 + 9] = std::numeric_limits<float>::quiet_NaN();
  static_cast<void>(ql::quantize<w4>(W, ql::rtn{}));
  return 3;
}
