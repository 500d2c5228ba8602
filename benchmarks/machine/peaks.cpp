// What this machine can do: the denominators of the other benchmarks, by themselves.
#include <benchmark/benchmark.h>

#include <qlite/core/executors/thread_pool.hpp>

#include <thread>

#include "machine/peaks.hpp"

namespace bench = qlite_bench;

// Runs rate(executor) and reports its mean as a counter, in units of 1e9.
template <class Rate>
void report(benchmark::State& state, const char* counter, Rate&& rate) {
  const qlite::thread_pool pool(static_cast<std::size_t>(state.range(0)));
  double sum = 0;
  for (auto _ : state) {
    const double now = rate(pool);
    if (now == 0) {
      state.SkipWithError("this CPU lacks the instruction");
      return;
    }
    sum += now;
  }
  state.counters[counter] = 1e-9 * sum / static_cast<double>(state.iterations());
}

static void read_stream(benchmark::State& state) {
  const auto memory = bench::touched_buffer(std::size_t{512} << 20);
  report(state, "GB/s", [&](const auto& pool) { return bench::read_rate(memory.data(), memory.size(), pool); });
}

// Bytes read and written together.
static void copy(benchmark::State& state) {
  const auto from = bench::touched_buffer(std::size_t{256} << 20);
  const auto to = bench::touched_buffer(from.size());
  report(state, "GB/s", [&](const auto& pool) { return bench::copy_rate(to.data(), from.data(), from.size(), pool); });
}

static void vpdpbusd(benchmark::State& state) {
  report(state, "GOP/s", [](const auto& pool) { return bench::vpdpbusd_rate(pool); });
}

static void fma(benchmark::State& state) {
  report(state, "GOP/s", [](const auto& pool) { return bench::fma_rate(pool); });
}

static void vdpbf16ps(benchmark::State& state) {
  report(state, "GOP/s", [](const auto& pool) { return bench::bf16_rate(pool); });
}

static void fma256(benchmark::State& state) {
  report(state, "GOP/s", [](const auto& pool) { return bench::fma256_rate(pool); });
}

static void avx2_int8(benchmark::State& state) {
  report(state, "GOP/s", [](const auto& pool) { return bench::avx2_int8_rate(pool); });
}

static void avx2_int4(benchmark::State& state) {
  report(state, "GOP/s", [](const auto& pool) { return bench::avx2_int4_rate(pool); });
}

int main(int argc, char** argv) {
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  for (std::int64_t threads = 1; threads <= cores; threads = threads < cores ? cores : cores + 1) {
    benchmark::RegisterBenchmark("read_stream", read_stream)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("copy", copy)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("vpdpbusd", vpdpbusd)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("fma", fma)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("vdpbf16ps", vdpbf16ps)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("fma256", fma256)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("avx2_int8", avx2_int8)->ArgName("threads")->Arg(threads)->UseRealTime();
    benchmark::RegisterBenchmark("avx2_int4", avx2_int4)->ArgName("threads")->Arg(threads)->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
