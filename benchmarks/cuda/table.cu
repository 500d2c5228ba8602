// The table of docs/cuda.md: time of a product for shapes, numbers of tokens and kinds, beside cuBLAS in the same run.
//
//   bench_cuda_table [--kinds a,b] [--shapes 4096x4096,...] [--rows 1,8,...] [--sweep] [--overlap] [--no-check]
//                    [--json FILE]
//
// Method: a CUDA graph of back-to-back launches over copies of the weights of at least 320 MB together (several times
// the L2), replayed for 10 ms first, then until 12 ms or five replays have passed, whichever is later; the median of
// those replays, divided by the number of launches. For a ratio to cuBLAS its graph is replayed by turns with ours:
// large products run at the card's power limit, and what ran before decides the clocks. Before a kind is timed, its
// output is poisoned and compared with float64.
#include <cublasLt.h>
#include <cublas_v2.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>

#include "cuda/product.cuh"

namespace {

using namespace qlite_bench;

constexpr std::size_t rotate_bytes = std::size_t{320} << 20;

struct shape {
  std::size_t n, k;
};

/// A graph of launches.
class launches {
 public:
  template <class F>
  launches(int count, cudaStream_t stream, F&& launch) : count_(count), stream_(stream) {
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    cudaError_t status = cudaSuccess;
    for (int i = 0; i < count && status == cudaSuccess; ++i) status = launch(i);
    const cudaError_t end = cudaStreamEndCapture(stream, &graph_);
    if (status != cudaSuccess || end != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return;
    }
    require(cudaGraphInstantiate(&executable_, graph_, 0), "instantiate");
    cudaEventCreate(&begin_);
    cudaEventCreate(&end_);
  }
  launches(const launches&) = delete;
  launches& operator=(const launches&) = delete;
  ~launches() {
    if (executable_ == nullptr) return;
    cudaGraphExecDestroy(executable_);
    cudaGraphDestroy(graph_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  bool valid() const { return executable_ != nullptr; }
  /// Microseconds of a replay.
  double replay() {
    cudaEventRecord(begin_, stream_);
    cudaGraphLaunch(executable_, stream_);
    cudaEventRecord(end_, stream_);
    require(cudaEventSynchronize(end_), "replay");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin_, end_);
    return 1e3 * static_cast<double>(ms);
  }
  int count() const { return count_; }

 private:
  int count_;
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
  cudaEvent_t begin_{}, end_{};
};

/// Microseconds of a launch of each: they are replayed by turns, so that all see the same clocks.
std::vector<double> times_of(const std::vector<launches*>& all) {
  std::vector<double> medians(all.size(), NAN);
  std::vector<std::vector<double>> times(all.size());
  const auto round = [&]() {
    double sum = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i]->valid()) {
        times[i].push_back(all[i]->replay());
        sum += times[i].back();
      }
    return sum;
  };
  double total = 0;
  for (int i = 0; i < 2 || (total < 10e3 && i < 20); ++i) total += round();    // warm-up
  for (std::vector<double>& t : times) t.clear();
  total = 0;
  for (int i = 0; i < 5 || (total < 12e3 * static_cast<double>(all.size()) && i < 40); ++i) total += round();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (times[i].empty()) continue;
    std::sort(times[i].begin(), times[i].end());
    medians[i] = times[i][times[i].size() / 2] / all[i]->count();
  }
  return medians;
}
template <class F>
double time_of(int count, cudaStream_t stream, F&& launch) {
  launches l(count, stream, launch);
  return times_of({&l})[0];
}

/// Enough that what the other graph left in the caches and the TLBs does not count.
int launches_for(int copies, std::size_t m) { return std::max(10, copies) * (m <= 64 ? 8 : m <= 256 ? 4 : 1); }

