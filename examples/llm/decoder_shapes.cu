// Decoders of the shapes of Llama 2 7B and 70B with random weights: the memory they take and how fast they decode, in
// float16 (cuBLAS), INT8 and INT4. No model is needed, and none could be downloaded faster.
//
//   llm_decoder_shapes [--shapes 7b,70b] [--batches 1,8,32] [--position P] [--layers L]
//
// A step computes one token of each of `batch` texts at position P: norms, products, attention over P + 1 cached
// positions, the output layer and the likeliest token, as one CUDA graph; the median of replays. Where a precision's
// layers do not fit into the memory, as many as do are measured, and the step is scaled up: its time with L layers less
// its time with half of them is what L / 2 layers take. Beside it the floor of the linear layers: the bytes of their
// weights over the bandwidth that plain reads reach in the same run.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "cuda/decoder.hpp"
#include "cuda/device.cuh"
#include "format.hpp"

namespace {

using namespace llm;

using int8_channel = qlite::scheme<qlite::int8, qlite::per_channel>;
using int4_group = qlite::scheme<qlite::int4, gpu::dynamic_group>;

__device__ std::uint32_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>(x >> 20);
}
__global__ void fill_codes(std::uint8_t* codes, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    codes[i] = static_cast<std::uint8_t>(mixed((i + seed) * 0x9e3779b97f4a7c15u + 1));
}
/// Numbers in [low, high), evenly spread.
__global__ void fill_numbers(__half* numbers, std::size_t count, float low, float high, std::uint64_t seed) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    numbers[i] =
        __float2half(low + (high - low) * static_cast<float>(mixed((i + seed) * 0x9e3779b97f4a7c15u) % 4096) / 4096.0f);
}

/// A matrix whose products keep the size of their inputs, roughly.
std::unique_ptr<gpu::linear> random_half(std::size_t n, std::size_t k, std::uint64_t seed) {
  auto layer = gpu::make_half_linear(n, k);
  const float size = 1.7f / std::sqrt(static_cast<float>(k));
  fill_numbers<<<1024, 256>>>(gpu::as_half(layer->data()), n * k, -size, size, seed);
  gpu::check(cudaGetLastError(), "fill_numbers");
  return layer;
}

template <class Scheme>
std::unique_ptr<gpu::linear> random_quantized(std::size_t n, std::size_t k, Scheme scheme, std::uint64_t seed) {
  const qlite::canonical_layout<Scheme> shape(n, k, scheme);
  gpu::device_array<std::uint8_t> codes(shape.code_bytes());
  gpu::device_array<qlite::float16> scales(shape.scale_count());
  constexpr float largest = qlite::detail::scheme_traits<Scheme>::bits == 8 ? 127.0f : 8.0f;
  const float size = 1.7f / std::sqrt(static_cast<float>(k)) / largest;
  fill_codes<<<1024, 256>>>(codes.data(), codes.size(), seed);
  fill_numbers<<<1024, 256>>>(gpu::as_half(scales.data()), scales.size(), 0.5f * size, 1.5f * size, seed);
  gpu::check(cudaGetLastError(), "fill_codes");
  return gpu::make_quantized_linear(qlite::quantized_view<Scheme>{shape, codes.data(), scales.data(), nullptr});
}

std::unique_ptr<gpu::linear> random_linear(precision what, std::size_t n, std::size_t k, std::uint64_t seed) {
  if (what == precision::float16) return random_half(n, k, seed);
  if (what == precision::int8) return random_quantized(n, k, int8_channel{}, seed);
  int4_group groups_of_128{};
  groups_of_128.granularity.size = 128;
  return random_quantized(n, k, groups_of_128, seed);
}

struct shape {
  const char* name;
  std::size_t layers, width, ffn_width, heads, kv_heads;
};
constexpr shape shapes[] = {{"7b", 32, 4096, 11008, 32, 32}, {"70b", 80, 8192, 28672, 64, 8}};
constexpr std::size_t vocabulary = 32000;

model_config config_of(const shape& s) {
  model_config c;
  c.name = s.name;
  c.layers = s.layers;
  c.width = s.width;
  c.ffn_width = s.ffn_width;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.head_dim = s.width / s.heads;
  c.vocabulary = vocabulary;
  c.pairs = rope_pairs::halves;
  return c;
}

std::size_t weights_of_layer(const shape& s) {
  const std::size_t kv_width = s.width / s.heads * s.kv_heads;
  return s.width * (2 * s.width + 2 * kv_width) + 3 * s.width * s.ffn_width;
}

struct kind {
  precision what;
  const char* name;
  double bits;    // of a weight, about
};
constexpr kind kinds[] = {
    {precision::float16, "fp16", 16}, {precision::int8, "int8", 8.02}, {precision::int4, "int4:g128", 4.13}};

