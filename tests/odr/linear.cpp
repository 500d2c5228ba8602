// Compiled once per instruction set, each time with its own flags, ODR_NAME and ODR_BACKEND.
#include "linear.hpp"

#include <qlite/evaluate.hpp>
#include <qlite/evaluate/workspace_plan.hpp>
#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>

#include <cstring>

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

  // Methods that look at data: codes and scales have the same bits too.
  ql::hessian H(p.k);
  ql::activation_stats stats(p.k);
  H.observe(X);
  stats.observe(X);
  const auto product = [&](const auto& q, std::size_t i) {
    ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<ODR_BACKEND>(q), result(exact, i));
  };
  ql::gptq gptq(H, ql::mse_clip{});
  product(ql::quantize<w4>(W, gptq), 5);
  gptq.act_order = true;
  product(ql::quantize<w4_asymmetric>(W, gptq), 6);
  product(ql::quantize<w4>(W, ql::awq(stats, X)).codes(), 7);
  product(ql::quantize<ql::scheme<ql::int4, ql::per_group<32>, ql::offset<>>>(W, ql::hqq{}), 8);
  static_cast<void>(ql::quantize<w8>(W, ql::smoothquant(stats)));
  static_cast<void>(ql::quantize<w8>(W, ql::split_outliers(stats, 2.0f)));
  static_cast<void>(ql::quantize<w4>(W, ql::importance_clip(stats)));
  ql::observer<ql::statistic::entropy> inputs;
  inputs.observe(X);
  static_cast<void>(inputs.scale());

  ql::gemm(X, packed, result(rounded, 0));
  ql::gemm(X, ql::pack<ql::cpu::generic>(q4), result(rounded, 1), ql::epilogue::chain(bias, ql::epilogue::silu{}));

  // Figures of an evaluation, in the first numbers of a result. What they are is not the point here.
  const ql::matrix_view<float> Y = result(rounded, 0);
  float* const figure = rounded + 2 * p.m * p.n;
  std::memset(figure, 0, p.m * p.n * sizeof(float));
  figure[0] = static_cast<float>(ql::output_error(W, q4, X) + ql::weight_metrics(W, q4).cosine());
  ql::logit_metrics logits;
  ql::observe(logits, result(rounded, 1), Y);
  ql::perplexity perplexity;
  perplexity.observe(ql::negative_log_likelihood(Y.data(), p.n, 0));
  figure[1] = static_cast<float>(logits.mean_divergence() / perplexity.value() + ql::metrics_of(Y, Y).mse());
  figure[2] = static_cast<float>(ql::recall_at_k(p.bias, p.bias, p.n, 3) + ql::rank_correlation(p.bias, p.bias, p.n));
  ql::layer_option options[2];
  std::size_t chosen;
  ql::measure_sensitivity<ODR_BACKEND, ql::scheme_list<w8, w4_asymmetric>>(W, X, &info, 1, ql::rtn{}, options);
  options[1] = ql::float16_option(W, X);
  figure[3] = static_cast<float>(ql::assign_under_bytes({options, 1, 2}, 1u << 20, &chosen).error +
                                 ql::assign_under_error({options, 1, 2}, 1.0, &chosen).error);
  ql::shadow_options every_call;
  every_call.period = 1;
  ql::shadow_check watch(W, every_call,
                         [&](const ql::shadow_report& r) { figure[4] = static_cast<float>(r.now.relative_error()); });
  watch(X, Y);
  ql::memory_plan plan;
  plan.add<ODR_BACKEND>(info, p.n, p.k);
  plan.add_workspace(ql::planned_workspace_bytes<w8, ODR_BACKEND>(ql::dynamic<ql::int8>(X), p.n));
  figure[5] = plan.total(1) > 0 ? 1.0f : 0.0f;
}