/// cuBLAS, float16 with float32 sums.
class cublas_half {
 public:
  cublas_half(const shape& s, std::size_t most_rows, cublasHandle_t handle)
      : s_(s),
        copies_(std::max(2, static_cast<int>(rotate_bytes / (2 * s.n * s.k) + 1))),
        w_(static_cast<std::size_t>(copies_) * s.n * s.k),
        x_(most_rows * s.k),
        y_(most_rows * s.n),
        handle_(handle) {
    fill_values<<<1024, 256>>>(w_.data(), static_cast<std::size_t>(copies_) * s.n * s.k, 0.0625f, 0.0f);
    fill_values<<<1024, 256>>>(x_.data(), most_rows * s.k, 1.0f, 0.0f);
    require(cudaDeviceSynchronize(), "cublas set-up");
  }
  /// Products with m rows of X.
  std::unique_ptr<launches> products(std::size_t m, cudaStream_t stream) {
    cublasSetStream(handle_, stream);
    const float one = 1.0f, zero = 0.0f;
    const auto n = static_cast<int>(s_.n), k = static_cast<int>(s_.k);
    const auto launch = [&](int i) {
      const __half* const w = w_.data() + static_cast<std::size_t>(i % copies_) * s_.n * s_.k;
      const cublasStatus_t status =
          cublasGemmEx(handle_, CUBLAS_OP_T, CUBLAS_OP_N, n, static_cast<int>(m), k, &one, w, CUDA_R_16F, k, x_.data(),
                       CUDA_R_16F, k, &zero, y_.data(), CUDA_R_16F, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
      return status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
    };
    launch(0);
    cudaStreamSynchronize(stream);
    return std::make_unique<launches>(launches_for(copies_, m), stream, launch);
  }

 private:
  shape s_;
  int copies_;
  device_array<__half> w_, x_, y_;
  cublasHandle_t handle_;
};

/// cuBLASLt, int8 to int32 without scales: the fastest of the first eight algorithms that it proposes.
class cublaslt_int8 {
 public:
  cublaslt_int8(const shape& s, std::size_t most_rows)
      : s_(s),
        copies_(std::max(2, static_cast<int>(rotate_bytes / (s.n * s.k) + 1))),
        w_(static_cast<std::size_t>(copies_) * s.n * s.k),
        x_(most_rows * s.k),
        y_(most_rows * s.n),
        memory_(32u << 20) {
    fill_bytes<<<1024, 256>>>(w_.data(), static_cast<std::size_t>(copies_) * s.n * s.k);
    fill_bytes<<<1024, 256>>>(x_.data(), most_rows * s.k);
    cublasLtCreate(&handle_);
  }
  ~cublaslt_int8() { cublasLtDestroy(handle_); }
  double time(std::size_t m, cudaStream_t stream) {
    cublasLtMatmulDesc_t operation;
    cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32I, CUDA_R_32I);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatrixLayoutCreate(&a, CUDA_R_8I, s_.k, s_.n, static_cast<std::int64_t>(s_.k));
    cublasLtMatrixLayoutCreate(&b, CUDA_R_8I, s_.k, m, static_cast<std::int64_t>(s_.k));
    cublasLtMatrixLayoutCreate(&c, CUDA_R_32I, s_.n, m, static_cast<std::int64_t>(s_.n));
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulPreferenceCreate(&preference);
    const std::size_t bytes = memory_.bytes();
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    cublasLtMatmulHeuristicResult_t found[8];
    int count = 0;
    cublasLtMatmulAlgoGetHeuristic(handle_, operation, a, b, c, c, preference, 8, found, &count);
    const std::int32_t one = 1, zero = 0;
    double best = NAN;
    for (int f = 0; f < count; ++f) {
      const auto launch = [&](int i) {
        const cublasStatus_t status = cublasLtMatmul(
            handle_, operation, &one, w_.data() + static_cast<std::size_t>(i % copies_) * s_.n * s_.k, a, x_.data(), b,
            &zero, y_.data(), c, y_.data(), c, &found[f].algo, memory_.data(), bytes, stream);
        return status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
      };
      if (launch(0) != cudaSuccess) continue;
      cudaStreamSynchronize(stream);
      const double t = time_of(launches_for(copies_, m), stream, launch);
      if (!(t >= best)) best = t;
    }
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(c);
    cublasLtMatmulDescDestroy(operation);
    return best;
  }

 private:
  shape s_;
  int copies_;
  device_array<std::uint8_t> w_, x_;
  device_array<std::int32_t> y_;
  device_array<std::byte> memory_;
  cublasLtHandle_t handle_{};
};

