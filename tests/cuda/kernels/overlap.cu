// Products that begin before those ahead of them have ended: a chain of layers, each of which reads what the one before
// wrote and overwrites what it read.
#include "cuda/kernels/device.cuh"

using namespace qlite_test;
namespace ql = qlite;

namespace {

template <class Scheme, bool Integer>
std::string wrong_chain(std::size_t m, const ql::cuda::kernel_choice& choice) {
  constexpr std::size_t n = 1536, layers = 24;
  using traits = ql::detail::scheme_traits<Scheme>;
  device::stream s;
  const std::size_t bytes = ql::cuda::packed_bytes<Scheme>(n, n);
  device::memory weights(bytes), a(m * n * 2), b(m * n * 2);
  ql::quantized_matrix<Scheme> q(n, n);
  // Codes of mean 0 and scales by which activations neither grow nor vanish.
  std::uint32_t state = 1;
  const auto below = [&](std::uint32_t n) { return ((state = state * 1664525u + 1013904223u) >> 16) % n; };
  for (std::size_t i = 0; i < q.view().shape().code_bytes(); ++i)
    q.codes()[i] =
        static_cast<std::uint8_t>(traits::bits == 4 ? (1 + below(15)) * 16 + 1 + below(15) : below(255) - 127);
  for (std::size_t i = 0; i < q.view().shape().scale_count(); ++i)
    q.scales()[i] = ql::float16::from_float(traits::bits == 4 ? 0.0059f : 0.00035f);
  if (ql::cuda::pack<Scheme>(q, weights.data(), bytes, s) != cudaSuccess) return "pack";
  std::vector<__half> x(m * n);
  for (__half& v : x) v = __float2half(static_cast<float>(below(256)) / 128.0f - 1.0f);

  const ql::cuda::packed_view<Scheme> w{weights.data(), n, n};
  const auto input = [](__half* p, std::size_t rows) {
    const ql::matrix_view<const __half> view{p, rows, n};
    if constexpr (Integer)
      return ql::dynamic<ql::int8>(view);
    else
      return view;
  };
  const std::size_t scratch_bytes = ql::cuda::gemm_workspace_bytes(input(nullptr, m), w);
  device::memory scratch(scratch_bytes);
  std::vector<unsigned short> results[2];
  for (const bool overlap : {false, true}) {
    cudaMemcpy(a.data(), x.data(), 2 * m * n, cudaMemcpyHostToDevice);
    cudaDeviceSynchronize();
    ql::cuda::kernel_choice c = choice;
    c.overlap = overlap;
    const int status = device::run_maybe_captured(false, s, [&](cudaStream_t to) {
      for (std::size_t i = 0; i < layers; ++i) {
        __half *const from = i % 2 == 0 ? a.at<__half>() : b.at<__half>(), *const into = i % 2 == 0 ? b.at<__half>()
                                                                                                    : a.at<__half>();
        const cudaError_t e = ql::cuda::gemm(input(from, m), w, ql::matrix_view<__half>{into, m, n},
                                             ql::epilogue::none{}, {scratch.data(), scratch_bytes}, c, to);
        if (e != cudaSuccess) return e;
      }
      return cudaSuccess;
    });
    if (status != 0) return cudaGetErrorString(static_cast<cudaError_t>(status));
    results[overlap].resize(m * n);
    cudaMemcpy(results[overlap].data(), a.data(), 2 * m * n, cudaMemcpyDeviceToHost);
  }
  std::size_t zeros = 0;
  for (const unsigned short bits : results[0]) zeros += (bits & 0x7fffu) == 0 || (bits & 0x7c00u) == 0x7c00u;
  if (zeros > m * n / 2) return "activations that say nothing";
  return results[0] == results[1] ? "" : "other results where products overlap";
}

}    // namespace

std::string qlite_test::device::wrong_overlap() {
  using ql::cuda::kernel_choice;
  using ql::cuda::kernel_family;
  using w4 = ql::scheme<ql::int4, ql::per_group<128>>;
  using w8 = ql::scheme<ql::int8, ql::per_channel>;
  std::vector<kernel_choice> choices{{}, {kernel_family::simple}, {kernel_family::staged, 2, 4, 2, 1}};
  if (device::has_hopper())
    for (const unsigned char tokens : {4, 16, 32})
      for (const unsigned char cluster : {1, 3})
        if (tokens < 32 || cluster == 1) choices.push_back({kernel_family::hopper, 0, tokens, 0, cluster});
  for (const std::size_t m : {std::size_t{1}, std::size_t{13}, std::size_t{70}})
    for (const kernel_choice& c : choices) {
      const std::string names[2] = {wrong_chain<w4, false>(m, c), wrong_chain<w8, true>(m, c)};
      for (int integer = 0; integer < 2; ++integer)
        if (!names[integer].empty())
          return names[integer] + (integer != 0 ? ": INT8, m " : ": INT4, m ") + std::to_string(m) + ", kernel " +
                 std::to_string(static_cast<int>(c.family)) + " " + std::to_string(c.token_tiles) + " " +
                 std::to_string(c.cluster);
    }
  return {};
}
