// Compiled once per instruction set, each time with its own flags, ODR_NAME and ODR_BACKEND.
#include "linear.hpp"

#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>

namespace ql = qlite;
using w8 = ql::scheme<ql::int8, ql::per_channel>;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;
using w4_asymmetric = ql::scheme<ql::int4, ql::per_group<64>, ql::asymmetric>;

void ODR_NAME(const linear_problem& p, float* exact, float* rounded) {
  const ql::matrix_view<const float> W{p.weights, p.n, p.k}, X{p.activations, p.m, p.k};
  const ql::epilogue::bias bias{p.bias, p.n};
  const auto result = [&](float* base, std::size_t i) {
    return ql::matrix_view<float>{base + i * p.m * p.n, p.m, p.n};
  };

  const auto q4 = ql::quantize<w4>(W, ql::rtn{});
  const auto packed = ql::pack<ODR_BACKEND>(q4);
  ql::gemm(ql::dynamic<ql::int8>(X), packed, result(exact, 0));

  const auto clipped = ql::pack<ODR_BACKEND>(ql::quantize<w8>(W, ql::mse_clip{}));
  ql::gemm(ql::dynamic<ql::int8>(X), clipped, result(exact, 1), ql::epilogue::chain(bias, ql::epilogue::gelu{}));

  ql::scheme_info info;
  info.bits = 4;
  info.group_size = 64;
  info.symmetric = false;
  ql::any_packed<ODR_BACKEND> any;
  ql::visit_scheme<ql::scheme_list<w8, w4_asymmetric>>(
      info, [&](auto scheme) { any = ql::pack<ODR_BACKEND>(ql::quantize<decltype(scheme)>(W, ql::rtn{})); });
  ql::gemm(ql::dynamic<ql::int8>(X), any, result(exact, 2));

  // The same types as in the portable object, under this object's flags.
  ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<ql::cpu::scalar>(q4), result(exact, 3), bias);

  // 16-bit activations and outputs, in the first half of a result's memory.
  const ql::matrix_view<ql::bfloat16> narrow{reinterpret_cast<ql::bfloat16*>(exact + 4 * p.m * p.n), p.m, p.n};
  ql::gemm(ql::dynamic<ql::int8>(X), packed, narrow);

  ql::gemm(X, packed, result(rounded, 0));
  ql::gemm(X, ql::pack<ql::cpu::generic>(q4), result(rounded, 1), ql::epilogue::chain(bias, ql::epilogue::silu{}));
}
