// ggml (llama.cpp): its block types, plain and in the layout that its CPU backend repacks them into.
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <map>
#include <stdexcept>

#include "peers/peer.hpp"

namespace qlite_bench {
namespace {

struct free_ggml {
  void operator()(ggml_context* c) const { ggml_free(c); }
  void operator()(ggml_backend_buffer* b) const { ggml_backend_buffer_free(b); }
  void operator()(ggml_backend* b) const { ggml_backend_free(b); }
};
template <class T>
using owned = std::unique_ptr<T, free_ggml>;

owned<ggml_context> context(std::size_t tensors) {
  return owned<ggml_context>(
      ggml_init({ggml_tensor_overhead() * tensors + ggml_graph_overhead() * tensors, nullptr, true}));
}

// The buffer type in which the CPU backend keeps repacked weights; null if this build has none.
ggml_backend_buffer_type_t repacked_buffers() {
  auto* const device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return nullptr;
  const auto list = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  for (auto* type = list == nullptr ? nullptr : list(device); type != nullptr && *type != nullptr; ++type)
    if (std::string(ggml_backend_buft_name(*type)) == "CPU_REPACK") return *type;
  return nullptr;
}

class ggml_peer final : public peer {
 public:
  ggml_peer(const problem& p, ggml_type type, ggml_backend_buffer_type_t buffers, bool repacked)
      : backend_(ggml_backend_cpu_init()), n_(p.n), k_(p.k), type_(type), repacked_(repacked) {
    ggml_backend_cpu_set_n_threads(backend_.get(), static_cast<int>(p.threads));
    const auto n = static_cast<std::int64_t>(n_), k = static_cast<std::int64_t>(k_);
    std::vector<std::uint8_t> blocks(weight_bytes());
    ggml_quantize_chunk(type, p.w, blocks.data(), 0, n, k, nullptr);
    const std::size_t copies = copies_of(weight_bytes());
    weights_context_ = context(copies);
    for (std::size_t i = 0; i < copies; ++i) copies_.push_back(ggml_new_tensor_2d(weights_context_.get(), type, k, n));
    weights_.reset(ggml_backend_alloc_ctx_tensors_from_buft(weights_context_.get(), buffers));
    if (!weights_) throw std::runtime_error("ggml: no memory for the weights");
    for (ggml_tensor* w : copies_) ggml_backend_tensor_set(w, blocks.data(), 0, blocks.size());
  }
  std::string library() const override { return "ggml"; }
  std::string kind() const override { return ggml_type_name(type_) + std::string(repacked_ ? ", repacked" : ""); }
  family group() const override { return type_ == GGML_TYPE_Q8_0 ? family::int8_groups : family::int4_small_groups; }
  std::size_t weight_bytes() const override { return ggml_row_size(type_, static_cast<std::int64_t>(k_)) * n_; }

  void run(const float* x, std::size_t m, float* y) override {
    auto at = products_.find(m);
    if (at == products_.end()) at = products_.emplace(m, make(m)).first;
    product& p = at->second;
    const std::size_t copy = next_++ % copies_.size();
    // x and y are this program's: only the pointers change.
    p.x->data = const_cast<float*>(x);
    p.results[copy]->data = y;
    ggml_backend_graph_compute(backend_.get(), p.graphs[copy]);
  }

 private:
  struct product {
    owned<ggml_context> context;
    owned<ggml_backend_buffer> memory;
    ggml_tensor* x;
    std::vector<ggml_tensor*> results;    // with each copy of the weights
    std::vector<ggml_cgraph*> graphs;
  };

  product make(std::size_t m) const {
    product p;
    p.context = context(2 * copies_.size() + 2);
    p.x =
        ggml_new_tensor_2d(p.context.get(), GGML_TYPE_F32, static_cast<std::int64_t>(k_), static_cast<std::int64_t>(m));
    for (ggml_tensor* w : copies_) {
      p.results.push_back(ggml_mul_mat(p.context.get(), w, p.x));
      p.graphs.push_back(ggml_new_graph(p.context.get()));
      ggml_build_forward_expand(p.graphs.back(), p.results.back());
    }
    p.memory.reset(ggml_backend_alloc_ctx_tensors(p.context.get(), backend_.get()));
    return p;
  }

  owned<ggml_backend> backend_;
  std::size_t n_, k_, next_ = 0;
  ggml_type type_;
  bool repacked_;
  owned<ggml_context> weights_context_;
  owned<ggml_backend_buffer> weights_;
  std::vector<ggml_tensor*> copies_;
  std::map<std::size_t, product> products_;
};

}    // namespace

void add_ggml(peers& to, const problem& p, std::vector<std::string>& versions) {
  versions.push_back(std::string("ggml ") + ggml_version() + ", " + ggml_commit());
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);    // it tells of every tensor that it repacks
  for (const ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q8_0}) {
    to.push_back(std::make_unique<ggml_peer>(p, type, ggml_backend_cpu_buffer_type(), false));
    // x86 has no repacked layout for Q8_0
    auto* const buffers = type == GGML_TYPE_Q8_0 ? nullptr : repacked_buffers();
    if (buffers != nullptr) to.push_back(std::make_unique<ggml_peer>(p, type, buffers, true));
  }
}

}    // namespace qlite_bench
