#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
namespace ql = qlite;

namespace {

using w4 = ql::scheme<qlite::int4, ql::per_group<32>>;
using w4_run_time = grouped<qlite::int4>;

struct problem {
  static constexpr std::size_t m = 5, n = 70, k = 200;
  device::memory weights{ql::cuda::packed_bytes<w4>(n, k)}, x{m * k * 2}, y{m * n * 2}, other{m * n * 4};
  ql::cuda::packed_view<w4> w{weights.data(), n, k};
  ql::matrix_view<const __half> xv{x.at<__half>(), m, k};
  ql::matrix_view<__half> yv{y.at<__half>(), m, n};
};

}    // namespace

std::string qlite_test::device::wrong_answer_at_the_door() {
  problem p;
  stream s;
  constexpr std::size_t m = problem::m, n = problem::n, k = problem::k;
  cudaMemset(p.weights.data(), 0, p.weights.size());
  cudaMemset(p.x.data(), 0, p.x.size());
  const ql::epilogue::none none{};
  const ql::workspace empty{};
  const auto product = [&](ql::matrix_view<const __half> x, const ql::cuda::packed_view<w4>& w,
                           ql::matrix_view<__half> y) { return ql::cuda::gemm(x, w, y, none, empty, s); };
#define QLITE_TEST_REFUSED(call) \
  if ((call) != cudaErrorInvalidValue) return "not refused: " #call
#define QLITE_TEST_TAKEN(call) \
  if ((call) != cudaSuccess) return "refused: " #call
  QLITE_TEST_TAKEN(product(p.xv, p.w, p.yv));
  QLITE_TEST_REFUSED(product({p.xv.data(), m, k - 1, k}, p.w, p.yv));
  QLITE_TEST_REFUSED(product({p.xv.data(), m - 1, k}, p.w, p.yv));
  QLITE_TEST_REFUSED(product(p.xv, p.w, {p.yv.data(), m, n - 1, n}));
  QLITE_TEST_REFUSED(product({p.xv.data(), m, k, k - 8}, p.w, p.yv));
  QLITE_TEST_REFUSED(product(p.xv, p.w, {p.yv.data(), m, n, n - 1}));
  QLITE_TEST_REFUSED(product({nullptr, m, k}, p.w, p.yv));
  QLITE_TEST_REFUSED(product(p.xv, p.w, {nullptr, m, n}));
  QLITE_TEST_REFUSED(product(p.xv, {nullptr, n, k}, p.yv));
  QLITE_TEST_REFUSED(product(p.xv, {p.weights.at<char>(8), n, k}, p.yv));
  QLITE_TEST_REFUSED(product({reinterpret_cast<const __half*>(p.x.at<char>(1)), m, k}, p.w, p.yv));
  QLITE_TEST_REFUSED(product(p.xv, p.w, {reinterpret_cast<__half*>(p.y.at<char>(1)), m, n}));
  // X off its alignment needs a workspace.
  const ql::matrix_view<const __half> shifted{p.x.at<__half>(1), m - 1, k};
  if (ql::cuda::gemm_workspace_bytes(p.xv, p.w) != 0) return "a workspace for aligned X";
  if (ql::cuda::gemm_workspace_bytes(shifted, p.w) == 0) return "no workspace for misaligned X";
  QLITE_TEST_REFUSED(product(shifted, p.w, {p.yv.data(), m - 1, n}));
  QLITE_TEST_REFUSED(ql::cuda::gemm(ql::dynamic<qlite::int8>(p.xv), p.w, p.yv, none, empty, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(ql::fixed<qlite::int8>(p.xv, 0.0f), p.w, p.yv, none,
                                    ql::workspace{p.other.data(), p.other.size()}, s));
  // Operands of epilogues.
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, ql::epilogue::bias{p.other.at<float>(), n - 1}, empty, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, ql::epilogue::bias<float>{nullptr, n}, empty, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(
      p.xv, p.w, p.yv, ql::epilogue::residual{ql::matrix_view<const float>{p.other.at<float>(), m, n - 1}}, empty, s));
  // Choices that no kernel has.
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, none, empty, {ql::cuda::kernel_family::direct, 3, 1, 8}, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, none, empty, {ql::cuda::kernel_family::direct, 1, 1, 17}, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, none, empty, {ql::cuda::kernel_family::staged, 2, 4, 3}, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, none, empty, {ql::cuda::kernel_family::hopper, 0, 2, 0, 1}, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, none, empty, {ql::cuda::kernel_family::hopper, 0, 16, 0, 9}, s));
  QLITE_TEST_REFUSED(ql::cuda::gemm(p.xv, p.w, p.yv, none, empty, {ql::cuda::kernel_family::hopper, 0, 32, 0, 2}, s));
  // Nothing to do.
  QLITE_TEST_TAKEN(product({nullptr, 0, k}, p.w, {nullptr, 0, n}));
  QLITE_TEST_TAKEN(product(p.xv, {nullptr, 0, k}, {nullptr, m, 0}));
  // pack
  ql::quantized_matrix<w4> q(n, k);
  QLITE_TEST_TAKEN(ql::cuda::pack<w4>(q, p.weights.data(), p.weights.size(), s));
  QLITE_TEST_REFUSED(ql::cuda::pack<w4>(q, p.weights.data(), p.weights.size() - 1, s));
  QLITE_TEST_REFUSED(ql::cuda::pack<w4>(q, nullptr, p.weights.size(), s));
  QLITE_TEST_REFUSED(ql::cuda::pack<w4>(q, p.weights.at<char>(8), p.weights.size(), s));
  QLITE_TEST_REFUSED(
      ql::cuda::pack<w4>(ql::quantized_view<w4>{q.shape(), q.codes(), nullptr}, p.weights.data(), p.weights.size(), s));
  w4_run_time odd{{12}}, none_at_all{{0}};
  if (ql::cuda::packed_bytes(n, k, odd) != 0) return "packed_bytes for groups of 12";
  ql::quantized_matrix<w4_run_time> groups_of_12(n, k, odd);
  QLITE_TEST_REFUSED(ql::cuda::pack<w4_run_time>(groups_of_12, p.weights.data(), p.weights.size(), s));
  if (ql::cuda::packed_bytes(n, k, none_at_all) != 0) return "packed_bytes for groups of 0";
  cudaStreamSynchronize(s);
  return cudaGetLastError() == cudaSuccess ? "" : "an error is left behind";
}

