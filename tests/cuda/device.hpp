// What the tests ask of a GPU, without a word of CUDA: the tests are compiled by the host's compiler, and the thin .cu
// files of kernels/ instantiate these functions. Every function returns a cudaError_t as an int, 0 for success; all
// memory is the host's.
#pragma once

#include <qlite/core/view.hpp>
#include <qlite/quantize/quantized_matrix.hpp>

#include <string>
#include <vector>

namespace qlite_test {
namespace device {

inline constexpr int invalid_value = 1;    // cudaErrorInvalidValue

// Why there is nothing to test on; empty if there is a GPU.
std::string reason_to_skip();
std::string describe();
bool has_clusters();
bool has_hopper();    // the kernels are built for sm_90a, and run on it

enum class form { plain, dynamic, dynamic_token, fixed, prepared };

// As qlite::cuda::kernel_choice. family: 0 automatic, 1 simple, 2 direct, 3 staged, 4 hopper.
struct choice {
  int family = 0, row_tiles = 0, token_tiles = 0, warps = 0, cluster = 1;
};

struct request {
  form x_form = form::plain;
  float fixed_scale = 1.0f;
  const void* x = nullptr;    // [m, k], rows x_stride apart
  std::size_t m = 0, k = 0, x_stride = 0;
  void* y = nullptr;    // [m, n], rows y_stride apart; all of it travels, gaps included
  std::size_t n = 0, y_stride = 0;
  std::size_t x_shift = 0, y_shift = 0;    // elements by which the device copies are off their alignment
  choice kernel;
  bool graph = false;    // captured and replayed twice
  bool short_workspace = false;
};

template <class Scheme, class TX, class TY>
int product(const qlite::quantized_view<Scheme>& q, const request& r);

// The packed bytes; from a copy in device memory if `from_device`.
template <class Scheme>
int pack(const qlite::quantized_view<Scheme>& q, bool from_device, std::vector<std::uint8_t>& packed);
// pack, then unpack into `back`, through device memory if `to_device`.
template <class Scheme>
int round_trip(const qlite::quantized_view<Scheme>& q, bool to_device, qlite::quantized_matrix<Scheme>& back);
// pack, then dequantize to [n, k].
template <class Scheme, class T>
int dequantize(const qlite::quantized_view<Scheme>& q, T* out);

// Quantizes W [n, k], rows `stride` apart, on the device; `fault` receives what it reports.
template <class Scheme, class T>
int quantize(Scheme scheme, const T* w, std::size_t stride, qlite::quantized_matrix<Scheme>& out, int& fault);
// dynamic<int8>(X) for weights of this scheme: codes in plain order, [m, k], and their scales.
template <class Scheme, class T>
int quantize_activations(const T* x, std::size_t m, std::size_t k, std::size_t stride, std::size_t group,
                         std::vector<std::int8_t>& codes, std::vector<float>& scales);

// dynamic<int8>(X) [m, k] times per-channel INT8 weights, Y = epilogue `which` in float (which = 4: in float16,
// widened). `matrix` [m, n] and `vector` [n] are its operands, as float and as both 16-bit types.
inline constexpr int epilogues = 6;
struct operands {
  std::vector<float> matrix, vector;
  std::vector<qlite::float16> matrix16, vector16;
  std::vector<qlite::bfloat16> matrix_b, vector_b;
};
int product_with_epilogue(int which, const qlite::quantized_view<qlite::scheme<qlite::int8, qlite::per_channel>>& q,
                          const float* x, std::size_t m, const operands& o, float* y, const choice& kernel = {});

// Calls that must be refused, and a few beside them that must not; the name of the first that is not answered as it
// should be, or an empty string.
std::string wrong_answer_at_the_door();
// Products on two streams at once with workspaces of their own, and on every device; empty, or what went wrong.
std::string wrong_result_of_streams();
std::string wrong_result_of_devices();
// Choices as text, and what the tuner chooses; empty, or what is wrong.
std::string wrong_tuning();
// Chains of products that overlap; empty, or what is wrong.
std::string wrong_overlap();

}    // namespace device
}    // namespace qlite_test
