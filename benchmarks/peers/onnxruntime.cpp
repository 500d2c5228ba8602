// ONNX Runtime: its operators for quantized weights, each as a model of one node that is written here byte by byte.
// MatMulNBits with accuracy_level 4 quantizes the activations to int8 per block; DynamicQuantizeMatMul to uint8 per
// tensor.
#include <onnxruntime_c_api.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "peers/peer.hpp"

namespace qlite_bench {
namespace {

// A message of Protocol Buffers (protobuf.dev/programming-guides/encoding), of which ONNX models are made.
class message {
 public:
  message& number(int field, std::uint64_t value) {
    tag(field, 0);
    varint(value);
    return *this;
  }
  message& bytes(int field, const void* data, std::size_t size) {
    tag(field, 2);
    varint(size);
    out_.append(static_cast<const char*>(data), size);
    return *this;
  }
  message& text(int field, const std::string& value) { return bytes(field, value.data(), value.size()); }
  message& add(int field, const message& m) { return text(field, m.out_); }
  const std::string& str() const { return out_; }

 private:
  void tag(int field, unsigned kind) { varint(static_cast<std::uint64_t>(field) << 3 | kind); }
  void varint(std::uint64_t v) {
    for (; v >= 128; v >>= 7) out_.push_back(static_cast<char>(v | 128));
    out_.push_back(static_cast<char>(v));
  }
  std::string out_;
};

// Field numbers of onnx.proto3: TensorProto, ValueInfoProto, AttributeProto, NodeProto, GraphProto, ModelProto.
enum onnx_type { onnx_float = 1, onnx_uint8 = 2, onnx_int8 = 3 };

message tensor(const char* name, onnx_type type, const std::vector<std::size_t>& shape, const void* data,
               std::size_t size) {
  message t;
  for (const std::size_t d : shape) t.number(1, d);
  return t.number(2, type).text(8, name).bytes(9, data, size);
}

// Floats [rows, columns], the number of rows open.
message value(const char* name, std::size_t columns) {
  const message shape = message().add(1, message().text(2, "M")).add(1, message().number(1, columns));
  return message().text(1, name).add(2, message().add(1, message().number(1, onnx_float).add(2, shape)));
}

message attribute(const char* name, std::size_t v) {
  constexpr std::uint64_t integer = 2;
  return message().text(1, name).number(3, v).number(20, integer);
}

struct node {
  const char* operation;
  std::vector<const char*> inputs;
  std::vector<message> attributes, tensors;
};

std::string model(const node& n, std::size_t columns, std::size_t rows) {
  message op;
  for (const char* name : n.inputs) op.text(1, name);
  op.text(2, "Y").text(3, "product").text(4, n.operation);
  for (const message& a : n.attributes) op.add(5, a);
  op.text(7, "com.microsoft");
  message graph;
  graph.add(1, op).text(2, "one");
  for (const message& t : n.tensors) graph.add(5, t);
  graph.add(11, value("X", columns)).add(12, value("Y", rows));
  return message()
      .number(1, 8)    // version of the format
      .add(7, graph)
      .add(8, message().text(1, "").number(2, 17))
      .add(8, message().text(1, "com.microsoft").number(2, 1))
      .str();
}

const OrtApi& api() {
  static const OrtApi* const functions = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (functions == nullptr) throw std::runtime_error("onnxruntime: the library is older than its header");
  return *functions;
}

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api().GetErrorMessage(status);
  api().ReleaseStatus(status);
  throw std::runtime_error("onnxruntime: " + text);
}

struct release {
  void operator()(OrtEnv* p) const { api().ReleaseEnv(p); }
  void operator()(OrtSession* p) const { api().ReleaseSession(p); }
  void operator()(OrtSessionOptions* p) const { api().ReleaseSessionOptions(p); }
  void operator()(OrtThreadingOptions* p) const { api().ReleaseThreadingOptions(p); }
  void operator()(OrtMemoryInfo* p) const { api().ReleaseMemoryInfo(p); }
  void operator()(OrtValue* p) const { api().ReleaseValue(p); }
};
template <class T>
using owned = std::unique_ptr<T, release>;

// The threads of all sessions together.
std::shared_ptr<OrtEnv> environment(std::size_t threads) {
  OrtThreadingOptions* made;
  check(api().CreateThreadingOptions(&made));
  const owned<OrtThreadingOptions> options(made);
  check(api().SetGlobalIntraOpNumThreads(options.get(), static_cast<int>(threads)));
  check(api().SetGlobalInterOpNumThreads(options.get(), 1));
  OrtEnv* env;
  check(api().CreateEnvWithGlobalThreadPools(ORT_LOGGING_LEVEL_ERROR, "bench", options.get(), &env));
  return {env, release()};
}

class onnxruntime_peer final : public peer {
 public:
  onnxruntime_peer(std::shared_ptr<OrtEnv> env, const problem& p, std::string kind, family f, std::size_t bytes,
                   const node& product)
      : env_(std::move(env)), n_(p.n), k_(p.k), kind_(std::move(kind)), family_(f), bytes_(bytes) {
    OrtSessionOptions* made;
    check(api().CreateSessionOptions(&made));
    const owned<OrtSessionOptions> options(made);
    check(api().DisablePerSessionThreads(options.get()));
    const std::string onnx = model(product, k_, n_);
    do {
      OrtSession* session;
      check(api().CreateSessionFromArray(env_.get(), onnx.data(), onnx.size(), options.get(), &session));
      sessions_.emplace_back(session);
    } while (sessions_.size() < copies_of(bytes_));
    OrtMemoryInfo* info;
    check(api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &info));
    memory_.reset(info);
  }
  std::string library() const override { return "ONNX Runtime"; }
  std::string kind() const override { return kind_; }
  family group() const override { return family_; }
  std::size_t weight_bytes() const override { return bytes_; }

