// Quantizing activations on the device, beside copies of as much memory.
//
//   bench_cuda_activations
//
// dynamic<int8> of X [M, K] in float16: reads two bytes and writes one, and a scale for each token or group of 128. A
// graph of launches over copies of X and its codes of at least 320 MB together, median of replays; beside it
// cudaMemcpyAsync between arrays of the device that reads and writes as many bytes together, in a graph as well.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "cuda/product.cuh"

namespace {

using namespace qlite_bench;
using per_row = qlite::scheme<qlite::int8, qlite::per_channel>;
using per_128 = qlite::scheme<qlite::int8, qlite::per_group<128>>;

/// Microseconds of one of `count` launches in a graph.
template <class F>
double time_of(int count, cudaStream_t stream, F&& launch) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < count; ++i) require(launch(i), "launch");
  require(cudaStreamEndCapture(stream, &graph), "capture");
  require(cudaGraphInstantiate(&executable, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<double> times;
  for (int i = 0; i < 24; ++i) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(executable, stream);
    cudaEventRecord(end, stream);
    require(cudaEventSynchronize(end), "replay");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (i >= 3) times.push_back(1e3 * static_cast<double>(ms) / count);    // the first ones warm up
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

template <class Scheme>
double quantize_time(std::size_t m, std::size_t k, int copies, const __half* x, cudaStream_t stream) {
  const qlite::cuda::packed_view<Scheme> w{nullptr, 16, k};
  const auto input = [&](int i) {
    return qlite::dynamic<qlite::int8>(
        qlite::matrix_view<const __half>{x + static_cast<std::size_t>(i % copies) * m * k, m, k});
  };
  const std::size_t bytes = (qlite::cuda::quantized_activations_bytes(input(0), w) + 255) / 256 * 256;
  device_array<std::byte> memory(static_cast<std::size_t>(copies) * bytes);
  return time_of(std::max(copies, 16), stream, [&](int i) {
    qlite::cuda::quantized_activations out;
    return qlite::cuda::quantize_activations(
        input(i), w, qlite::workspace{memory.data() + static_cast<std::size_t>(i % copies) * bytes, bytes}, out,
        stream);
  });
}

}    // namespace

int main() {
  cudaStream_t stream;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  cudaDeviceProp device{};
  require(cudaGetDeviceProperties(&device, 0), "device");
  std::printf("%s\n%6s %6s %12s %12s %12s %8s %8s\n", device.name, "M", "K", "per token us", "per 128 us", "copy us",
              "token %", "128 %");
  for (const std::size_t k : {4096u, 14336u})
    for (const std::size_t m : {1u, 16u, 128u, 1024u, 4096u, 16384u}) {
      const std::size_t moved = 3 * m * k;
      const auto copies =
          static_cast<int>(std::min<std::size_t>(std::max<std::size_t>((std::size_t{320} << 20) / moved + 1, 2), 512));
      device_array<__half> x(static_cast<std::size_t>(copies) * m * k);
      fill_values<<<1024, 256>>>(x.data(), static_cast<std::size_t>(copies) * m * k, 1.0f, 0.0f);
      require(cudaDeviceSynchronize(), "set-up");
      const double token = quantize_time<per_row>(m, k, copies, x.data(), stream);
      const double groups = quantize_time<per_128>(m, k, copies, x.data(), stream);
      const std::size_t half = moved / 2 / 256 * 256 + 256;
      device_array<std::byte> from(static_cast<std::size_t>(copies) * half),
          to(static_cast<std::size_t>(copies) * half);
      const double copy = time_of(std::max(copies, 16), stream, [&](int i) {
        const std::size_t at = static_cast<std::size_t>(i % copies) * half;
        return cudaMemcpyAsync(to.data() + at, from.data() + at, moved / 2, cudaMemcpyDeviceToDevice, stream);
      });
      std::printf("%6zu %6zu %12.2f %12.2f %12.2f %8.0f %8.0f\n", m, k, token, groups, copy, 100 * copy / token,
                  100 * copy / groups);
    }
  return 0;
}
