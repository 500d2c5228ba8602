// A gated feed-forward block of a decoder as an engine would write it: INT4 weights that were quantized on the host,
// packed once, and a step that is captured into a graph and replayed. Returns 0 if the results are those of the
// dequantized weights.
#include <qlite/cuda/gemm.cuh>
#include <qlite/quantize.hpp>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

namespace ql = qlite;
using w4 = ql::scheme<ql::int4, ql::per_group<64>>;

namespace {

#define CHECK(call)                                               \
  do {                                                            \
    const cudaError_t status = (call);                            \
    if (status != cudaSuccess) {                                  \
      std::printf("%s: %s\n", #call, cudaGetErrorString(status)); \
      std::exit(1);                                               \
    }                                                             \
  } while (false)

struct linear {
  std::vector<float> dense;
  std::size_t n, k;
  void* packed = nullptr;

  linear(std::size_t rows, std::size_t cols, std::mt19937& rng, cudaStream_t stream)
      : dense(rows * cols), n(rows), k(cols) {
    std::normal_distribution<float> normal(0.0f, 0.05f);
    for (float& v : dense) v = normal(rng);
    const auto q = ql::quantize<w4>(ql::matrix_view<const float>{dense.data(), n, k}, ql::rtn{});
    ql::dequantize(q, ql::matrix_view<float>{dense.data(), n, k});
    const std::size_t bytes = ql::cuda::packed_bytes<w4>(n, k);
    CHECK(cudaMalloc(&packed, bytes));
    CHECK(ql::cuda::pack<w4>(q, packed, bytes, stream));
  }
  ql::cuda::packed_view<w4> view() const { return {packed, n, k}; }
};

}    // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("skipped: no CUDA device");
    return 77;
  }
  const std::size_t hidden = 320, inner = 864, tokens = 3;
  std::mt19937 rng(11);
  std::normal_distribution<float> normal;
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const linear gate(inner, hidden, rng, stream), up(inner, hidden, rng, stream), down(hidden, inner, rng, stream);

  std::vector<__half> x(tokens * hidden);
  for (__half& v : x) v = __float2half(normal(rng));
  __half *xd = nullptr, *gated = nullptr, *result = nullptr;
  CHECK(cudaMalloc(&xd, tokens * hidden * sizeof(__half)));
  CHECK(cudaMalloc(&gated, tokens * inner * sizeof(__half)));
  CHECK(cudaMalloc(&result, tokens * hidden * sizeof(__half)));
  CHECK(cudaMemcpy(xd, x.data(), x.size() * sizeof(__half), cudaMemcpyHostToDevice));

  // y = x + down(silu(gate(x)) * up(x)). Nothing here needs a workspace: rows lie on 16-byte boundaries.
  const ql::matrix_view<const __half> xv{xd, tokens, hidden};
  const ql::matrix_view<__half> gv{gated, tokens, inner}, yv{result, tokens, hidden};
  namespace epilogue = ql::epilogue;
  cudaGraph_t graph;
  cudaGraphExec_t step;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CHECK(ql::cuda::gemm(xv, gate.view(), gv, epilogue::silu{}, {}, stream));
  CHECK(ql::cuda::gemm(xv, up.view(), gv, epilogue::multiply{gv}, {}, stream));
  CHECK(ql::cuda::gemm(ql::matrix_view<const __half>(gv), down.view(), yv, epilogue::residual{xv}, {}, stream));
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&step, graph, 0));
  for (int i = 0; i < 3; ++i) CHECK(cudaGraphLaunch(step, stream));
  std::vector<__half> y(tokens * hidden);
  CHECK(cudaMemcpyAsync(y.data(), result, y.size() * sizeof(__half), cudaMemcpyDeviceToHost, stream));
  CHECK(cudaStreamSynchronize(stream));

  const auto dot = [](const linear& w, std::size_t row, const double* v) {
    double sum = 0;
    for (std::size_t i = 0; i < w.k; ++i) sum += static_cast<double>(w.dense[row * w.k + i]) * v[i];
    return sum;
  };
  double difference = 0, norm = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    std::vector<double> in(hidden), mid(inner);
    for (std::size_t i = 0; i < hidden; ++i) in[i] = static_cast<double>(__half2float(x[t * hidden + i]));
    for (std::size_t i = 0; i < inner; ++i) {
      const double g = dot(gate, i, in.data());
      mid[i] = g / (1 + std::exp(-g)) * dot(up, i, in.data());
    }
    for (std::size_t i = 0; i < hidden; ++i) {
      const double want = in[i] + dot(down, i, mid.data());
      const double got = static_cast<double>(__half2float(y[t * hidden + i]));
      difference += (got - want) * (got - want);
      norm += want * want;
    }
  }
  // Three roundings to float16 on the way, each at most 2^-11 of a value.
  const double error = std::sqrt(difference / norm);
  std::printf("relative error %.2e\n", error);
  return error < 3 * 0x1p-11 ? 0 : 1;
}
