#include "cuda/decoder.hpp"

#include <algorithm>
#include <map>

#include "cuda/device.cuh"
#include "cuda/kernels.cuh"

namespace llm {
namespace gpu {

device_context::device_context() : cublas_memory(std::size_t{32} << 20) {
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  check(cublasCreate(&cublas), "handle");
  check(cublasSetStream(cublas, stream), "stream");
  // Memory of its own, so that cuBLAS allocates nothing while a graph is captured.
  check(cublasSetWorkspace(cublas, cublas_memory.data(), cublas_memory.size()), "workspace");
}

device_context::~device_context() {
  cublasDestroy(cublas);
  cudaStreamDestroy(stream);
}

namespace {

constexpr std::size_t logit_rows = 32;    // logits are as wide as the vocabulary: not too many rows of them at a time

class executable_graph {
 public:
  template <class F>
  executable_graph(cudaStream_t stream, F&& enqueue) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    try {
      enqueue();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph_);
      cudaGraphDestroy(graph_);
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph_), "capture");
    check(cudaGraphInstantiate(&executable_, graph_, 0), "graph");
  }
  executable_graph(const executable_graph&) = delete;
  executable_graph& operator=(const executable_graph&) = delete;
  ~executable_graph() {
    cudaGraphExecDestroy(executable_);
    cudaGraphDestroy(graph_);
  }
  void launch(cudaStream_t stream) const { check(cudaGraphLaunch(executable_, stream), "graph"); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

}    // namespace

struct decoder::state {
  struct layer {
    device_array<float> attention_norm, ffn_norm;
    std::unique_ptr<linear> qkv, attention_output, gate, up, down;
  };

  model_config config;
  std::size_t batch, logit_count;    // rows of a step; of logits held
  attention_shape shape;
  std::size_t cache_of_layer;    // elements
  device_context context;
  std::vector<layer> layers;
  device_array<float> output_norm;
  std::unique_ptr<linear> output;

  pinned_array<float> host_hidden, host_logits;
  pinned_array<place> host_places;
  pinned_array<qlite::float16> host_normalized;
  pinned_array<std::int32_t> host_tokens;
  device_array<float> hidden, logits;
  device_array<place> places;
  device_array<float2> turns;
  device_array<qlite::float16> normalized, qkv, attended, gate, up;
  device_array<__half> keys, values;
  device_array<std::int32_t> tokens;
  std::map<std::size_t, std::unique_ptr<executable_graph>> steps;    // by rows

  state(const model_config& c, std::size_t texts, std::size_t capacity, std::size_t rows)
      : config(c),
        batch(rows),
        logit_count(std::max(logit_rows, texts)),
        shape{static_cast<std::uint32_t>(c.heads), static_cast<std::uint32_t>(c.kv_heads),
              static_cast<std::uint32_t>(c.head_dim), static_cast<std::uint32_t>(capacity),
              c.pairs == rope_pairs::adjacent},
        cache_of_layer(texts * c.kv_width() * capacity),
        host_hidden(rows * c.width),
        host_logits(c.vocabulary),
        host_places(rows),
        host_normalized(rows * c.width),
        host_tokens(logit_count),
        hidden(rows * c.width),
        logits(logit_count * c.vocabulary),
        places(rows),
        turns(turns_of(c, capacity)),
        normalized(std::max(rows, logit_count) * c.width),
        qkv(rows * shape.row_width()),
        attended(rows * c.query_width()),
        gate(rows * c.ffn_width),
        up(rows * c.ffn_width),
        keys(c.layers * cache_of_layer),
        values(c.layers * cache_of_layer),
        tokens(logit_count) {
    if (c.head_dim > 256)
      throw std::runtime_error("heads of " + std::to_string(c.head_dim) + " elements, --device cuda takes up to 256");
  }

