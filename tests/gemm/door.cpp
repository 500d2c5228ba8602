// Wrong arguments are refused by name, value and expectation, before anything is computed or written.
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "gemm/matrices.hpp"

namespace ql = qlite;
namespace epilogue = qlite::epilogue;
using namespace qlite_test;
using backend = ql::cpu::scalar;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;
using w8 = ql::scheme<ql::int8, ql::per_channel>;
using ql::matrix_view;

// The message of the error that f throws; empty if it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

static bool has_all(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) return false;
  return true;
}

// f is refused with a message that has all these parts.
#define REFUSES(f, ...)                                 \
  do {                                                  \
    const std::string message = message_of([&] { f; }); \
    INFO("message: " << message);                       \
    CHECK(has_all(message, {"qlite: ", __VA_ARGS__}));  \
  } while (false)

struct layer {
  static constexpr std::size_t m = 3, n = 20, k = 64;
  random_source random{1};
  ql::quantized_matrix<w4> q = random_quantized<w4>(random, n, k, {});
  ql::packed_matrix<w4, backend> packed = ql::pack<backend>(q);
  std::vector<float> x = random.normal_vector(m * k), y = std::vector<float>(m * n, 77.0f);
  matrix_view<const float> X{x.data(), m, k};
  matrix_view<float> Y{y.data(), m, n};

  bool untouched() const {
    for (const float v : y)
      if (v != 77.0f) return false;
    return true;
  }
};

TEST_CASE_METHOD(layer, "X is refused by name") {
  const auto refused = [&](matrix_view<const float> bad, std::initializer_list<const char*> parts) {
    for (const std::string& message :
         {message_of([&] { ql::gemm(bad, packed, Y); }),
          message_of([&] { ql::gemm(ql::dynamic<ql::int8>(bad), packed, Y); }),
          message_of([&] { ql::gemm(ql::dynamic<ql::int8, ql::per_tensor>(bad), packed, Y); }),
          message_of([&] { ql::gemm(ql::fixed<ql::int8>(bad, 1.0f), packed, Y); }), message_of([&] {
            std::vector<std::byte> memory(100000);
            (void)ql::quantize_activations(ql::dynamic<ql::int8>(bad), packed, {memory.data(), memory.size()});
          })}) {
      INFO("message: " << message);
      CHECK(has_all(message, parts));
      CHECK(has_all(message, {"qlite: ", "X"}));
    }
  };
  const auto* const odd = reinterpret_cast<const float*>(reinterpret_cast<const char*>(x.data()) + 2);
  refused({nullptr, m, k}, {"null", "3 x 64"});
  refused({odd, m, k}, {"address", "multiple of 4"});
  refused({x.data(), m, k, k - 1}, {"row_stride 63", "64 columns"});
  refused({x.data(), m, k, std::size_t{1} << 62}, {"row_stride", "address space"});
  refused({x.data(), m, k - 1}, {"63", "64", "columns of W"});
  CHECK(untouched());
  ql::gemm(matrix_view<const float>{x.data(), 1, k, 0}, packed, matrix_view<float>{y.data(), 1, n, 0});
  CHECK_FALSE(untouched());    // the stride of a single row does not matter
}

TEST_CASE_METHOD(layer, "Y is refused by name") {
  auto* const odd = reinterpret_cast<float*>(reinterpret_cast<char*>(y.data()) + 1);
  REFUSES(ql::gemm(X, packed, (matrix_view<float>{nullptr, m, n})), "Y", "null");
  REFUSES(ql::gemm(X, packed, (matrix_view<float>{odd, m, n})), "Y", "address", "multiple of 4");
  REFUSES(ql::gemm(X, packed, (matrix_view<float>{y.data(), m, n, 19})), "Y", "row_stride 19", "20");
  REFUSES(ql::gemm(X, packed, (matrix_view<float>{y.data(), m, n - 1})), "columns of Y", "19", "20", "rows of W");
  REFUSES(ql::gemm(X, packed, (matrix_view<float>{y.data(), m - 1, n})), "rows of Y", "2", "3", "rows of X");
  REFUSES(ql::gemm(ql::dynamic<ql::int8>(X), packed, (matrix_view<float>{y.data(), m + 1, n})), "rows of Y", "4", "3");
  CHECK(untouched());
}

