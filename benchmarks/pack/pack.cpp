// Packing, as a share of the copy bandwidth measured beside it: each byte is read once and written once.
// (benchmarks/quantize has the step before.)
#include <benchmark/benchmark.h>

#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/cpu/supported.hpp>
#include <qlite/gemm.hpp>

#include <cstdio>
#include <string>

#include "gemm/weights.hpp"
#include "machine/peaks.hpp"
#include "machine/sampling.hpp"

namespace ql = qlite;
namespace bench = qlite_bench;
using backend = QLITE_BENCH_BACKEND;

// 45 million weights: more than caches hold, also as int4.
constexpr std::size_t height = 11008, width = 4096;

// Each iteration times one call and one copy, because the bandwidth of a shared machine changes from one second to the
// next. GB/s counts every byte read and written once.
template <class Scheme, class Executor>
void pack(benchmark::State& state, const Executor& executor) {
  static const ql::detail::buffer from = bench::touched_buffer(std::size_t{64} << 20);
  static const ql::detail::buffer to = bench::touched_buffer(from.size());
  const auto q = bench::quantized_weights<Scheme, backend>(height, width);
  const ql::detail::buffer memory = bench::touched_buffer(ql::packed_bytes<Scheme, backend>(height, width));
  double seconds = 0, copy_seconds = 0;
  bench::spread_threads(executor.concurrency());
  for (auto _ : state) {
    const double start = bench::seconds_of(executor);
    const auto packed = ql::pack<backend>(q.view(), memory.data(), memory.size(), executor);
    benchmark::DoNotOptimize(packed.data());
    const double elapsed = bench::seconds_of(executor) - start;
    state.SetIterationTime(elapsed);
    seconds += elapsed;
    copy_seconds += 1 / bench::copy_rate(to.data(), from.data(), from.size(), executor);
  }
  const double iterations = static_cast<double>(state.iterations());
  const double rate = iterations * static_cast<double>(q.bytes() + memory.size()) / seconds;
  state.counters["GB/s"] = 1e-9 * rate;
  state.counters["share_of_copy"] = rate * copy_seconds / iterations;
}

template <class Scheme>
void add() {
  for (const std::size_t threads : {1u, 2u}) {
    const std::string suffix = std::string("/") + ql::name<Scheme>() + "/threads:" + std::to_string(threads);
    benchmark::RegisterBenchmark(("pack" + suffix).c_str(), [=](benchmark::State& state) {
      if (threads == 1)
        pack<Scheme>(state, ql::serial{});
      else
        pack<Scheme>(state, ql::thread_pool(threads));
    })->UseManualTime();
  }
}

int main(int argc, char** argv) {
  if (!ql::supported<backend>()) {
    std::printf("this CPU does not support %s\n", ql::name<backend>());
    return 0;
  }
  using ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;
  add<scheme<int8, per_channel>>();
  add<scheme<int8, per_group<128>>>();
  add<scheme<int4, per_group<128>>>();
  add<scheme<int4, per_group<32>>>();
  add<scheme<int4, per_group<32>, ql::asymmetric>>();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
