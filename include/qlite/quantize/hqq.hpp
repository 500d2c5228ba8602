// HQQ: the offset of a group by half-quadratic optimization of a norm that forgives outliers. No data but the weights.
#pragma once

#include <qlite/quantize/encode.hpp>
#include <qlite/quantize/rtn.hpp>

QLITE_BEGIN_NAMESPACE

/// Half-quadratic quantization (Badri, Shaji: Half-Quadratic Quantization of Large Machine Learning Models, 2023,
/// mobiusml.github.io/hqq_blog), for schemes with offsets: real-valued zero points. The scale is round to nearest's;
/// the offset is found by alternating, `iterations` times,
///     e = shrink(w - ŵ),   shrink(x) = sign(x) max(0, |x| - |x|^(p - 1) / beta)
///     offset = mean of w - e - scale * code,   beta = kappa beta
/// and the offset of least mean |w - ŵ| is kept, round to nearest's among them.
///
/// As hqq's optimize.py has it, but for three things. p = 11/16 instead of 0.7, so that the power is made of square
/// roots and has the same bits on every target. Errors are shrunk in units of the scale (there in those of the weights,
/// whose errors are so small that nothing is left of them, and the step is a plain mean). The best offset is kept, not
/// the last one. O(iterations * N * K).
template <class RoundRule = round_rule::half_even>
struct basic_hqq {
  using round_type = RoundRule;
  std::size_t iterations = 20;
  float beta = 10.0f, kappa = 1.01f;
  QLITE_INLINE constexpr explicit basic_hqq(std::size_t steps = 20) noexcept : iterations(steps) {}
};

/// With the default rounding.
using hqq = basic_hqq<>;

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// |x|^(p - 1) for p = 11/16: 1 / (|x|^(1/4) |x|^(1/16)). |x| > 0.
QLITE_INLINE float hqq_power(float x) noexcept {
  const float fourth = __builtin_sqrtf(__builtin_sqrtf(x));
  return 1.0f / (fourth * __builtin_sqrtf(__builtin_sqrtf(fourth)));
}

/// The sums of one pass over a group with offset p.offset: of |w - ŵ|, and of w - shrink(w - ŵ) - scale * code.
template <class Round, class Scheme, class Group>
void hqq_pass(const Group& group, const group_parameters<Scheme>& p, float beta, double& absolute, double& residual) {
  const encoder<Scheme, Round> code(p);
  absolute = residual = 0;
  for_each_span(group, [&](const float* w, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      // exact products, so nothing changes where they are fused with what follows
      const double steps = static_cast<double>(p.scale) * static_cast<double>(code.steps(w[i]));
      const auto error = static_cast<float>((static_cast<double>(w[i]) - static_cast<double>(p.offset)) - steps);
      const float size = abs_of(error), unit = abs_of(p.scale);
      float kept = 0.0f;
      if (size > 0.0f) {
        const float x = size / unit, less = x - hqq_power(x) / beta;
        if (less > 0.0f) kept = error < 0.0f ? -(less * unit) : less * unit;
      }
      absolute += static_cast<double>(size);
      residual +=
          static_cast<double>(static_cast<float>((static_cast<double>(w[i]) - static_cast<double>(kept)) - steps));
    }
  });
}

}    // namespace impl

/// Refuses shrinkage that is none.
template <class Round>
QLITE_INLINE void check_method(const basic_hqq<Round>& method) {
  if (QLITE_UNLIKELY(!(method.beta > 0.0f && method.kappa > 0.0f)))
    impl::fail("qlite: hqq.beta is %g and hqq.kappa %g, expected positive numbers", static_cast<double>(method.beta),
               static_cast<double>(method.kappa));
}

/// The hook of quantize/quantize.hpp.
template <class Round, class Scheme, class T, class Kernels>
group_parameters<Scheme> fit_group(const basic_hqq<Round>& method, Scheme scheme,
                                   const weight_group<T, Kernels>& group) {
  using traits = detail::scheme_traits<Scheme>;
  static_assert(traits::has_offset, "qlite: hqq finds offsets; use a scheme with offset<T>");
  group_parameters<Scheme> p = fit_ranges(basic_rtn<scale_rule::signed_max, Round>{}, scheme, impl::range_of(group));
  if (p.fault != 0) return p;
  const auto count = static_cast<double>(group.rows * group.cols);
  group_parameters<Scheme> best = p;
  double least = -1.0;
  float beta = method.beta;
  for (std::size_t i = 0;; ++i, beta *= method.kappa) {
    double absolute, residual;
    impl::hqq_pass<Round>(group, p, beta, absolute, residual);
    if (least < 0.0 || absolute < least) {
      least = absolute;
      best = p;
    }
    if (i == method.iterations) break;
    using real = typename traits::offset_type;
    const std::int32_t bits =
        impl::store_bits<real>(static_cast<float>(residual / count) + 0.0f);    // -0 is stored as 0
    const float offset = impl::load_bits<real, float>(bits);
    if (bits == p.offset_bits || !detail::is_finite(offset)) break;    // nothing moves any more
    p.offset_bits = bits;
    p.offset = offset;
  }
  return best;
}

QLITE_END_FUNCTIONS
