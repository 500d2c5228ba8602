// The tuner: measures the kernels that could compute a product and says which is the fastest here. Optional, and meant
// to run once: its answer is a kernel_choice, which fits into a short text that a program can store.
#pragma once

#include <qlite/cuda/gemm.cuh>

#include <algorithm>
#include <cstdio>
#include <cstring>

QLITE_CUDA_BEGIN_NAMESPACE

/// A kernel_choice as text: "automatic", or the family and its four numbers, "staged 2 8 4 1".
struct choice_name {
  char text[32];
};

QLITE_CUDA_END_NAMESPACE

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

inline constexpr const char* family_names[] = {"automatic", "simple", "direct", "staged", "hopper"};

/// A captured series of launches.
class launch_graph {
 public:
  launch_graph() = default;
  launch_graph(const launch_graph&) = delete;
  launch_graph& operator=(const launch_graph&) = delete;
  ~launch_graph() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  }
  /// Captures launch(i, stream) for i in [0, count) on a stream of the tuner's.
  template <class Launch>
  cudaError_t capture(int count, cudaStream_t stream, Launch&& launch) {
    QLITE_CUDA_RETURN_IF_ERROR(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cudaError_t status = cudaSuccess;
    for (int i = 0; i < count && status == cudaSuccess; ++i) status = launch(i, stream);
    cudaGraph_t graph = nullptr;
    const cudaError_t end = cudaStreamEndCapture(stream, &graph);
    if (status == cudaSuccess) status = end;
    if (status == cudaSuccess) status = cudaGraphInstantiate(&executable_, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    return status;
  }
  cudaError_t replay(cudaStream_t stream) const { return cudaGraphLaunch(executable_, stream); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// What a measurement needs of the runtime, freed with it.
struct tuner_resources {
  cudaStream_t side = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  tuner_resources() = default;
  tuner_resources(const tuner_resources&) = delete;
  tuner_resources& operator=(const tuner_resources&) = delete;
  ~tuner_resources() {
    if (side != nullptr) cudaStreamDestroy(side);
    if (begin != nullptr) cudaEventDestroy(begin);
    if (end != nullptr) cudaEventDestroy(end);
  }
  cudaError_t create() {
    QLITE_CUDA_RETURN_IF_ERROR(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    QLITE_CUDA_RETURN_IF_ERROR(cudaEventCreate(&begin));
    return cudaEventCreate(&end);
  }
};

/// The choices to measure, besides the table's own. Up to 16 tokens only those that add in the table's order.
template <class Visit>
cudaError_t for_each_candidate(const product_shape& s, Visit&& visit) {
  const auto make = [](kernel_family family, unsigned row_tiles, unsigned token_tiles, unsigned warps,
                       unsigned cluster) {
    kernel_choice c;
    c.family = family;
    c.row_tiles = static_cast<std::uint8_t>(row_tiles);
    c.token_tiles = static_cast<std::uint8_t>(token_tiles);
    c.warps = static_cast<std::uint8_t>(warps);
    c.cluster = static_cast<std::uint8_t>(cluster);
    return c;
  };
  if (s.m <= 16) {
    const kernel_choice table = choose_kernel(s);
    for (const unsigned rows : {1u, 2u})
      for (const unsigned tokens : {1u, 2u})
        QLITE_CUDA_RETURN_IF_ERROR(visit(make(kernel_family::direct, rows, tokens, table.warps, 1)));
    return cudaSuccess;
  }
  for (const unsigned tokens : {4u, 8u, 16u})
    for (const unsigned warps : {1u, 2u, 4u, 8u})
      for (const unsigned cluster : {1u, 2u, 4u})
        QLITE_CUDA_RETURN_IF_ERROR(visit(make(kernel_family::staged, 2, tokens, warps, cluster)));
  QLITE_CUDA_RETURN_IF_ERROR(visit(block_choice));
  for (const unsigned tokens : hopper_token_tiles)
    for (unsigned cluster = 1; cluster <= hopper_clusters(tokens); ++cluster)
      QLITE_CUDA_RETURN_IF_ERROR(visit(make(kernel_family::hopper, 0, tokens, 0, cluster)));
  return cudaSuccess;
}

}    // namespace kernels

inline choice_name name_of(const kernel_choice& c) noexcept {
  choice_name name{};
  if (c.family == kernel_family::automatic)
    std::strcpy(name.text, kernels::family_names[0]);
  else
    std::snprintf(name.text, sizeof name.text, "%s %u %u %u %u", kernels::family_names[static_cast<int>(c.family) % 5],
                  c.row_tiles, c.token_tiles, c.warps, c.cluster);
  return name;
}

/// The inverse of name_of; false, and `c` as it was, for anything else.
inline bool parse_choice(const char* text, kernel_choice& c) noexcept {
  char family[16] = {};
  unsigned numbers[4] = {};
  int end = 0;
  kernel_choice parsed;
  for (int i = 0; i < 5; ++i) {
    const bool automatic = i == 0;
    if (automatic && std::strcmp(text, kernels::family_names[0]) != 0) continue;
    if (!automatic) {
      if (std::sscanf(text, "%15[a-z] %3u %3u %3u %3u%n", family, numbers, numbers + 1, numbers + 2, numbers + 3,
                      &end) != 5 ||
          text[end] != '\0' || std::strcmp(family, kernels::family_names[i]) != 0)
        continue;
      for (const unsigned n : numbers)
        if (n > 255) return false;
      parsed.row_tiles = static_cast<std::uint8_t>(numbers[0]);
      parsed.token_tiles = static_cast<std::uint8_t>(numbers[1]);
      parsed.warps = static_cast<std::uint8_t>(numbers[2]);
      parsed.cluster = static_cast<std::uint8_t>(numbers[3]);
    }
    parsed.family = static_cast<kernel_family>(i);
    c = parsed;
    return true;
  }
  return false;
}

/// Measures gemm(x, w, y, epilogue, scratch, choice, stream) for every choice that takes the product, and sets `best`
/// to the fastest, or to the table's (kernel_family::automatic) where none is faster than that by 2 %. The result is
/// for this number of tokens, scheme, type of Y and device.
///
///   w         `count` packed matrices of one shape and scheme, used by turns: as many layers of a model as there are,
///             so that weights come from memory as they will, not from the L2 cache
///   the rest  as of gemm. Y is overwritten, many times; X and W should hold numbers of the usual kind, as speed may
///             depend on them
///
/// Takes some milliseconds to seconds, waits for the stream, makes a stream, events and graphs and frees them; must not
/// be called while `stream` is captured. For M <= 16 it only varies what does not change a row's bits, so those of
/// tuned and untuned products are the same. Errors as gemm.
template <class X, class Scheme, class T, class Epilogue>
inline cudaError_t tune(const X& x, const packed_view<Scheme>* w, std::size_t count, matrix_view<T> y,
                        const Epilogue& epilogue, workspace scratch, kernel_choice& best, cudaStream_t stream) {
  using form = kernels::input_form<X>;
  best = {};
  if (w == nullptr || count == 0) return cudaErrorInvalidValue;
  for (std::size_t i = 1; i < count; ++i)
    if (w[i].rows() != w[0].rows() || w[i].cols() != w[0].cols() || w[i].bytes() != w[0].bytes())
      return cudaErrorInvalidValue;
  const auto product = [&](std::size_t i, const kernel_choice& c, cudaStream_t to) {
    return gemm(x, w[i % count], y, epilogue, scratch, c, to);
  };
  QLITE_CUDA_RETURN_IF_ERROR(product(0, kernel_choice{}, stream));
  QLITE_CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(stream));
  if (y.empty()) return cudaSuccess;
  kernels::tuner_resources resources;
  QLITE_CUDA_RETURN_IF_ERROR(resources.create());

  int device = 0;
  product_shape shape;
  shape.n = w[0].rows();
  shape.k = w[0].cols();
  shape.m = form::rows(x);
  shape.bits = detail::scheme_traits<Scheme>::bits;
  shape.integer = form::math::is_integer;
  QLITE_CUDA_RETURN_IF_ERROR(cudaGetDevice(&device));
  QLITE_CUDA_RETURN_IF_ERROR(cudaDeviceGetAttribute(&shape.multiprocessors, cudaDevAttrMultiProcessorCount, device));

  // Microseconds of a product: the median of `rounds` replays of a graph of some of them.
  const auto measure = [&](const kernel_choice& c, int launches, int rounds, double& time) -> cudaError_t {
    kernels::launch_graph graph;
    QLITE_CUDA_RETURN_IF_ERROR(graph.capture(
        launches, resources.side, [&](int i, cudaStream_t to) { return product(static_cast<std::size_t>(i), c, to); }));
    QLITE_CUDA_RETURN_IF_ERROR(graph.replay(stream));
    float times[9];    // sorted as they come
    for (int r = 0; r < rounds; ++r) {
      QLITE_CUDA_RETURN_IF_ERROR(cudaEventRecord(resources.begin, stream));
      QLITE_CUDA_RETURN_IF_ERROR(graph.replay(stream));
      QLITE_CUDA_RETURN_IF_ERROR(cudaEventRecord(resources.end, stream));
      QLITE_CUDA_RETURN_IF_ERROR(cudaEventSynchronize(resources.end));
      float milliseconds = 0;
      QLITE_CUDA_RETURN_IF_ERROR(cudaEventElapsedTime(&milliseconds, resources.begin, resources.end));
      int at = r;
      for (; at > 0 && times[at - 1] > milliseconds; --at) times[at] = times[at - 1];
      times[at] = milliseconds;
    }
    time = 1e3 * static_cast<double>(times[rounds / 2]) / launches;
    return cudaSuccess;
  };
  double table = 0;
  QLITE_CUDA_RETURN_IF_ERROR(measure({}, 4, 3, table));
  // About a millisecond a replay, and all of the weights at least once if that is not much longer.
  const int launches = std::max(2, static_cast<int>(std::min(1e3 / table, 256.0)));
  const int all = std::max(launches, static_cast<int>(std::min(count, std::size_t(4 * launches))));
  QLITE_CUDA_RETURN_IF_ERROR(measure({}, all, 7, table));
  double least = 0.98 * table;
  return kernels::for_each_candidate(shape, [&](const kernel_choice& c) -> cudaError_t {
    // What no kernel takes is refused before it is launched.
    const cudaError_t status = product(0, c, stream);
    if (status == cudaErrorInvalidValue || status == cudaErrorNoKernelImageForDevice) return cudaSuccess;
    QLITE_CUDA_RETURN_IF_ERROR(status);
    double time = 0;
    QLITE_CUDA_RETURN_IF_ERROR(measure(c, std::max(2, all / 4), 1, time));
    if (time > 1.2 * least) return cudaSuccess;
    QLITE_CUDA_RETURN_IF_ERROR(measure(c, all, 7, time));
    if (time < least) least = time, best = c;
    return cudaSuccess;
  });
}

QLITE_CUDA_END_FUNCTIONS
