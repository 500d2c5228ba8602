#include <qlite/cuda/tune.cuh>

#include "cuda/kernels/device.cuh"
#include "cuda/schemes.hpp"

using namespace qlite_test;
namespace ql = qlite;

namespace {

using w4 = ql::scheme<qlite::int4, ql::per_group<64>>;

std::string wrong_names() {
  using ql::cuda::kernel_choice;
  using ql::cuda::kernel_family;
  for (const kernel_choice c :
       {kernel_choice{}, kernel_choice{kernel_family::simple, 0, 0, 0, 1},
        kernel_choice{kernel_family::direct, 2, 1, 16, 1}, kernel_choice{kernel_family::staged, 2, 16, 8, 4},
        kernel_choice{kernel_family::hopper, 0, 32, 255, 8}}) {
    kernel_choice back{kernel_family::simple, 9, 9, 9, 9};
    const ql::cuda::choice_name name = ql::cuda::name_of(c);
    if (!ql::cuda::parse_choice(name.text, back)) return std::string("not parsed: ") + name.text;
    if (c.family == kernel_family::automatic ? back.family != c.family : std::memcmp(&back, &c, sizeof c) != 0)
      return std::string("another choice: ") + name.text;
  }
  for (const char* text : {"", "direct", "direct 1 1 8", "direct 1 1 8 1 ", "direct 1 1 8 1 1", "direct 1 1 8 256",
                           "fast 1 1 8 1", "automatic 1 1 1 1", "Automatic", "direct 1 1 8 -1"}) {
    kernel_choice c{kernel_family::hopper, 1, 2, 3, 4};
    if (ql::cuda::parse_choice(text, c)) return std::string("parsed: ") + text;
    if (c.family != kernel_family::hopper || c.cluster != 4) return "a choice that was touched";
  }
  return {};
}

// A tuned product is the product; up to 16 rows to the bit.
std::string wrong_tuned(std::size_t n, std::size_t k, std::size_t m) {
  device::stream s;
  const std::size_t bytes = ql::cuda::packed_bytes<w4>(n, k);
  device::memory weights(3 * bytes), x(m * k * 2), y(m * n * 4), expected(m * n * 4);
  std::vector<ql::cuda::packed_view<w4>> copies;
  for (std::size_t i = 0; i < 3; ++i) {
    ql::quantized_matrix<w4> q(n, k);
    for (std::size_t b = 0; b < q.view().shape().code_bytes(); ++b)
      q.codes()[b] = static_cast<std::uint8_t>(b * 37 + i * 11 + b / 97);
    for (std::size_t b = 0; b < q.view().shape().scale_count(); ++b) q.scales()[b] = ql::float16::from_float(0.01f);
    char* const to = weights.at<char>(i * bytes);
    if (ql::cuda::pack<w4>(q, to, bytes, s) != cudaSuccess) return "pack";
    copies.push_back({to, n, k});
  }
  std::vector<__half> values(m * k);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = __float2half(static_cast<float>(i * 31 % 17) - 8.0f);
  cudaMemcpy(x.data(), values.data(), 2 * values.size(), cudaMemcpyHostToDevice);
  const ql::matrix_view<const __half> xv{x.at<__half>(), m, k};
  const ql::matrix_view<float> yv{y.at<float>(), m, n}, ev{expected.at<float>(), m, n};
  const ql::epilogue::none none{};
  ql::cuda::kernel_choice choice;
  const cudaError_t status = ql::cuda::tune(xv, copies.data(), copies.size(), yv, none, {}, choice, s);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  const std::string name = ql::cuda::name_of(choice).text;
  std::printf("%zu x %zu, M = %zu: %s\n", n, k, m, name.c_str());
  ql::cuda::kernel_choice stored;
  if (!ql::cuda::parse_choice(name.c_str(), stored)) return "a name that cannot be read: " + name;
  cudaMemset(y.data(), 0xff, y.size());
  cudaDeviceSynchronize();    // the stream does not wait for the default one
  if (ql::cuda::gemm(xv, copies[1], yv, none, {}, stored, s) != cudaSuccess) return "the choice is refused: " + name;
  if (ql::cuda::gemm(xv, copies[1], ev, none, {}, s) != cudaSuccess) return "gemm";
  cudaStreamSynchronize(s);
  std::vector<float> got(m * n), want(m * n);
  cudaMemcpy(got.data(), y.data(), 4 * got.size(), cudaMemcpyDeviceToHost);
  cudaMemcpy(want.data(), expected.data(), 4 * want.size(), cudaMemcpyDeviceToHost);
  if (m <= 16 && std::memcmp(got.data(), want.data(), 4 * got.size()) != 0) return "other bits by " + name;
  for (std::size_t i = 0; i < got.size(); ++i)    // sums of magnitude sqrt(k)
    if (!(std::fabs(got[i] - want[i]) < 1e-4f * static_cast<float>(k))) return "another product by " + name;
  return {};
}

}    // namespace

std::string qlite_test::device::wrong_tuning() {
  std::string wrong = wrong_names();
  for (const std::size_t m : {1u, 7u, 16u, 17u, 100u, 300u})
    if (wrong.empty()) wrong = wrong_tuned(200 + m, 192, m);
  if (wrong.empty()) wrong = wrong_tuned(4096, 4096, 64);
  if (!wrong.empty()) return wrong;

  // Errors are those of gemm.
  stream s;
  device::memory weights(ql::cuda::packed_bytes<w4>(16, 64)), x(128), y(64);
  const ql::cuda::packed_view<w4> w[2] = {{weights.data(), 16, 64}, {weights.data(), 16, 128}};
  const ql::matrix_view<const __half> xv{x.at<__half>(), 1, 64}, narrow{x.at<__half>(), 1, 56};
  const ql::matrix_view<float> yv{y.at<float>(), 1, 16};
  ql::cuda::kernel_choice choice;
  const ql::epilogue::none none{};
  if (ql::cuda::tune(xv, w, 0, yv, none, {}, choice, s) != cudaErrorInvalidValue) return "no weights";
  if (ql::cuda::tune(xv, w, 2, yv, none, {}, choice, s) != cudaErrorInvalidValue) return "weights of two shapes";
  if (ql::cuda::tune(narrow, w, 1, yv, none, {}, choice, s) != cudaErrorInvalidValue) return "K of X";
  return {};
}
