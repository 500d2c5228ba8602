// oneDNN: int8 weights with a scale per channel, int8 activations that were quantized before (not measured, which
// flatters it), weights in the layout that its matmul asks for.
#include <omp.h>
#include <dnnl.hpp>

#include <cmath>
#include <map>

#include "peers/peer.hpp"

namespace qlite_bench {
namespace {

using dnnl::memory;

class onednn final : public peer {
 public:
  explicit onednn(const problem& p) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), n_(p.n), k_(p.k) {
    threads_ = static_cast<int>(p.threads);
    omp_set_num_threads(threads_);
    const auto n = static_cast<memory::dim>(n_), k = static_cast<memory::dim>(k_);
    std::vector<std::int8_t> codes(n_ * k_);
    scales_.resize(n_);
    for (std::size_t r = 0; r < n_; ++r) {
      float most = 0;
      for (std::size_t c = 0; c < k_; ++c) most = std::fmax(most, std::fabs(p.w[r * k_ + c]));
      scales_[r] = most / 127;
      for (std::size_t c = 0; c < k_; ++c)
        codes[r * k_ + c] = static_cast<std::int8_t>(std::lrintf(p.w[r * k_ + c] / scales_[r]));
    }
    memory plain({{k, n}, memory::data_type::s8, memory::format_tag::ba}, engine_, codes.data());
    const auto layout = descriptor(static_cast<memory::dim>(p.most_rows)).weights_desc();
    do {
      copies_.emplace_back(layout, engine_);
      dnnl::reorder(plain, copies_.back()).execute(stream_, plain, copies_.back());
      stream_.wait();
    } while (copies_.size() < copies_of(layout.get_size()));
  }
  std::string library() const override { return "oneDNN"; }
  std::string kind() const override { return "int8 per channel, activations given quantized"; }
  std::size_t weight_bytes() const override { return copies_[0].get_desc().get_size(); }
  bool quantizes_inside() const override { return false; }

  void run(const float* x, std::size_t m, float* y) override {
    omp_set_num_threads(threads_);
    const auto rows = static_cast<memory::dim>(m);
    auto at = inputs_.find(m);
    if (at == inputs_.end()) at = inputs_.emplace(m, quantized(x, m)).first;
    auto made = primitives_.find(m);
    if (made == primitives_.end()) made = primitives_.emplace(m, dnnl::matmul(descriptor(rows))).first;
    const auto n = static_cast<memory::dim>(n_), k = static_cast<memory::dim>(k_);
    memory src({{rows, k}, memory::data_type::s8, memory::format_tag::ab}, engine_, at->second.codes.data());
    memory dst({{rows, n}, memory::data_type::f32, memory::format_tag::ab}, engine_, y);
    std::unordered_map<int, memory> arguments{
        {DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, copies_[next_++ % copies_.size()]}, {DNNL_ARG_DST, dst}};
    add_scales(arguments, at->second);
    made->second.execute(stream_, arguments);
    stream_.wait();
    scale(y, m, at->second);
  }

 private:
  struct input {
    std::vector<std::int8_t> codes;
    float scale;    // one for all rows
  };

  input quantized(const float* x, std::size_t m) const {
    input in{std::vector<std::int8_t>(m * k_), 0};
    for (std::size_t i = 0; i < m * k_; ++i) in.scale = std::fmax(in.scale, std::fabs(x[i]) / 127);
    for (std::size_t i = 0; i < m * k_; ++i) in.codes[i] = static_cast<std::int8_t>(std::lrintf(x[i] / in.scale));
    return in;
  }

#if DNNL_VERSION_MAJOR < 3
  // Version 2 fixes the scales when the primitive is made: of the weights there, of the activations after it.
  // The first, for the most rows, chooses the layout of the weights; the others take it.
  memory::desc weights_desc() const {
    if (!copies_.empty()) return copies_[0].get_desc();
    return {
        {static_cast<memory::dim>(k_), static_cast<memory::dim>(n_)}, memory::data_type::s8, memory::format_tag::any};
  }

  dnnl::matmul::primitive_desc descriptor(memory::dim m) const {
    dnnl::primitive_attr attributes;
    attributes.set_output_scales(1 << 1, scales_);
    const auto n = static_cast<memory::dim>(n_), k = static_cast<memory::dim>(k_);
    const dnnl::matmul::desc operation({{m, k}, memory::data_type::s8, memory::format_tag::ab}, weights_desc(),
                                       {{m, n}, memory::data_type::f32, memory::format_tag::ab});
    return dnnl::matmul::primitive_desc(operation, attributes, engine_);
  }
  void add_scales(std::unordered_map<int, memory>&, input&) {}
  void scale(float* y, std::size_t m, const input& in) const {
    for (std::size_t i = 0; i < m * n_; ++i) y[i] *= in.scale;
  }
#else
  dnnl::matmul::primitive_desc descriptor(memory::dim m) const {
    dnnl::primitive_attr attributes;
    attributes.set_scales_mask(DNNL_ARG_SRC, 0);
    attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
    const auto n = static_cast<memory::dim>(n_), k = static_cast<memory::dim>(k_);
    return dnnl::matmul::primitive_desc(engine_, {{m, k}, memory::data_type::s8, memory::format_tag::ab},
                                        weights_desc(), {{m, n}, memory::data_type::f32, memory::format_tag::ab},
                                        attributes);
  }
  void add_scales(std::unordered_map<int, memory>& arguments, input& in) {
    const auto n = static_cast<memory::dim>(n_);
    arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC,
                      memory({{1}, memory::data_type::f32, memory::format_tag::a}, engine_, &in.scale));
    arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS,
                      memory({{n}, memory::data_type::f32, memory::format_tag::a}, engine_, scales_.data()));
  }
  void scale(float*, std::size_t, const input&) const {}
#endif
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::size_t n_, k_, next_ = 0;
  int threads_ = 1;
  std::vector<float> scales_;
  std::vector<memory> copies_;
  std::map<std::size_t, input> inputs_;
  std::map<std::size_t, dnnl::matmul> primitives_;
};

}    // namespace

void add_onednn(peers& to, const problem& p) { to.push_back(std::make_unique<onednn>(p)); }

}    // namespace qlite_bench