  static device_array<float2> turns_of(const model_config& c, std::size_t capacity) {
    const std::size_t half = c.head_dim / 2;
    std::vector<float2> all(capacity * half);
    for (std::size_t i = 0; i < half; ++i)
      for (std::size_t p = 0; p < capacity; ++p) {
        const double angle = static_cast<double>(p) * rotary_frequency(c, i);
        all[p * half + i] = make_float2(static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle)));
      }
    return {all.data(), all.size()};
  }

  void wait() const { check(cudaStreamSynchronize(context.stream), "step"); }
  template <class To, class From>
  void copy(To* to, const From* from, std::size_t count, cudaMemcpyKind kind) const {
    static_assert(sizeof(To) == sizeof(From), "the same elements under another name");
    check(cudaMemcpyAsync(to, from, count * sizeof(To), kind, context.stream), "copy");
  }

  void normalize(const device_array<float>& weight, std::size_t rows) {
    normalize_rows<<<static_cast<unsigned>(rows), 1024, 0, context.stream>>>(
        hidden.data(), weight.data(), config.norm_epsilon, static_cast<std::uint32_t>(config.width),
        as_half(normalized.data()));
    check(cudaGetLastError(), "normalize_rows");
  }

  void attention(std::size_t index, std::size_t rows) {
    __half* const k = keys.data() + index * cache_of_layer;
    __half* const v = values.data() + index * cache_of_layer;
    turn_and_store<<<dim3(shape.heads + 2 * shape.kv_heads, static_cast<unsigned>(rows)), 128, 0, context.stream>>>(
        as_half(qkv.data()), places.data(), turns.data(), shape, k, v);
    check(cudaGetLastError(), "turn_and_store");
    const auto kernel = shape.head_dim <= 32    ? attend<1>
                        : shape.head_dim <= 64  ? attend<2>
                        : shape.head_dim <= 128 ? attend<4>
                                                : attend<8>;
    kernel<<<dim3(shape.heads, static_cast<unsigned>(rows)), 32 * attention_warps, 0, context.stream>>>(
        as_half(qkv.data()), places.data(), shape, k, v, as_half(attended.data()));
    check(cudaGetLastError(), "attend");
  }

  void run_layer(std::size_t index, std::size_t rows) {
    const layer& l = layers[index];
    normalize(l.attention_norm, rows);
    l.qkv->multiply(context, normalized.data(), rows, qkv.data(), then::store);
    attention(index, rows);
    l.attention_output->multiply(context, attended.data(), rows, hidden.data(), then::add);

    normalize(l.ffn_norm, rows);
    if (l.gate->fuses() && l.up->fuses()) {
      l.gate->multiply(context, normalized.data(), rows, gate.data(), then::silu);
      l.up->multiply(context, normalized.data(), rows, gate.data(), then::multiply);
    } else {
      l.gate->multiply(context, normalized.data(), rows, gate.data(), then::store);
      l.up->multiply(context, normalized.data(), rows, up.data(), then::store);
      silu_multiply<<<1024, 256, 0, context.stream>>>(as_half(gate.data()), as_half(up.data()),
                                                      rows * config.ffn_width);
      check(cudaGetLastError(), "silu_multiply");
    }
    l.down->multiply(context, gate.data(), rows, hidden.data(), then::add);
  }

  void run(std::size_t rows) {
    copy(hidden.data(), host_hidden.data(), rows * config.width, cudaMemcpyHostToDevice);
    copy(places.data(), host_places.data(), rows, cudaMemcpyHostToDevice);
    for (std::size_t i = 0; i < layers.size(); ++i) run_layer(i, rows);
    normalize(output_norm, rows);
  }

  /// Logits of `rows` normalized rows from `row` on, and the likeliest token of each.
  void run_output(std::size_t row, std::size_t rows) {
    output->multiply(context, normalized.data() + row * config.width, rows, logits.data(), then::store);
  }
  void choose(std::size_t rows) {
    find_likeliest<<<static_cast<unsigned>(rows), 1024, 0, context.stream>>>(
        logits.data(), static_cast<std::uint32_t>(config.vocabulary), tokens.data());
    check(cudaGetLastError(), "find_likeliest");
    copy(host_tokens.data(), tokens.data(), rows, cudaMemcpyDeviceToHost);
  }

  const executable_graph& step(std::size_t rows) {
    std::unique_ptr<executable_graph>& graph = steps[rows];
    if (graph == nullptr) {
      if (rows > logit_count) throw std::runtime_error("more rows than texts in a step");
      const auto enqueue = [&] {
        run(rows);
        run_output(0, rows);
        choose(rows);
      };
      enqueue();    // kernels are loaded on their first launch, which cannot be captured everywhere
      wait();
      graph = std::make_unique<executable_graph>(context.stream, enqueue);
    }
    return *graph;
  }
};

decoder::decoder(const model_config& config, std::size_t texts, std::size_t capacity, std::size_t batch)
    : state_(std::make_unique<state>(config, texts, capacity, batch)) {}
decoder::~decoder() = default;

void decoder::add(decoder_layer from) {
  state::layer layer;
  layer.attention_norm = {from.attention_norm.data(), from.attention_norm.size()};
  layer.ffn_norm = {from.ffn_norm.data(), from.ffn_norm.size()};
  for (const linear* l : {from.qkv.get(), from.attention_output.get(), from.gate.get(), from.up.get(), from.down.get()})
    state_->context.reserve(l->scratch_bytes(state_->batch));
  layer.qkv = std::move(from.qkv);
  layer.attention_output = std::move(from.attention_output);
  layer.gate = std::move(from.gate);
  layer.up = std::move(from.up);
  layer.down = std::move(from.down);
  state_->layers.push_back(std::move(layer));
}