TEST_CASE_METHOD(layer, "the operands of epilogues are refused by name") {
  const std::vector<float> b(n, 1.0f), other(m * n, 1.0f);
  const auto* const odd = reinterpret_cast<const float*>(reinterpret_cast<const char*>(b.data()) + 2);
  REFUSES(ql::gemm(X, packed, Y, (epilogue::bias{b.data(), n - 1})), "epilogue::bias", "19", "20");
  REFUSES(ql::gemm(X, packed, Y, (epilogue::bias<float>{nullptr, n})), "epilogue::bias", "null", "20");
  REFUSES(ql::gemm(X, packed, Y, (epilogue::bias{odd, n})), "epilogue::bias", "multiple of 4");
  const matrix_view<const float> wide{other.data(), m - 1, n + 1}, null{nullptr, m, n}, narrow{other.data(), m, n, 3};
  REFUSES(ql::gemm(X, packed, Y, epilogue::residual{wide}), "epilogue::residual", "2 x 21", "3 x 20");
  REFUSES(ql::gemm(X, packed, Y, epilogue::residual{null}), "epilogue::residual", "null", "3 x 20");
  REFUSES(ql::gemm(X, packed, Y, epilogue::multiply{wide}), "epilogue::multiply", "2 x 21", "3 x 20");
  REFUSES(ql::gemm(X, packed, Y, epilogue::multiply{narrow}), "epilogue::multiply", "row_stride 3", "20");
  // in the middle of a chain
  REFUSES(ql::gemm(ql::dynamic<ql::int8>(X), packed, Y,
                   epilogue::chain(epilogue::relu{}, epilogue::residual{wide}, epilogue::silu{})),
          "epilogue::residual", "2 x 21");
  CHECK(untouched());
}

TEST_CASE_METHOD(layer, "the scale of fixed activations is refused by value") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  REFUSES(ql::gemm(ql::fixed<ql::int8>(X, 0.0f), packed, Y), "scale of fixed activations", "is 0,", "positive");
  REFUSES(ql::gemm(ql::fixed<ql::int8>(X, -1.5f), packed, Y), "scale of fixed activations", "-1.5", "positive");
  REFUSES(ql::gemm(ql::fixed<ql::int8>(X, NAN), packed, Y), "scale of fixed activations", "nan", "positive");
  REFUSES(ql::gemm(ql::fixed<ql::int8>(X, infinity), packed, Y), "scale of fixed activations", "inf", "positive");
  REFUSES(ql::gemm(ql::fixed<ql::int8>(X, 1e-45f), packed, Y), "scale of fixed activations", "e-45", "finite inverse");
  CHECK(untouched());
}

TEST_CASE_METHOD(layer, "quantized activations fit the weights they were made for") {
  const auto other = ql::pack<backend>(random_quantized<ql::scheme<ql::int4, ql::per_group<16>>>(random, n, k, {}));
  const auto channel = ql::pack<backend>(random_quantized<w8>(random, n, k, {}));
  const auto longer = ql::pack<backend>(random_quantized<w4>(random, n, 2 * k, {}));
  const auto form = ql::dynamic<ql::int8>(X);
  std::vector<std::byte> memory(ql::quantized_activations_bytes(form, packed)), more(100000);
  const ql::workspace exact{memory.data(), memory.size()};

  REFUSES((void)ql::quantize_activations(form, packed, (ql::workspace{memory.data(), memory.size() - 1})),
          "quantized activations", std::to_string(memory.size()).c_str(), std::to_string(memory.size() - 1).c_str());
  REFUSES((void)ql::quantize_activations(form, packed, (ql::workspace{nullptr, memory.size()})),
          "quantized activations");

  const auto groups = ql::quantize_activations(form, packed, exact);
  REFUSES(ql::gemm(groups, other, Y), "group size of the quantized X", "32", "16");
  REFUSES(ql::gemm(groups, channel, Y), "group size of the quantized X", "32", "64");
  REFUSES(ql::gemm(groups, ql::any_packed<backend>(ql::pack<backend>(random_quantized<w8>(random, n, k, {}))), Y),
          "group size of the quantized X", "32", "64");
  REFUSES(ql::gemm(groups, longer, Y), "columns of X", "64", "128");
  REFUSES(ql::gemm(groups, packed, (matrix_view<float>{y.data(), m - 1, n})), "rows of Y", "2", "3");

  const auto whole =
      ql::quantize_activations(ql::dynamic<ql::int8, ql::per_token>(X), channel, {more.data(), more.size()});
  REFUSES(ql::gemm(whole, packed, Y), "group size of the quantized X", "64", "32");
  CHECK(untouched());
}

TEST_CASE_METHOD(layer, "a workspace that is too small is refused by its size") {
  const auto form = ql::dynamic<ql::int8>(X);
  const std::size_t bytes = ql::gemm_workspace_bytes(form, packed);
  REQUIRE(bytes > 0);
  std::vector<std::byte> memory(bytes);
  const auto with = [&](void* data, std::size_t size) {
    ql::gemm(form, packed, Y, epilogue::none{}, ql::serial{}, ql::workspace{data, size});
  };
  REFUSES(with(memory.data(), bytes - 1), "workspace", std::to_string(bytes - 1).c_str(),
          std::to_string(bytes).c_str());
  REFUSES(with(nullptr, bytes), "workspace", std::to_string(bytes).c_str());
  REFUSES(with(nullptr, 0), "workspace is 0 bytes", std::to_string(bytes).c_str());
  CHECK(untouched());
  with(memory.data(), bytes);
  CHECK_FALSE(untouched());
}

