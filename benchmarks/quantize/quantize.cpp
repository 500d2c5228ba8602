// Quantizing and dequantizing as shares of the copy bandwidth: each iteration times one call and one copy of as much
// memory, one after the other, because the bandwidth of a shared machine changes from one second to the next. GB/s
// counts every byte read and written once; all memory was touched before and lies on huge pages where there are any.
#include <benchmark/benchmark.h>

#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/cpu/supported.hpp>
#include <qlite/gemm.hpp>

#include <cmath>
#include <cstdio>
#include <string>
#include <thread>

#include "machine/peaks.hpp"
#include "machine/sampling.hpp"

namespace ql = qlite;
namespace bench = qlite_bench;
using backend = QLITE_BENCH_BACKEND;

namespace {

constexpr std::size_t rows = 8192, cols = 4096;    // 134 MB of floats: more than the caches hold

// Normally distributed weights (Box and Muller 1958).
template <class T>
const T* weights() {
  static const ql::detail::buffer memory = [] {
    ql::detail::buffer values = bench::touched_buffer(rows * cols * sizeof(T));
    auto* const w = reinterpret_cast<T*>(values.data());
    std::uint64_t state = 1;
    const auto uniform = [&state] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
    };
    const std::size_t some = 256 * cols;
    for (std::size_t i = 0; i < rows * cols; ++i)
      w[i] = i >= some ? w[i - some]
                       : ql::detail::element<T>::store(static_cast<float>(0.02 * std::sqrt(-2 * std::log(uniform())) *
                                                                          std::cos(6.283185307179586 * uniform())));
    return values;
  }();
  return reinterpret_cast<const T*>(memory.data());
}

// Reports the rate of f(), which moves `bytes`, beside that of copying.
template <class F>
void measure(benchmark::State& state, const ql::thread_pool& pool, std::size_t bytes, F&& f) {
  static const ql::detail::buffer from = bench::touched_buffer(std::size_t{96} << 20);
  static const ql::detail::buffer to = bench::touched_buffer(from.size());
  double seconds = 0, copy_seconds = 0;
  bench::spread_threads(pool.concurrency());
  f();
  for (auto _ : state) {
    const double start = bench::seconds_of(pool);
    f();
    const double elapsed = bench::seconds_of(pool) - start;
    state.SetIterationTime(elapsed);
    seconds += elapsed;
    copy_seconds += 1 / bench::copy_rate(to.data(), from.data(), from.size(), pool);
  }
  const double rate = static_cast<double>(bytes) * static_cast<double>(state.iterations()) / seconds;
  const double copy = static_cast<double>(state.iterations()) / copy_seconds;
  state.counters["GB/s"] = 1e-9 * rate;
  state.counters["share_of_copy"] = rate / copy;
}

template <class Scheme, class T, class Method>
void quantize(benchmark::State& state, const Method& method, std::size_t height) {
  const ql::thread_pool pool(static_cast<std::size_t>(state.range(0)));
  const ql::matrix_view<const T> w{weights<T>(), height, cols};
  ql::quantized_matrix<Scheme> q(height, cols);
  using kernels = typename ql::impl::quantize_kernels_of<backend>::type;
  measure(state, pool, w.rows() * w.cols() * sizeof(T) + q.bytes(), [&] {
    ql::impl::quantize_groups<kernels>(w, method, ql::quantized_target<Scheme>(q), pool);
    benchmark::DoNotOptimize(q.codes());
  });
}

template <class Scheme, class T>
void dequantize(benchmark::State& state) {
  const ql::thread_pool pool(static_cast<std::size_t>(state.range(0)));
  const auto q =
      ql::quantize<Scheme, backend>(ql::matrix_view<const float>{weights<float>(), rows, cols}, ql::rtn{}, pool);
  const ql::detail::buffer out = bench::touched_buffer(rows * cols * sizeof(T));
  const ql::matrix_view<T> m{reinterpret_cast<T*>(out.data()), rows, cols};
  measure(state, pool, rows * cols * sizeof(T) + q.bytes(), [&] { ql::dequantize(q, m, pool); });
}