void decoder::set_output(const std::vector<float>& norm, std::unique_ptr<linear> weights) {
  state_->output_norm = {norm.data(), norm.size()};
  state_->context.reserve(weights->scratch_bytes(state_->logit_count));
  state_->output = std::move(weights);
}

std::size_t decoder::weight_bytes() const {
  std::size_t sum = state_->output_norm.bytes() + state_->output->bytes();
  for (const state::layer& l : state_->layers)
    sum += l.attention_norm.bytes() + l.ffn_norm.bytes() + l.qkv->bytes() + l.attention_output->bytes() +
           l.gate->bytes() + l.up->bytes() + l.down->bytes();
  return sum;
}

std::size_t decoder::cache_bytes() const { return state_->keys.bytes() + state_->values.bytes(); }
std::size_t decoder::batch() const { return state_->batch; }
float* decoder::hidden() { return state_->host_hidden.data(); }
place* decoder::places() { return state_->host_places.data(); }

void decoder::run(std::size_t rows) { state_->run(rows); }
void decoder::wait() { state_->wait(); }

const qlite::float16* decoder::normalized(std::size_t rows) {
  state& s = *state_;
  s.copy(s.host_normalized.data(), s.normalized.data(), rows * s.config.width, cudaMemcpyDeviceToHost);
  s.wait();
  return s.host_normalized.data();
}

const float* decoder::logits(std::size_t row) {
  state& s = *state_;
  s.run_output(row, 1);
  s.copy(s.host_logits.data(), s.logits.data(), s.config.vocabulary, cudaMemcpyDeviceToHost);
  s.wait();
  return s.host_logits.data();
}

void decoder::logits(const qlite::float16* hidden, std::size_t rows, float* out) {
  state& s = *state_;
  for (std::size_t first = 0; first < rows; first += s.logit_count) {
    const std::size_t count = std::min(s.logit_count, rows - first);
    s.copy(s.normalized.data(), hidden + first * s.config.width, count * s.config.width, cudaMemcpyHostToDevice);
    s.run_output(0, count);
    s.copy(out + first * s.config.vocabulary, s.logits.data(), count * s.config.vocabulary, cudaMemcpyDeviceToHost);
  }
  s.wait();
}

std::int32_t decoder::likeliest(std::size_t row) {
  state& s = *state_;
  s.run_output(row, 1);
  s.choose(1);
  s.wait();
  return s.host_tokens.data()[0];
}

const std::int32_t* decoder::step(std::size_t rows) {
  state_->step(rows).launch(state_->context.stream);
  state_->wait();
  return state_->host_tokens.data();
}

double decoder::time_steps(std::size_t rows, std::size_t count) {
  const executable_graph& graph = state_->step(rows);
  const cudaStream_t stream = state_->context.stream;
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  check(cudaEventRecord(begin, stream), "event");
  for (std::size_t i = 0; i < count; ++i) graph.launch(stream);
  check(cudaEventRecord(end, stream), "event");
  check(cudaEventSynchronize(end), "steps");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return static_cast<double>(milliseconds);
}

std::string device_name() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0)
    throw std::runtime_error(std::string("--device cuda: no CUDA device: ") +
                             (status == cudaSuccess ? "none is there" : cudaGetErrorString(status)));
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "device");
  return device.name;
}

namespace {

__global__ void __launch_bounds__(512) read_all(const uint4* memory, std::size_t count, unsigned* sink) {
  unsigned mixed = 0;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    mixed ^= __ldcs(memory + i).x;
  if (mixed == 0x12345678u) *sink = mixed;    // so that the reads are not optimized away
}

}    // namespace

std::function<double()> bandwidth_probe() {
  struct memory {
    device_array<uint4> block{std::size_t{1} << 26};    // 1 GiB, many times the L2 cache
    device_array<unsigned> sink{1};
  };
  const auto m = std::make_shared<memory>();
  check(cudaMemset(m->block.data(), 1, m->block.bytes()), "memset");
  return [m] {
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    float milliseconds = 0;
    for (int i = 0; i < 2; ++i) {    // the second counts
      check(cudaEventRecord(begin), "event");
      read_all<<<1056, 512>>>(m->block.data(), m->block.size(), m->sink.data());
      check(cudaGetLastError(), "read_all");
      check(cudaEventRecord(end), "event");
      check(cudaEventSynchronize(end), "read_all");
      check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return 1e3 * static_cast<double>(m->block.bytes()) / static_cast<double>(milliseconds);
  };
}

}    // namespace gpu
}    // namespace llm