__global__ void __launch_bounds__(512) read_all(const uint4* p, std::size_t n, unsigned* sink) {
  unsigned x = 0;
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < n; i += 4 * stride) {
    const uint4 a = __ldcs(p + i), b = __ldcs(p + i + stride), c = __ldcs(p + i + 2 * stride),
                d = __ldcs(p + i + 3 * stride);
    x ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  for (; i < n; i += stride) x ^= __ldcs(p + i).x;
  if (x == 0x12345678u) *sink = x;
}
/// Bytes a second that plain streaming reads of 4 GiB reach.
double read_bandwidth(cudaStream_t stream) {
  const std::size_t bytes = std::size_t{4} << 30;
  device_array<std::byte> memory(bytes);
  device_array<unsigned> sink(1);
  cudaMemsetAsync(memory.data(), 1, bytes, stream);
  double best = 0;
  for (int blocks : {264, 528, 1056, 2112}) {
    const double t = time_of(1, stream, [&](int) {
      read_all<<<blocks, 512, 0, stream>>>(reinterpret_cast<const uint4*>(memory.data()), bytes / 16, sink.data());
      return cudaGetLastError();
    });
    best = std::max(best, static_cast<double>(bytes) / t * 1e6);
  }
  return best;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<cut> cuts_for(std::size_t m) {
  std::vector<cut> cuts;
  if (m <= 16)
    for (int rows : {1, 2})
      for (int warps : {4, 8, 16}) cuts.push_back({2, rows, m <= 8 ? 1 : 2, warps});
  if (m > 8)
    for (int tokens : {4, 8, 16})
      if (tokens == 4 ? m <= 128 : m > 4u * static_cast<unsigned>(tokens))
        for (int warps : {1, 2, 4, 8})
          for (int cluster : {1, 2})
            if (m < 1024 || (cluster == 1 && warps == 8)) cuts.push_back({3, 2, tokens, warps, cluster});
  if (m >= 128) cuts.push_back({3, 4, 16, 4, 1});
  if (m > 16)
    for (int tokens : {4, 8, 16, 32})
      for (int cluster : {1, 2, 3, 4, 5, 6, 8})
        if ((tokens < 16 ? m <= 32u * static_cast<unsigned>(tokens) : m > 4u * static_cast<unsigned>(tokens)) &&
            (cluster == 1 || (m < 1024 && tokens < 32)))
          cuts.push_back({4, 0, tokens, 0, cluster});
  return cuts;
}

}    // namespace

