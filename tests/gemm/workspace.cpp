// Scratch: none is hidden, what is asked for is enough, and it never shrinks as M grows.
//
// Backends: every
#include "gemm/executors.hpp"
#include "gemm/matrices.hpp"
#include "support/counted_allocations.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using ql::matrix_view;

// Says it has threads, and runs everything here.
struct pretended {
  std::size_t threads;
  std::size_t concurrency() const { return threads; }
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    for (std::size_t i = 0; i < tasks; ++i) f(i);
  }
};

using w4 = ql::scheme<ql::int4, ql::per_group<32>>;
using w8 = ql::scheme<ql::int8, ql::per_channel>;

template <class Scheme>
ql::packed_matrix<Scheme, backend> weights(std::size_t n, std::size_t k) {
  random_source random(1);
  return ql::pack<backend>(random_quantized<Scheme>(random, n, k, {}));
}

TEST_CASE("gemm with a workspace allocates nothing") {
  const std::size_t n = 70, k = 200;
  const auto p4 = weights<w4>(n, k);
  const auto p8 = weights<w8>(n, k);
  const ql::any_packed<backend> any = weights<w4>(n, k);
  random_source random(2);
  const auto b = random.normal_vector(n);
  for (const std::size_t m : {1u, 7u, 60u, 150u}) {
    const auto x = random.normal_vector(m * k);
    std::vector<ql::bfloat16> x16(m * k);
    for (std::size_t i = 0; i < x.size(); ++i) x16[i] = ql::bfloat16::from_float(x[i]);
    std::vector<float> y(m * n);
    const matrix_view<const float> X{x.data(), m, k};
    const matrix_view<const ql::bfloat16> X16{x16.data(), m, k};
    const matrix_view<float> Y{y.data(), m, n};
    const auto e =
        ql::epilogue::chain(ql::epilogue::bias{b.data(), n}, ql::epilogue::gelu{}, ql::epilogue::residual{Y});
    for (const pretended executor : {pretended{1}, pretended{4}}) {
      const auto quiet = [&](const auto& form, const auto& packed) {
        std::vector<std::byte> memory(ql::gemm_workspace_bytes(form, packed, executor));
        const ql::workspace scratch{memory.data(), memory.size()};
        const long before = allocations;
        ql::gemm(form, packed, Y, e, executor, scratch);
        return allocations == before;
      };
      CHECK(quiet(X, p4));
      CHECK(quiet(X16, any));
      CHECK(quiet(X, any));
      CHECK(quiet(ql::dynamic<ql::int8>(X), p4));
      CHECK(quiet(ql::dynamic<ql::int8>(X16), p8));
      CHECK(quiet(ql::dynamic<ql::int8>(X), any));
      CHECK(quiet(ql::dynamic<ql::int8, ql::per_token>(X), any));
      CHECK(quiet(ql::dynamic<ql::int8, ql::per_tensor>(X), any));
      CHECK(quiet(ql::fixed<ql::int8>(X, 0.1f), any));

      const auto form = ql::dynamic<ql::int8>(X);
      std::vector<std::byte> memory(ql::quantized_activations_bytes(form, p4));
      const long before = allocations;
      const auto once = ql::quantize_activations(form, p4, ql::workspace{memory.data(), memory.size()}, executor);
      CHECK(allocations == before);
      CHECK(quiet(once, any));
    }
  }
}

// X is only asked for its shape.
template <class Packed, class F>
void check_monotone(const Packed& packed, F&& bytes) {
  static_cast<void>(packed);
  std::vector<std::size_t> threads;
  for (std::size_t c = 1; c <= 12; ++c) threads.push_back(c);
  threads.push_back(64);
  std::vector<std::size_t> before(threads.size(), 0);
  for (std::size_t m = 0; m <= 600; m += m < 300 ? 1 : 37) {
    std::size_t fewer_threads = 0;
    for (std::size_t i = 0; i < threads.size(); ++i) {
      const std::size_t need = bytes(m, pretended{threads[i]});
      if (need < before[i] || need < fewer_threads) {
        INFO("m " << m << ", concurrency " << threads[i] << ": " << need << " bytes, with fewer rows " << before[i]
                  << ", with fewer threads " << fewer_threads);
        REQUIRE(need >= before[i]);
        REQUIRE(need >= fewer_threads);
      }
      before[i] = fewer_threads = need;
    }
  }
}

