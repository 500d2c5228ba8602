// Products as shares of what the machine can do, measured alternately: a product, its peak, the product again. Prints
// medians over the rounds. On a machine that others use too, such a share says more than any absolute time.
//
//   bench_gemm_ratios_<backend> [rounds] [threads]
//
// M = 1: bytes of packed weights read per second against streaming reads; the weights rotate over copies of more than
// 160 MB, so that they come from memory. Larger M: operations per second against vpdpbusd (INT8 activations) or float
// multiply-adds (weight-only) on registers alone.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/cpu/supported.hpp>
#include <qlite/gemm.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "gemm/weights.hpp"
#include "machine/peaks.hpp"

namespace ql = qlite;
namespace bench = qlite_bench;
using backend = QLITE_BENCH_BACKEND;

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

struct settings {
  std::size_t rounds = 15, threads = 1;
};

template <class Scheme, bool Integer, class Executor>
void measure(const settings& s, std::size_t n, std::size_t k, const Executor& executor) {
  const auto copies = bench::packed_copies<Scheme, backend>(n, k, bench::beyond_caches);
  static const ql::detail::buffer stream = bench::touched_buffer(std::size_t{256} << 20);
  std::printf("%-26s %5zu x %-5zu %-12s %zu thread%s\n", ql::name<Scheme>(), n, k, Integer ? "int8 act" : "float act",
              s.threads, s.threads == 1 ? "" : "s");
  std::size_t next = 0;
  for (const std::size_t m : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u, 512u}) {
    const auto x = bench::random_floats(m * k);
    std::vector<float> y(m * n);
    const auto form = bench::form_of<Integer>(ql::matrix_view<const float>{x.data(), m, k});
    ql::detail::buffer memory(ql::gemm_workspace_bytes(form, copies[0], executor));
    std::vector<double> ratios, rates, peaks;
    // Samples of at least some milliseconds, each beside its peak.
    const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    const std::size_t calls = std::max<std::size_t>(1, static_cast<std::size_t>(2e9 / operations / (m == 1 ? 4 : 1)));
    for (std::size_t round = 0; round <= s.rounds; ++round) {
      const double start = bench::seconds_of(executor);
      for (std::size_t i = 0; i < calls; ++i)
        ql::gemm(form, copies[next++ % copies.size()], ql::matrix_view<float>{y.data(), m, n}, ql::epilogue::none{},
                 executor, ql::workspace{memory.data(), memory.size()});
      const double seconds = bench::seconds_of(executor) - start;
      double rate, peak;
      if (m == 1) {
        rate = static_cast<double>(copies[0].bytes()) * static_cast<double>(calls) / seconds;
        peak = bench::read_rate(stream.data(), stream.size(), executor);
      } else {
        rate = operations * static_cast<double>(calls) / seconds;
        peak = Integer ? bench::vpdpbusd_rate(executor) : bench::fma_rate(executor);
      }
      if (round == 0) continue;    // warms up
      rates.push_back(rate * 1e-9);
      peaks.push_back(peak * 1e-9);
      if (peak > 0) ratios.push_back(rate / peak);
    }
    std::printf("  m %4zu  %8.1f %s  %5.1f %% of %7.1f %s   (best %.1f %%)\n", m, median(rates),
                m == 1 ? "GB/s" : "GOP/s", 100 * median(ratios), median(peaks),
                m == 1 ? "GB/s streaming reads" : (Integer ? "GOP/s vpdpbusd" : "GFLOP/s fma"),
                ratios.empty() ? 0.0 : 100 * *std::max_element(ratios.begin(), ratios.end()));
    std::fflush(stdout);
  }
}

template <class Executor>
void measure_all(const settings& s, std::size_t n, std::size_t k, const Executor& executor) {
  using ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;
  measure<scheme<int8, per_channel>, true>(s, n, k, executor);
  measure<scheme<int8, per_group<128>>, true>(s, n, k, executor);
  measure<scheme<int4, per_channel>, true>(s, n, k, executor);
  measure<scheme<int4, per_group<128>>, true>(s, n, k, executor);
  measure<scheme<int4, per_group<32>>, true>(s, n, k, executor);
  measure<scheme<int4, per_group<64>, ql::asymmetric>, true>(s, n, k, executor);
  measure<scheme<int8, per_channel>, false>(s, n, k, executor);
  measure<scheme<int4, per_group<32>>, false>(s, n, k, executor);
}

int main(int argc, char** argv) {
  settings s;
  if (argc > 1) s.rounds = static_cast<std::size_t>(std::atoi(argv[1]));
  if (argc > 2) s.threads = static_cast<std::size_t>(std::atoi(argv[2]));
  if (!ql::supported<backend>()) {
    std::printf("this CPU does not support %s\n", ql::name<backend>());
    return 0;
  }
  if (s.threads <= 1)
    measure_all(s, 4096, 4096, ql::serial{});
  else
    measure_all(s, 4096, 4096, ql::thread_pool(s.threads));
}