namespace {

// A product whose results are known: codes 1, scales 1, X of ones, so that every result is K.
struct known_product {
  using scheme = ql::scheme<qlite::int8, ql::per_channel>;
  static constexpr std::size_t m = 4, n = 1000, k = 1000;
  ql::quantized_matrix<scheme> q{n, k};
  std::vector<__half> host = std::vector<__half>(m * k, __float2half(1.0f)), result = std::vector<__half>(m * n);
  device::memory weights{ql::cuda::packed_bytes<scheme>(n, k)}, x{m * k * 2}, y{m * n * 2}, space{m * (k + 64) + 1024};

  explicit known_product(unsigned char code) {
    std::memset(q.codes(), code, n * k);
    for (std::size_t i = 0; i < n; ++i) q.scales()[i] = ql::float16::from_float(1.0f);
    cudaMemcpy(x.data(), host.data(), m * k * 2, cudaMemcpyHostToDevice);
    ql::cuda::pack<scheme>(q, weights.data(), weights.size(), nullptr);
    cudaDeviceSynchronize();
  }
  cudaError_t start(cudaStream_t s) {
    return ql::cuda::gemm(ql::dynamic<qlite::int8>(ql::matrix_view<const __half>{x.at<__half>(), m, k}),
                          ql::cuda::packed_view<scheme>{weights.data(), n, k},
                          ql::matrix_view<__half>{y.at<__half>(), m, n}, ql::epilogue::none{},
                          ql::workspace{space.data(), space.size()}, s);
  }
  bool is_right(float expected) {
    cudaMemcpy(result.data(), y.data(), m * n * 2, cudaMemcpyDeviceToHost);
    for (__half v : result)
      if (__half2float(v) != expected) return false;
    return true;
  }
};

}    // namespace

std::string qlite_test::device::wrong_result_of_streams() {
  known_product a(1), b(2);
  stream s, t;
  for (int i = 0; i < 50; ++i)
    if (a.start(s) != cudaSuccess || b.start(t) != cudaSuccess) return "not started";
  if (cudaStreamSynchronize(s) != cudaSuccess || cudaStreamSynchronize(t) != cudaSuccess) return "not finished";
  if (!a.is_right(1000.0f)) return "the first stream";
  return b.is_right(2000.0f) ? "" : "the second stream";
}

std::string qlite_test::device::wrong_result_of_devices() {
  int count = 0;
  cudaGetDeviceCount(&count);
  for (int i = count - 1; i >= 0; --i) {
    cudaSetDevice(i);
    known_product a(1);
    stream s;
    if (a.start(s) != cudaSuccess || cudaStreamSynchronize(s) != cudaSuccess || !a.is_right(1000.0f))
      return "device " + std::to_string(i);
  }
  return "";
}