// Activations [rows, cols] in INT8, as a product with weights of this scheme takes them.
template <class Scheme>
void activations(benchmark::State& state) {
  const ql::thread_pool pool(static_cast<std::size_t>(state.range(0)));
  const auto w = ql::pack<backend>(
      ql::quantize<Scheme, backend>(ql::matrix_view<const float>{weights<float>(), 16, cols}, ql::rtn{}));
  const auto x = ql::dynamic<ql::int8>(ql::matrix_view<const float>{weights<float>(), rows, cols});
  const std::size_t bytes = ql::quantized_activations_bytes(x, w);
  const ql::detail::buffer memory = bench::touched_buffer(bytes);
  measure(state, pool, rows * cols * sizeof(float) + bytes, [&] {
    benchmark::DoNotOptimize(
        ql::quantize_activations(x, w, ql::workspace{memory.data(), memory.size()}, pool).data().data);
  });
}

// Runs on one thread and on all of them.
template <class F>
void add(const std::string& what, F&& f) {
  auto* const b = benchmark::RegisterBenchmark(what.c_str(), f);
  b->ArgName("threads")->UseManualTime()->Unit(benchmark::kMillisecond)->Arg(1);
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  if (cores > 1) b->Arg(cores);
}

template <class Scheme, class T>
void add_scheme() {
  const std::string of = std::string("<") + ql::name<Scheme>() + ", " + ql::detail::element<T>::name + ">";
  add("rtn" + of, [](benchmark::State& s) { quantize<Scheme, T>(s, ql::rtn{}, rows); });
  add("dequantize" + of, [](benchmark::State& s) { dequantize<Scheme, T>(s); });
}

template <class Scheme>
void add_activations(const char* what) {
  add(std::string("activations<") + what + ", float>", [](benchmark::State& s) { activations<Scheme>(s); });
}

template <class Scheme>
void add_mse_clip() {
  add(std::string("mse_clip<") + ql::name<Scheme>() + ", float>",
      [](benchmark::State& s) { quantize<Scheme, float>(s, ql::mse_clip{}, rows / 64); });
}

}    // namespace

int main(int argc, char** argv) {
  if (!ql::supported<backend>()) {
    std::printf("skipped: this CPU does not support %s\n", ql::name<backend>());
    return 0;
  }
  using ql::per_group;
  add_scheme<ql::scheme<ql::int4, per_group<32>>, float>();
  add_scheme<ql::scheme<ql::int4, per_group<128>>, float>();
  add_scheme<ql::scheme<ql::int4, per_group<64>, ql::asymmetric>, float>();
  add_scheme<ql::scheme<ql::int4, per_group<32>, ql::offset<>>, float>();
  add_scheme<ql::scheme<ql::int8, per_group<32>>, float>();
  add_scheme<ql::scheme<ql::int8, ql::per_channel>, float>();
  add_scheme<ql::scheme<ql::int8, ql::per_tensor>, float>();
  add_scheme<ql::scheme<ql::int4, per_group<32>>, ql::bfloat16>();
  add_scheme<ql::scheme<ql::int4, per_group<32>>, ql::float16>();
  add_scheme<ql::scheme<ql::int8, ql::per_channel>, ql::bfloat16>();
  add_activations<ql::scheme<ql::int8, ql::per_channel>>("per_token");
  add_activations<ql::scheme<ql::int4, per_group<128>>>("per_group<128>");
  add_activations<ql::scheme<ql::int4, per_group<32>>>("per_group<32>");
  add_mse_clip<ql::scheme<ql::int4, per_group<32>>>();
  add_mse_clip<ql::scheme<ql::int4, per_group<128>, ql::asymmetric>>();
  add_mse_clip<ql::scheme<ql::int8, ql::per_channel>>();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
