// Products over shapes, batch sizes, schemes and threads.
//
//   bench_gemm_gemm_<backend> --benchmark_filter='int4 per_group<128>/int8/.*/m:1/'
//
// Counters: GB/s of packed weights read, GOP/s (two a multiply-add), and the share of a peak measured right after: of
// streaming reads for m 1, of vpdpbusd (INT8 activations) or float multiply-adds (weight-only) for more rows.
#include <benchmark/benchmark.h>

#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/cpu/supported.hpp>
#include <qlite/gemm.hpp>

#include <cstdio>
#include <string>

#include "gemm/weights.hpp"
#include "machine/peaks.hpp"

namespace ql = qlite;
namespace bench = qlite_bench;
using backend = QLITE_BENCH_BACKEND;

struct shape {
  std::size_t n, k;
};

// The copies of one shape at a time: benchmarks that follow each other share them.
template <class Scheme>
const std::vector<ql::packed_matrix<Scheme, backend>>& weights_of(shape s) {
  static shape now{0, 0};
  static std::vector<ql::packed_matrix<Scheme, backend>> copies;
  if (now.n != s.n || now.k != s.k) {
    copies.clear();
    copies = bench::packed_copies<Scheme, backend>(s.n, s.k, bench::beyond_caches);
    now = s;
  }
  return copies;
}

template <class Scheme, bool Integer, class Executor>
void multiply(benchmark::State& state, shape s, std::size_t m, const Executor& executor) {
  const auto& copies = weights_of<Scheme>(s);
  static const ql::detail::buffer stream = bench::touched_buffer(std::size_t{256} << 20);
  const auto x = bench::random_floats(m * s.k);
  std::vector<float> y(m * s.n);
  const auto form = bench::form_of<Integer>(ql::matrix_view<const float>{x.data(), m, s.k});
  const ql::detail::buffer memory(ql::gemm_workspace_bytes(form, copies[0], executor));
  std::size_t next = 0;
  const double start = bench::seconds_of(executor);
  for (auto _ : state) {
    ql::gemm(form, copies[next++ % copies.size()], ql::matrix_view<float>{y.data(), m, s.n}, ql::epilogue::none{},
             executor, ql::workspace{memory.data(), memory.size()});
    benchmark::ClobberMemory();
  }
  const double calls = static_cast<double>(state.iterations()) / (bench::seconds_of(executor) - start);
  const double bytes = calls * static_cast<double>(copies[0].bytes());
  const double operations = calls * 2.0 * static_cast<double>(m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  state.counters["GB/s"] = 1e-9 * bytes;
  state.counters["GOP/s"] = 1e-9 * operations;
  const double peak = m == 1    ? bench::read_rate(stream.data(), stream.size(), executor)
                      : Integer ? bench::vpdpbusd_rate(executor)
                                : bench::fma_rate(executor);
  if (peak > 0) state.counters["share"] = (m == 1 ? bytes : operations) / peak;
}

template <class Scheme, bool Integer>
void add(shape s) {
  for (const std::size_t threads : {1u, 2u}) {
    for (const std::size_t m : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u, 512u}) {
      const std::string name = std::string(ql::name<Scheme>()) + (Integer ? "/int8/" : "/float/") +
                               std::to_string(s.n) + "x" + std::to_string(s.k) + "/m:" + std::to_string(m) +
                               "/threads:" + std::to_string(threads);
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        if (threads == 1)
          multiply<Scheme, Integer>(state, s, m, ql::serial{});
        else
          multiply<Scheme, Integer>(state, s, m, ql::thread_pool(threads));
      })->UseRealTime();
    }
  }
}

template <class Scheme>
void add_scheme() {
  for (const shape s : {shape{4096, 4096}, shape{11008, 4096}, shape{4096, 11008}, shape{4100, 4000}}) {
    add<Scheme, true>(s);
    add<Scheme, false>(s);
  }
}

int main(int argc, char** argv) {
  if (!ql::supported<backend>()) {
    std::printf("this CPU does not support %s\n", ql::name<backend>());
    return 0;
  }
  using ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;
  add_scheme<scheme<int8, per_channel>>();
  add_scheme<scheme<int8, per_group<128>>>();
  add_scheme<scheme<int4, per_channel>>();
  add_scheme<scheme<int4, per_group<128>>>();
  add_scheme<scheme<int4, per_group<32>>>();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