/// A model of `layers` layers for steps of up to `batch` texts at `position`.
std::unique_ptr<gpu::decoder> make_model(model_config c, precision what, std::size_t layers, std::size_t batch,
                                         std::size_t position) {
  c.layers = layers;
  auto model = std::make_unique<gpu::decoder>(c, batch, position + 1, batch);
  std::uint64_t seed = 1;
  const auto make = [&](std::size_t n, std::size_t k) { return random_linear(what, n, k, seed += 1000003); };
  const std::vector<float> norm(c.width, 1.0f);
  for (std::size_t i = 0; i < layers; ++i) {
    gpu::decoder_layer layer;
    layer.attention_norm = layer.ffn_norm = norm;
    layer.qkv = make(c.query_width() + 2 * c.kv_width(), c.width);
    layer.attention_output = make(c.width, c.query_width());
    layer.gate = make(c.ffn_width, c.width);
    layer.up = make(c.ffn_width, c.width);
    layer.down = make(c.width, c.ffn_width);
    model->add(std::move(layer));
  }
  model->set_output(norm, make(c.vocabulary, c.width));
  for (std::size_t r = 0; r < batch; ++r) {
    for (std::size_t i = 0; i < c.width; ++i)
      model->hidden()[r * c.width + i] = static_cast<float>((i * 7919 + r * 104729) % 255) / 127.0f - 1.0f;
    model->places()[r] = {static_cast<std::uint32_t>(r), static_cast<std::uint32_t>(position)};
  }
  gpu::check(cudaDeviceSynchronize(), "set-up");
  return model;
}

/// Milliseconds of a step, the median of replays.
double step_time(gpu::decoder& model, std::size_t rows) {
  model.time_steps(rows, 3);
  std::vector<double> times;
  for (int i = 0; i < 15; ++i) times.push_back(model.time_steps(rows, 2) / 2);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

int run(int argc, char** argv) {
  std::vector<std::string> names{"7b", "70b"};
  std::vector<std::size_t> batches{1, 8, 32};
  std::size_t position = 255, most_layers = 1000;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) throw std::runtime_error(option + " needs a value");
    if (option == "--shapes") {
      names = split(argv[i + 1]);
    } else if (option == "--batches") {
      batches.clear();
      for (const std::string& b : split(argv[i + 1])) batches.push_back(std::strtoull(b.c_str(), nullptr, 10));
    } else if (option == "--position") {
      position = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (option == "--layers") {
      most_layers = std::strtoull(argv[i + 1], nullptr, 10);
    } else {
      throw std::runtime_error("unknown option " + option);
    }
  }
  if (batches.empty() || *std::min_element(batches.begin(), batches.end()) == 0)
    throw std::runtime_error("--batches takes positive numbers");
  const std::string device = gpu::device_name();
  const double bandwidth = gpu::bandwidth_probe()();
  std::printf("%s, reads %.2f TB/s; a step of one token for each text, at position %zu\n", device.c_str(),
              bandwidth / 1e12, position);
  for (const shape& s : shapes) {
    if (std::find(names.begin(), names.end(), s.name) == names.end()) continue;
    const model_config c = config_of(s);
    const std::size_t most = *std::max_element(batches.begin(), batches.end());
    std::printf("\n%s: %zu layers, %zu wide, feed-forward %zu, %zu heads (%zu key-value), vocabulary %zu\n", s.name,
                s.layers, s.width, s.ffn_width, s.heads, s.kv_heads, vocabulary);
    std::printf("%-10s %7s %10s %10s %6s %10s %9s %9s %9s\n", "precision", "layers", "weights GB", "cache GB", "batch",
                "ms/step", "tok/s", "x fp16", "x floor");
    std::vector<double> reference(batches.size(), 0.0);
    for (const auto& [what, name, bits] : kinds) {
      std::size_t free = 0, total = 0;
      gpu::check(cudaMemGetInfo(&free, &total), "memory");
      const double layer_bytes = static_cast<double>(weights_of_layer(s)) * bits / 8 +
                                 4.0 * static_cast<double>(most * (position + 1) * c.kv_width());
      const double others = static_cast<double>(vocabulary * s.width) * 2 + 1.5e9;
      const auto fitting = static_cast<std::size_t>((static_cast<double>(free) - others) / layer_bytes);
      const bool all = std::min(fitting, most_layers) >= s.layers;
      // Two models where it is not all, one of them half as deep.
      const std::size_t layers =
          all ? s.layers : std::max<std::size_t>(2, std::min(most_layers, fitting * 2 / 3) / 2 * 2);
      const auto model = make_model(c, what, layers, most, position);
      const auto half = all ? nullptr : make_model(c, what, layers / 2, most, position);
      // Norms are of float and the same everywhere; what is left is what products read.
      double weights = static_cast<double>(model->weight_bytes()), cache = static_cast<double>(model->cache_bytes());
      if (!all) {
        const double steps = static_cast<double>(s.layers - layers) / static_cast<double>(layers - layers / 2);
        weights += steps * (weights - static_cast<double>(half->weight_bytes()));
        cache += steps * (cache - static_cast<double>(half->cache_bytes()));
      }
      const double norms = 4.0 * static_cast<double>((2 * s.layers + 1) * s.width);
      for (std::size_t b = 0; b < batches.size(); ++b) {
        double time = step_time(*model, batches[b]);
        if (!all) {
          const double steps = static_cast<double>(s.layers - layers) / static_cast<double>(layers - layers / 2);
          time += steps * (time - step_time(*half, batches[b]));
        }
        if (what == precision::float16) reference[b] = time;
        const double floor = 1e3 * (weights - norms) / bandwidth;
        std::printf("%-10s %4zu/%zu %10.2f %10.2f %6zu %10.3f %9.1f %9.2f %9.2f\n", name, layers, s.layers,
                    weights / 1e9, cache / 1e9 * static_cast<double>(batches[b]) / static_cast<double>(most),
                    batches[b], time, 1e3 * static_cast<double>(batches[b]) / time, reference[b] / time, time / floor);
        std::fflush(stdout);
      }
    }
  }
  return 0;
}

}    // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "llm_decoder_shapes: %s\n", e.what());
    return 1;
  }
}