int main(int argc, char** argv) {
  std::vector<shape> shapes{{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}};
  std::vector<std::size_t> rows{1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096};
  std::vector<std::string> kinds{"w4a16_g128", "w8a16_channel", "w8a8"};
  bool sweep = false, check = true, peers = true;
  cut usual;    // the table's choice
  std::string json_file;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : "";
    if (option == "--sweep")
      sweep = true;
    else if (option == "--overlap")
      usual.overlap = true;
    else if (option == "--no-check")
      check = false;
    else if (option == "--no-peers")
      peers = false;
    else if (option == "--kinds")
      kinds = split(value), ++i;
    else if (option == "--json")
      json_file = value, ++i;
    else if (option == "--rows") {
      rows.clear();
      for (const std::string& s : split(value)) rows.push_back(std::strtoull(s.c_str(), nullptr, 10));
      ++i;
    } else if (option == "--shapes") {
      shapes.clear();
      for (const std::string& s : split(value)) {
        shape one{};
        if (std::sscanf(s.c_str(), "%zux%zu", &one.n, &one.k) == 2) shapes.push_back(one);
      }
      ++i;
    } else {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      return 2;
    }
  }
  const std::map<std::string, maker> makers{
#define QLITE_BENCH_ENTRY(name) {#name, &qlite_bench::name},
      QLITE_BENCH_KINDS(QLITE_BENCH_ENTRY)
#undef QLITE_BENCH_ENTRY
  };
  cudaDeviceProp device{};
  require(cudaGetDeviceProperties(&device, 0), "device");
  int driver = 0;
  cudaDriverGetVersion(&driver);
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  const double bandwidth = read_bandwidth(stream);
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  std::printf("%s, %d multiprocessors, CUDA driver %d, %s; reads %.2f TB/s\n", device.name, device.multiProcessorCount,
              driver, date, bandwidth / 1e12);
  std::FILE* const json = json_file.empty() ? nullptr : std::fopen(json_file.c_str(), "w");
  if (json)
    std::fprintf(json,
                 "{\"device\": \"%s\", \"driver\": %d, \"date\": \"%s\", \"read_bytes_per_s\": %.4g, \"points\": [",
                 device.name, driver, date, bandwidth);
  bool first_point = true, all_right = true;
  const auto record = [&](const std::string& kind, const shape& s, std::size_t m, double us, double ratio, double floor,
                          double error) {
    if (!json) return;
    std::fprintf(json, "%s\n  {\"kind\": \"%s\", \"n\": %zu, \"k\": %zu, \"m\": %zu, \"us\": %.3f",
                 first_point ? "" : ",", kind.c_str(), s.n, s.k, m, us);
    if (ratio > 0)
      std::fprintf(json, ", \"times_cublas\": %.3f, \"times_read_floor\": %.3f, \"error\": %.3g", ratio, floor, error);
    std::fprintf(json, "}");
    first_point = false;
  };
  cublasHandle_t handle;
  cublasCreate(&handle);
  device_array<std::byte> cublas_memory(std::size_t{64} << 20);
  cublasSetWorkspace(handle, cublas_memory.data(), cublas_memory.bytes());
  // Small products first, of all shapes: after large ones the card keeps lower clocks for a while.
  const std::vector<std::size_t> all_rows = rows;
  for (const bool large : {false, true})
    for (const shape& s : shapes) {
      rows.clear();
      for (std::size_t m : all_rows)
        if ((m > 256) == large) rows.push_back(m);
      if (rows.empty()) continue;
      const std::size_t most = *std::max_element(rows.begin(), rows.end());
      std::printf("\nN x K = %zu x %zu\n%-20s", s.n, s.k, "us, M =");
      for (std::size_t m : rows) std::printf(" %8zu", m);
      std::unique_ptr<cublas_half> cublas;
      if (peers) {
        cublas = std::make_unique<cublas_half>(s, most, handle);
        std::printf("\n%-20s", "cuBLAS float16");
        for (std::size_t m : rows) {
          const double t = times_of({cublas->products(m, stream).get()})[0];
          std::printf(" %8.1f", t);
          record("cublas_float16", s, m, t, 0, 0, 0);
          std::fflush(stdout);
        }
      }
      if (peers && std::find(kinds.begin(), kinds.end(), "w8a8") != kinds.end()) {
        cublaslt_int8 reference(s, most);
        std::printf("\n%-20s", "cuBLASLt int8, best");
        for (std::size_t m : rows) {
          const double t = reference.time(m, stream);
          std::printf(" %8.1f", t);
          record("cublaslt_int8", s, m, t, 0, 0, 0);
          std::fflush(stdout);
        }
      }
      for (const std::string& name : kinds) {
        const auto found = makers.find(name);
        if (found == makers.end()) {
          std::fprintf(stderr, "unknown kind %s\n", name.c_str());
          return 2;
        }
        const auto kind = found->second(s.n, s.k, most, rotate_bytes);
        const double floor = 1e6 * static_cast<double>(kind->weight_bytes()) / bandwidth;
        std::vector<double> ratios, floors;
        std::printf("\n%-20s", name.c_str());
        for (std::size_t m : rows) {
          const double error = check ? kind->error(m, usual, stream) : 0;
          require(kind->run(m, 0, usual, stream), "product");    // what is prepared once is no part of a graph
          launches own(launches_for(kind->copies(), m), stream,
                       [&](int i) { return kind->run(m, i % kind->copies(), usual, stream); });
          std::vector<launches*> both{&own};
          const std::unique_ptr<launches> theirs = cublas ? cublas->products(m, stream) : nullptr;
          if (theirs) both.push_back(theirs.get());
          const std::vector<double> times = times_of(both);
          const double t = times[0];
          const bool integer = name.find("a8") != std::string::npos;
          const bool right = !check || error < (integer ? 2e-2 : name.find("bf16") != std::string::npos ? 4e-3 : 5e-4);
          all_right = all_right && right;
          std::printf(" %8.1f%s", t, right ? "" : "!");
          ratios.push_back(theirs ? times[1] / t : 0);
          floors.push_back(t / floor);
          record(name, s, m, t, ratios.back() > 0 ? ratios.back() : 1e-9, floors.back(), error);
          std::fflush(stdout);
        }
        std::printf("\n%-20s", "  x cuBLAS");
        for (double r : ratios) std::printf(" %8.2f", r);
        std::printf("\n%-20s", "  x read floor");
        for (double f : floors) std::printf(" %8.2f", f);
        if (!sweep) continue;
        for (std::size_t m : rows) {
          struct timed {
            double us;
            cut c;
          };
          std::vector<timed> all;
          for (const cut& c : cuts_for(m)) {
            if (check && std::isnan(kind->error(m, c, stream))) continue;
            const double t = time_of(launches_for(kind->copies(), m), stream,
                                     [&](int i) { return kind->run(m, i % kind->copies(), c, stream); });
            if (!std::isnan(t)) all.push_back({t, c});
          }
          std::sort(all.begin(), all.end(), [](const timed& a, const timed& b) { return a.us < b.us; });
          std::printf("\n  sweep M=%-5zu", m);
          for (std::size_t i = 0; i < all.size() && i < 6; ++i)
            std::printf(" %s%dx%dw%dc%d:%.1f",
                        all[i].c.family == 2   ? "d"
                        : all[i].c.family == 3 ? "s"
                                               : "h",
                        all[i].c.row_tiles, all[i].c.token_tiles, all[i].c.warps, all[i].c.cluster, all[i].us);
        }
      }
      std::printf("\n");
    }
  if (json) {
    std::fprintf(json, "\n]}\n");
    std::fclose(json);
  }
  if (!all_right) std::printf("some results are wrong (marked !)\n");
  return all_right ? 0 : 1;
}