  void run(const float* x, std::size_t m, float* y) override {
    const auto in = floats(const_cast<float*>(x), m, k_), out = floats(y, m, n_);
    const char *input = "X", *output = "Y";
    const OrtValue* inputs[] = {in.get()};
    OrtValue* outputs[] = {out.get()};
    check(api().Run(sessions_[next_++ % sessions_.size()].get(), nullptr, &input, inputs, 1, &output, 1, outputs));
  }

 private:
  owned<OrtValue> floats(float* data, std::size_t rows, std::size_t columns) const {
    const std::int64_t shape[] = {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)};
    OrtValue* v;
    check(api().CreateTensorWithDataAsOrtValue(memory_.get(), data, rows * columns * sizeof(float), shape, 2,
                                               ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &v));
    return owned<OrtValue>(v);
  }

  std::shared_ptr<OrtEnv> env_;
  std::size_t n_, k_, next_ = 0;
  std::string kind_;
  family family_;
  std::size_t bytes_;
  std::vector<owned<OrtSession>> sessions_;
  owned<OrtMemoryInfo> memory_;
};

// W [n, k] in blocks along k, a float scale for each; the value of largest magnitude becomes the least code.
void add_blocks(peers& to, const std::shared_ptr<OrtEnv>& env, const problem& p, std::size_t bits, std::size_t block) {
  const std::size_t blocks = p.k / block, zero = std::size_t{1} << (bits - 1);
  std::vector<std::uint8_t> codes(p.n * p.k * bits / 8);
  std::vector<float> scales(p.n * blocks);
  for (std::size_t b = 0; b < scales.size(); ++b) {
    const float* const w = p.w + b * block;
    float extreme = 0;
    for (std::size_t i = 0; i < block; ++i)
      if (std::fabs(w[i]) > std::fabs(extreme)) extreme = w[i];
    scales[b] = extreme / -static_cast<float>(zero);
    for (std::size_t i = 0; i < block; ++i) {
      const long code = std::lrintf(w[i] / scales[b]) + static_cast<long>(zero);
      const auto stored = static_cast<std::uint8_t>(std::fmin(static_cast<double>(code), (1 << bits) - 1));
      const std::size_t at = b * block + i;
      codes[at * bits / 8] |= static_cast<std::uint8_t>(stored << (bits == 4 && at % 2 == 1 ? 4 : 0));
    }
  }
  node n{"MatMulNBits", {"X", "W", "scales"}, {}, {}};
  n.attributes = {attribute("K", p.k), attribute("N", p.n), attribute("bits", bits), attribute("block_size", block),
                  attribute("accuracy_level", 4)};
  n.tensors = {tensor("W", onnx_uint8, {p.n, blocks, block * bits / 8}, codes.data(), codes.size()),
               tensor("scales", onnx_float, {p.n, blocks}, scales.data(), scales.size() * sizeof(float))};
  const family f = bits == 8     ? family::int8_groups
                   : block <= 64 ? family::int4_small_groups
                                 : family::int4_large_groups;
  to.push_back(std::make_unique<onnxruntime_peer>(
      env, p, "MatMulNBits, " + std::to_string(bits) + " bits, block " + std::to_string(block), f,
      codes.size() + scales.size() * sizeof(float), n));
}

// W transposed, [k, n], a scale for a column.
void add_dynamic(peers& to, const std::shared_ptr<OrtEnv>& env, const problem& p) {
  std::vector<std::int8_t> codes(p.n * p.k);
  std::vector<float> scales(p.n);
  for (std::size_t r = 0; r < p.n; ++r) {
    float most = 0;
    for (std::size_t c = 0; c < p.k; ++c) most = std::fmax(most, std::fabs(p.w[r * p.k + c]));
    scales[r] = most / 127;
    for (std::size_t c = 0; c < p.k; ++c)
      codes[c * p.n + r] = static_cast<std::int8_t>(std::lrintf(p.w[r * p.k + c] / scales[r]));
  }
  node n{"DynamicQuantizeMatMul", {"X", "W", "scales"}, {}, {}};
  n.tensors = {tensor("W", onnx_int8, {p.k, p.n}, codes.data(), codes.size()),
               tensor("scales", onnx_float, {p.n}, scales.data(), scales.size() * sizeof(float))};
  to.push_back(std::make_unique<onnxruntime_peer>(env, p, "DynamicQuantizeMatMul, int8 per channel",
                                                  family::int8_channel, codes.size() + scales.size() * sizeof(float),
                                                  n));
}

}    // namespace

void add_onnxruntime(peers& to, const problem& p, std::vector<std::string>& versions) {
  versions.push_back(std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString());
  const auto env = environment(p.threads);
  for (const std::size_t bits : {4u, 8u})
    for (const std::size_t block : {32u, 128u}) add_blocks(to, env, p, bits, block);
  add_dynamic(to, env, p);
}

}    // namespace qlite_bench