TEST_CASE_METHOD(layer, "an empty any_packed is refused, also where nothing would be computed") {
  const ql::any_packed<backend> empty;
  const matrix_view<const float> nothing{x.data(), m, 0};
  const matrix_view<float> no_result{y.data(), m, 0};
  REFUSES(ql::gemm(X, empty, Y), "any_packed", "empty");
  REFUSES(ql::gemm(nothing, empty, no_result), "any_packed", "empty");
  REFUSES(ql::gemm(ql::dynamic<ql::int8>(nothing), empty, no_result), "any_packed", "empty");
  REFUSES((void)ql::gemm_workspace_bytes(ql::dynamic<ql::int8>(X), empty), "any_packed", "empty");
  ql::any_packed<backend> full = ql::pack<backend>(q);
  const ql::any_packed<backend> taken = std::move(full);
  REFUSES(ql::gemm(X, full, Y), "any_packed", "empty");    // NOLINT: what is left is defined
  CHECK(untouched());
}

TEST_CASE_METHOD(layer, "pack refuses what it cannot read or write") {
  const std::size_t bytes = ql::packed_bytes<w4, backend>(n, k);
  std::vector<std::uint32_t> memory(bytes / 4 + 1, 0x5a5a5a5au);
  auto* const odd = reinterpret_cast<char*>(memory.data()) + 2;
  const std::string size = std::to_string(bytes), less = std::to_string(bytes - 1);
  REFUSES((void)ql::pack<backend>(q.view(), memory.data(), bytes - 1), "memory", size.c_str(), less.c_str());
  REFUSES((void)ql::pack<backend>(q.view(), nullptr, bytes), "memory", "null");
  REFUSES((void)ql::pack<backend>(q.view(), odd, bytes), "memory", "multiple of 4");

  const auto& shape = q.shape();
  REFUSES((void)ql::pack<backend>(ql::quantized_view<w4>{shape, nullptr, q.scales()}), "codes of q", "null");
  REFUSES((void)ql::pack<backend>(ql::quantized_view<w4>{shape, q.codes(), nullptr}), "scales", "null");
  using asymmetric = ql::scheme<ql::int4, ql::per_group<32>, ql::asymmetric>;
  REFUSES((void)ql::pack<backend>(ql::quantized_view<asymmetric>{{n, k}, q.codes(), q.scales()}), "zero points",
          "null");
  using offsets = ql::scheme<ql::int4, ql::per_group<32>, ql::offset<float>>;
  REFUSES((void)ql::pack<backend>(ql::quantized_view<offsets>{{n, k}, q.codes(), q.scales()}), "offsets", "null");
  using any_group = ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>>;
  REFUSES((void)(ql::packed_bytes<any_group, backend>(n, k)), "group size", "is 0");
  for (const std::uint32_t word : memory) REQUIRE(word == 0x5a5a5a5au);
}

TEST_CASE("a packed matrix that is empty, or was moved from, is 0 x 0 for every form of X") {
  ql::packed_matrix<w4, backend> moved = ql::pack<backend>(ql::quantized_matrix<w4>(20, 64));
  const ql::packed_matrix<w4, backend> taken = std::move(moved);
  const ql::packed_matrix<w4, backend> empty;
  for (const auto* packed : {&empty, static_cast<const ql::packed_matrix<w4, backend>*>(&moved)}) {
    const matrix_view<const float> X{nullptr, 5, 0};
    const matrix_view<float> Y{nullptr, 5, 0};
    CHECK(ql::gemm_workspace_bytes(X, *packed) == 0);
    CHECK_NOTHROW(ql::gemm(X, *packed, Y));
    CHECK_NOTHROW(ql::gemm(ql::dynamic<ql::int8>(X), *packed, Y));
  }
}

// A pool that counts its workers, and has none.
struct no_workers {
  std::size_t concurrency() const { return 0; }
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    for (std::size_t i = 0; i < tasks; ++i) f(i);
  }
};

TEST_CASE_METHOD(layer, "an executor without concurrency still computes everything") {
  std::vector<float> expected(m * n);
  const matrix_view<float> E{expected.data(), m, n};
  ql::gemm(ql::dynamic<ql::int8>(X), packed, E);
  ql::gemm(ql::dynamic<ql::int8>(X), packed, Y, epilogue::none{}, no_workers{});
  CHECK(y == expected);
  ql::gemm(X, packed, E);
  ql::gemm(X, packed, Y, epilogue::none{}, no_workers{});
  CHECK(y == expected);
}

TEST_CASE("rows without columns may have any stride") {
  const ql::packed_matrix<w4, backend> packed = ql::pack<backend>(ql::quantized_matrix<w4>(4, 0));
  const matrix_view<const float> X{nullptr, 3, 0, 7};
  std::vector<float> y(12);
  const auto cleared = [&](const auto& form) {
    y.assign(12, 77.0f);
    ql::gemm(form, packed, matrix_view<float>{y.data(), 3, 4});
    return y == std::vector<float>(12, 0.0f);
  };
  CHECK(cleared(X));
  CHECK(cleared(ql::dynamic<ql::int8>(X)));
  CHECK(cleared(ql::dynamic<ql::int8, ql::per_token>(X)));
  CHECK(cleared(ql::dynamic<ql::int8, ql::per_tensor>(X)));
}
