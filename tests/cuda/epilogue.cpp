// Epilogues: with per-channel INT8 weights and INT8 activations the value of a product is the same bits on the CPU and
// on the GPU, so the results after every epilogue must be too.
#include "cuda/cases.hpp"

using namespace qlite_test;
namespace ql = qlite;

TEST_CASE("epilogues give the CPU's bits") {
  using scheme = ql::scheme<ql::int8, ql::per_channel>;
  for (int which = 0; which < device::epilogues; ++which) {
    for_random_cases(12, [which](random_source& random) {
      const bool hopper = device::has_hopper() && random.chance(0.5);
      const std::size_t m = random.extent(1, hopper ? 300 : 40), n = random.extent(1, 90), k = random.extent(1, 300);
      device::choice kernel;
      if (hopper) {
        kernel.family = 4;
        kernel.token_tiles = 4 << random.integer(0, 3);
        kernel.cluster = kernel.token_tiles == 32 ? 1 : static_cast<int>(random.integer(1, 3));
      }
      INFO("epilogue " << which << ", m " << m << ", n " << n << ", k " << k << ", kernel " << kernel.family << " "
                       << kernel.token_tiles << " " << kernel.cluster);
      const auto q = make_quantized<scheme>(
          n, k, {}, [&](std::size_t, std::size_t) { return static_cast<int>(random.integer(0, 255)) - 128; },
          [](std::size_t, std::size_t) { return 0; },
          [&](std::size_t, std::size_t) { return std::exp(random.uniform(-9.0f, -1.0f)); },
          [](std::size_t, std::size_t) { return 0.0f; });
      const std::vector<float> x = random.normal_vector(m * k);
      device::operands o;
      o.matrix = random.normal_vector(m * n, 3.0f);
      o.vector = random.normal_vector(n, 3.0f);
      for (float v : o.matrix)
        o.matrix16.push_back(from_float<ql::float16>(v)), o.matrix_b.push_back(from_float<ql::bfloat16>(v));
      for (float v : o.vector)
        o.vector16.push_back(from_float<ql::float16>(v)), o.vector_b.push_back(from_float<ql::bfloat16>(v));
      std::vector<float> got = o.matrix, want = o.matrix;
      REQUIRE(device::product_with_epilogue(which, q.view(), x.data(), m, o, got.data(), kernel) == 0);

      using ql::matrix_view;
      namespace epilogue = ql::epilogue;
      const auto packed = ql::pack<ql::cpu::scalar>(q);
      const auto form = ql::dynamic<ql::int8>(matrix_view<const float>{x.data(), m, k});
      const matrix_view<float> y{want.data(), m, n};
      const matrix_view<const float> m32{o.matrix.data(), m, n};
      const matrix_view<const ql::float16> m16{o.matrix16.data(), m, n};
      const matrix_view<const ql::bfloat16> mb{o.matrix_b.data(), m, n};
      std::vector<ql::float16> half(m * n);
      switch (which) {
        case 0:
          ql::gemm(form, packed, y, epilogue::chain(epilogue::bias{o.vector.data(), n}, epilogue::gelu{}));
          break;
        case 1:
          ql::gemm(form, packed, y,
                   epilogue::chain(epilogue::multiply{m16}, epilogue::residual{m32}, epilogue::relu{}));
          break;
        case 2:
          ql::gemm(form, packed, y, epilogue::chain(epilogue::silu{}, epilogue::multiply{mb}));
          break;
        case 3:
          ql::gemm(form, packed, y, epilogue::chain(epilogue::bias{o.vector_b.data(), n}, epilogue::residual{y}));
          break;
        case 4:
          ql::gemm(form, packed, matrix_view<ql::float16>{half.data(), m, n},
                   epilogue::chain(epilogue::gelu_tanh{}, epilogue::bias{o.vector16.data(), n}));
          for (std::size_t i = 0; i < m * n; ++i) want[i] = half[i].to_float();
          break;
        default:
          ql::gemm(form, packed, y, epilogue::map{[](float v, std::size_t r, std::size_t c) {
                     return v + static_cast<float>(r) - 2.0f * static_cast<float>(c);
                   }});
          break;
      }
      for (std::size_t i = 0; i < m * n; ++i)
        if (!same_float(got[i], want[i])) {
          INFO("Y(" << i / n << ", " << i % n << ")");
          REQUIRE(got[i] == want[i]);
        }
    });
  }
}
