// GPTQ of one layer against its dense linear algebra alone, done by Eigen on as many threads (OpenMP's).
//
//     bench_quantize_gptq_eigen_openmp_<backend> [threads] [K] [N] [rounds]
//
// Each round times Eigen, qlite and Eigen again; the figures are medians over the rounds. What Eigen does:
//   minimal     one Cholesky factorization of H [K, K] and, for each block of 128 columns, the product of all columns
//               before it with the factor, K³/3 + N K² operations (multiply-adds count two); in float and in double
//   published   what GPTQ's code does, in float: factorization, inverse, factorization of the inverse, the products
// Besides, one sweep of `refined` over round to nearest, which takes 2 N K² operations.
#include <omp.h>

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/cpu/supported.hpp>
#include <qlite/quantize.hpp>
#include <vector>

#include "machine/peaks.hpp"

namespace ql = qlite;
namespace bench = qlite_bench;
using backend = QLITE_BENCH_BACKEND;

namespace {

using w4 = ql::scheme<ql::int4, ql::per_group<128>>;
using Eigen::Index;

template <class F>
double time_of(const ql::thread_pool& pool, F&& f) {
  const double start = bench::seconds_of(pool);
  f();
  return bench::seconds_of(pool) - start;
}
double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0.0 : v[v.size() / 2];
}

// The products of GPTQ: columns [b, b + 128) of P from the columns of E before b.
template <class Matrix>
void products(const Matrix& E, const Matrix& U, Matrix& P) {
  for (Index b = 128; b < U.cols(); b += 128) {
    const Index width = std::min<Index>(128, U.cols() - b);
    P.leftCols(width).noalias() = E.leftCols(b) * U.block(0, b, b, width);
  }
}

template <class Real>
struct eigen_work {
  using matrix = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic>;
  matrix H, E, P;

  eigen_work(const ql::hessian& h, Index n) : H(Index(h.cols()), Index(h.cols())), E(n, H.cols()), P(n, 128) {
    for (Index i = 0; i < H.rows(); ++i)
      for (Index j = 0; j < H.cols(); ++j) H(i, j) = static_cast<Real>(h(std::size_t(i), std::size_t(j)));
    H.diagonal().array() += static_cast<Real>(0.01) * H.diagonal().mean();
    E.setRandom();
  }
  double minimal(const ql::thread_pool& pool) {
    matrix factor = H;
    return time_of(pool, [&] {
      Eigen::LLT<Eigen::Ref<matrix>> llt(factor);
      products(E, factor, P);
    });
  }
  double published(const ql::thread_pool& pool) {
    matrix factor = H;
    return time_of(pool, [&] {
      Eigen::LLT<Eigen::Ref<matrix>> llt(factor);
      matrix inverse = matrix::Identity(H.rows(), H.cols());
      llt.solveInPlace(inverse);
      Eigen::LLT<Eigen::Ref<matrix>> again(inverse);
      products(E, inverse, P);
    });
  }
};

int argument(int argc, char** argv, int i, int otherwise) {
  return argc > i ? std::max(1, std::atoi(argv[i])) : otherwise;
}

}    // namespace

int main(int argc, char** argv) {
  if (!ql::supported<backend>()) {
    std::printf("this CPU lacks %s\n", ql::name<backend>());
    return 0;
  }
  const auto threads = static_cast<std::size_t>(argument(argc, argv, 1, 1));
  const auto k = static_cast<std::size_t>(argument(argc, argv, 2, 4096));
  const auto n = static_cast<std::size_t>(argument(argc, argv, 3, 4096));
  const int rounds = argument(argc, argv, 4, 3);
  const ql::thread_pool pool(threads);
  omp_set_num_threads(static_cast<int>(threads));

  std::uint64_t state = 1;
  const auto normal = [&state] {    // a sum of uniform numbers will do
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state >> 40) * 0x1p-24f - 0.5f;
    }
    return sum;
  };
  const std::size_t tokens = k / 2;
  std::vector<float> w(n * k), x(tokens * k);
  for (float& v : w) v = normal();
  for (std::size_t t = 0; t < tokens; ++t) {
    const float common = normal();
    for (std::size_t c = 0; c < k; ++c) x[t * k + c] = normal() + common;
  }
  ql::hessian H(k);
  const double gather = time_of(pool, [&] { H.observe(ql::matrix_view<const float>{x.data(), tokens, k}, pool); });
  const double macs = double(tokens) * double(k) * double(k) / 2;
  std::printf("Hessian of %zu rows: %.2f s, %.1f GFLOP/s\n", tokens, gather, 2e-9 * macs / gather);

  eigen_work<float> in_float(H, Index(n));
  eigen_work<double> in_double(H, Index(n));
  const ql::matrix_view<const float> W{w.data(), n, k};
  std::vector<double> own, factor, single, dbl, published, sweep;
  for (int i = 0; i < rounds; ++i) {
    const double f0 = in_float.minimal(pool), d0 = in_double.minimal(pool);
    factor.push_back(time_of(pool, [&] {
      ql::gptq method{H};
      static_cast<void>(ql::quantize<w4>(ql::matrix_view<const float>{w.data(), 1, k}, method, pool));
    }));
    own.push_back(time_of(pool, [&] { static_cast<void>(ql::quantize<w4>(W, ql::gptq{H}, pool)); }));
    sweep.push_back(time_of(pool, [&] {
      ql::refined method{H};
      method.sweeps = 1;
      static_cast<void>(ql::quantize<w4>(W, method, pool));
    }));
    const double f1 = in_float.minimal(pool), d1 = in_double.minimal(pool);
    single.push_back((f0 + f1) / 2);
    dbl.push_back((d0 + d1) / 2);
    if (i == 0) published.push_back(in_float.published(pool));
  }
  const double flops = double(k) * double(k) * (double(k) / 3 + double(n));
  std::printf("K %zu, N %zu, %zu threads, %s, %s\n", k, n, threads, ql::name<w4>(), ql::name<backend>());
  const auto row = [&](const char* what, double t) {
    std::printf("%-28s %6.2f s   gptq / this %5.2f\n", what, t, median(own) / t);
  };
  std::printf("%-28s %6.2f s   (of one row: %.2f s)   %.1f GFLOP/s\n", "qlite gptq", median(own), median(factor),
              1e-9 * flops / median(own));
  row("Eigen minimal, double", median(dbl));
  row("Eigen minimal, float", median(single));
  row("Eigen published, float", median(published));
  std::printf("%-28s %6.2f s   %.1f GFLOP/s\n", "qlite refined, each sweep", median(sweep),
              2e-9 * double(n) * double(k) * double(k) / median(sweep));
}
