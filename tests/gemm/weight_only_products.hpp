// Weight-only products against the product in double, within a bound that follows from the number of roundings.
//
// Error bound. u = 2^-24 is the unit roundoff of float, gamma(n) = n u / (1 - n u) bounds the relative effect of n
// roundings (N. Higham, "Accuracy and Stability of Numerical Algorithms", 2002, lemma 3.1). A weight is
// w = scale * step (step = code - zero point, exact in float) or scale * code + offset. Let a term x w pass through at
// most n roundings on its way to y; then |y - exact| <= gamma(n) Sum |x w|. Of n, with groups of G along K:
//
//   few rows     one fma per term within a group, in a few interleaved sums, which are then added: each
//                that is not empty has a term, so both together                                    <= G
//                one fma with the scale (or one addition) per group                                <= ceil(K / G)
//                offset schemes: the weight itself is rounded once                                 <= 1
//   many rows    the weight is rounded once, then one fma per term                                 <= 1 + K
//
// G + ceil(K / G) <= K + 1 for 1 <= G <= K, hence n <= K + 2 in all cases (docs/numerics.md has it in more words).
// Padding adds exact zeros. The numbers are chosen so that nothing underflows. The oracle itself is a sum of K products
// in double: at most K + 2 roundings of 2^-53. An output of 16 bits adds half a unit in its last place.
#pragma once

#include "gemm/executors.hpp"
#include "gemm/oracle.hpp"

namespace qlite_test {

inline double gamma_of(std::size_t n, double u) {
  const double nu = static_cast<double>(n) * u;
  return nu / (1.0 - nu);
}

// Half the distance of the neighbours of |y| in T, for rounding to nearest.
template <class T>
double half_ulp(double y) {
  if (std::is_same_v<T, float> || y == 0.0) return 0.0;
  const int exponent = std::ilogb(y);
  return std::is_same_v<T, qlite::float16> ? std::ldexp(0.5, std::max(exponent, -14) - 10)
                                           : std::ldexp(0.5, exponent - 7);
}

template <class Backend, class Scheme, class TX = float, class TY = float>
void check_weight_only(std::uint64_t cases) {
  namespace ql = qlite;
  for_random_cases(cases, [](random_source& random) {
    case_shape shape = random_shape(random);
    INFO(ql::name<Scheme>() << ", m " << shape.m << ", n " << shape.n << ", k " << shape.k << ", group "
                            << shape.group);
    const auto q = random_quantized<Scheme>(random, shape.n, shape.k, with_group<Scheme>(shape.group));
    const packed_awkwardly<Backend, Scheme> weights(q);
    const auto& packed = weights.view();
    const exact_weights w(q.view());
    input_matrix<TX> x = random_inputs<TX>(random, shape.m, shape.k);
    const std::size_t poisoned =
        random.chance(0.3) && shape.m != 0 && shape.k != 0 ? random.integer(0, shape.m - 1) : shape.m;
    if (poisoned != shape.m) x(poisoned, random.integer(0, shape.k - 1)) = from_float<TX>(NAN);

    awkward_matrix<TY> y(shape.m, shape.n, random.integer(0, 3));
    const any_executor executor = random_executor(random);
    guarded_memory scratch(ql::gemm_workspace_bytes(x.view(), packed, executor));
    ql::gemm(x.view(), packed, y.view(), ql::epilogue::none{}, executor, scratch.workspace());
    REQUIRE_FALSE(executor.was_asked_for_too_many());
    REQUIRE(scratch.guards_are_intact());
    REQUIRE(y.guards_are_intact());

    const double relative = gamma_of(shape.k + 2, 0x1p-24) + gamma_of(shape.k + 2, 0x1p-53);
    for (std::size_t r = 0; r < shape.m; ++r) {
      const std::vector<float> row = x.row(r);
      for (std::size_t c = 0; c < shape.n; ++c) {
        const double got = static_cast<double>(to_float(y(r, c)));
        if (r == poisoned) {
          if (!std::isnan(got)) REQUIRE(std::isnan(got));
          continue;
        }
        const auto want = w.dot(row, c);
        double bound = relative * want.magnitude;
        bound += half_ulp<TY>(std::fabs(want.value) + bound);
        if (!(std::fabs(got - want.value) <= bound)) {
          INFO("Y(" << r << ", " << c << ") = " << got << ", expected " << want.value << " within " << bound);
          REQUIRE(std::fabs(got - want.value) <= bound);
        }
      }
    }
  });
}

}    // namespace qlite_test