template <class Scheme>
void check_monotone() {
  static const float x = 0;
  static const ql::float16 x16{};
  for (const std::size_t n : {1u, 16u, 40u, 97u, 1000u}) {
    for (const std::size_t k : {1u, 100u, 192u}) {
      INFO(ql::name<Scheme>() << ", n " << n << ", k " << k);
      const auto packed = weights<Scheme>(n, k);
      const auto view = [&](std::size_t m) { return matrix_view<const float>{&x, m, k}; };
      check_monotone(packed,
                     [&](std::size_t m, const pretended& e) { return ql::gemm_workspace_bytes(view(m), packed, e); });
      check_monotone(packed, [&](std::size_t m, const pretended& e) {
        return ql::gemm_workspace_bytes(matrix_view<const ql::float16>{&x16, m, k}, packed, e);
      });
      check_monotone(packed, [&](std::size_t m, const pretended& e) {
        return ql::gemm_workspace_bytes(ql::dynamic<ql::int8>(view(m)), packed, e);
      });
      check_monotone(packed, [&](std::size_t m, const pretended& e) {
        return ql::gemm_workspace_bytes(ql::dynamic<ql::int8, ql::per_token>(view(m)), packed, e);
      });
    }
  }
}

TEST_CASE("a workspace never shrinks as M or the concurrency grows") {
  check_monotone<w4>();
  check_monotone<w8>();
}

// Memory for M rows and c threads serves fewer of both, with the same results.
TEST_CASE("a workspace serves fewer rows and threads") {
  for_random_cases(40, [](random_source& random) {
    const std::size_t n = random.extent(1, 100), k = random.extent(1, 300), most = random.integer(1, 200);
    const std::size_t threads = random.integer(1, 8);
    const auto packed = ql::pack<backend>(random_quantized<w4>(random, n, k, {}));
    const auto x = random.normal_vector(most * k);
    const auto view = [&](std::size_t m) { return matrix_view<const float>{x.data(), m, k}; };
    guarded_memory scratch(std::max(
        ql::gemm_workspace_bytes(ql::dynamic<ql::int8>(view(most)), packed, pretended{threads}), std::size_t{1}));
    std::vector<float> all(most * n);
    ql::gemm(ql::dynamic<ql::int8>(view(most)), packed, matrix_view<float>{all.data(), most, n});
    for (int i = 0; i < 4; ++i) {
      const std::size_t m = random.integer(0, most);
      std::vector<float> y(m * n);
      ql::gemm(ql::dynamic<ql::int8>(view(m)), packed, matrix_view<float>{y.data(), m, n}, ql::epilogue::none{},
               pretended{random.integer(1, threads)}, scratch.workspace());
      const bool same = m == 0 || std::memcmp(y.data(), all.data(), y.size() * sizeof(float)) == 0;
      REQUIRE(same);
      REQUIRE(scratch.guards_are_intact());
    }
  });
}

TEST_CASE("where no scratch is needed none has to be given") {
  const std::size_t n = 20, k = 64;
  const auto packed = weights<w4>(n, k);
  random_source random(3);
  const auto x = random.normal_vector(k);
  std::vector<float> y(n), z(n);
  const matrix_view<const float> X{x.data(), 1, k};
  REQUIRE(ql::gemm_workspace_bytes(X, packed) == 0);    // float rows are read where they are
  ql::gemm(X, packed, matrix_view<float>{y.data(), 1, n}, ql::epilogue::none{}, ql::serial{}, ql::workspace{});
  ql::gemm(X, packed, matrix_view<float>{z.data(), 1, n});
  CHECK(y == z);

  // Nothing to compute: M, N or K of 0, also with null views.
  const auto none = [&](std::size_t m, std::size_t rows, std::size_t cols) {
    const auto w = weights<w4>(rows, cols);
    std::vector<float> result(m * rows, 5.0f);
    const matrix_view<const float> input{m * cols == 0 ? nullptr : x.data(), m, cols};
    const matrix_view<float> output{result.empty() ? nullptr : result.data(), m, rows};
    ql::gemm(input, w, output);
    for (const float v : result) CHECK(v == 0.0f);
    std::fill(result.begin(), result.end(), 5.0f);
    ql::gemm(ql::dynamic<ql::int8>(input), w, output);
    for (const float v : result) CHECK(v == 0.0f);
    ql::gemm(ql::fixed<ql::int8>(input, 1.0f), w, output, ql::epilogue::relu{}, pretended{3});
    for (const float v : result) CHECK(v == 0.0f);
  };
  none(0, 20, 64);
  none(1, 0, 64);
  none(3, 20, 0);
  none(40, 20, 0);
  none(0, 0, 0);
}
