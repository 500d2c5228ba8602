// Products with each epilogue, for a backend and for the translation unit that includes this: the results must be the
// same bits whatever both are.
#pragma once

#include "gemm/matrices.hpp"

namespace qlite_test {

inline constexpr int epilogue_cases = 12;

// Y [m, n] of case `which`. Values of the product before the epilogue spread over 0.01 to 100 and both signs.
template <class Backend>
std::vector<float> epilogue_case(int which, std::size_t m, std::size_t n, std::size_t k) {
  namespace ql = qlite;
  using scheme = ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>;
  random_source random(42);
  const auto x = random_inputs<float>(random, m, k);
  const auto q = make_quantized<scheme>(
      n, k, {}, [&](std::size_t, std::size_t) { return static_cast<int>(random.integer(0, 255)) - 128; },
      [](std::size_t, std::size_t) { return 0; },
      [&](std::size_t, std::size_t) { return std::exp(random.uniform(-9.0f, 1.0f)); },
      [](std::size_t, std::size_t) { return 0.0f; });
  const auto packed = ql::pack<Backend>(q);
  const auto a = random.normal_vector(m * n, 3.0f), b = random.normal_vector(n, 3.0f);
  std::vector<ql::float16> a16(m * n), b16(n);
  std::vector<ql::bfloat16> a_bf(m * n), b_bf(n);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a16[i] = ql::float16::from_float(a[i]);
    a_bf[i] = ql::bfloat16::from_float(a[i]);
  }
  for (std::size_t i = 0; i < n; ++i) {
    b16[i] = ql::float16::from_float(b[i]);
    b_bf[i] = ql::bfloat16::from_float(b[i]);
  }
  using ql::matrix_view;
  namespace epilogue = ql::epilogue;
  std::vector<float> y(m * n);
  const auto run = [&](const auto& e) {
    ql::gemm(ql::dynamic<ql::int8>(x.view()), packed, matrix_view<float>{y.data(), m, n}, e);
  };
  switch (which) {
    case 0:
      run(epilogue::bias{b.data(), n});
      break;
    case 1:
      run(epilogue::relu{});
      break;
    case 2:
      run(epilogue::gelu{});
      break;
    case 3:
      run(epilogue::gelu_tanh{});
      break;
    case 4:
      run(epilogue::silu{});
      break;
    case 5:
      run(epilogue::multiply{matrix_view<const float>{a.data(), m, n}});
      break;
    case 6:
      run(epilogue::residual{matrix_view<const float>{a.data(), m, n}});
      break;
    case 7:
      run(epilogue::chain(epilogue::bias{b16.data(), n}, epilogue::silu{},
                          epilogue::multiply{matrix_view<const ql::bfloat16>{a_bf.data(), m, n}},
                          epilogue::residual{matrix_view<const ql::float16>{a16.data(), m, n}}));
      break;
    case 8:
      run(epilogue::chain(epilogue::multiply{matrix_view<const float>{a.data(), m, n}},
                          epilogue::residual{matrix_view<const float>{a.data(), m, n}}));
      break;
    case 9:
      run(epilogue::chain(epilogue::gelu{}, epilogue::bias{b_bf.data(), n}, epilogue::relu{}));
      break;
    case 10:
      run(epilogue::chain(epilogue::multiply{matrix_view<const ql::float16>{a16.data(), m, n}},
                          epilogue::bias{b.data(), n}, epilogue::gelu_tanh{}));
      break;
    default:
      run(epilogue::map{[](float v, std::size_t r, std::size_t c) {
        return v + 0.5f * static_cast<float>(r) - static_cast<float>(c);
      }});
      break;
  }
  return y;
}

// The same from cpu::scalar in a translation unit without any flags (baseline/epilogues.cpp).
std::vector<float> baseline_epilogue_case(int which, std::size_t m, std::size_t n, std::size_t k);

}    // namespace qlite_test
