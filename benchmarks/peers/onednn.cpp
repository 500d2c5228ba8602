// oneDNN: matmul with weights in the layout that it asks for. The activations were quantized before, which is not
// measured and flatters it. What it has no fast code for on this processor is left out.
#include <omp.h>
#include <dnnl.hpp>

#include <cmath>
#include <cstdio>
#include <map>

#include "peers/peer.hpp"

namespace qlite_bench {
namespace {

using dnnl::memory;
using type = memory::data_type;

constexpr type four_bits = type::undef;    // INT4 weights and scales of groups, which 3.5 brings, are not measured yet

enum class input_form { int8, floats, bfloat16_inside };

struct form {
  type weights;         // s8 or s4
  std::size_t group;    // 0: a scale for a row of W, and one for all activations
  input_form input;
};

class onednn final : public peer {
 public:
  onednn(const problem& p, form f) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), n_(p.n), k_(p.k), form_(f) {
    threads_ = static_cast<int>(p.threads);
    omp_set_num_threads(threads_);
    const auto chosen = descriptor(p.most_rows);
    implementation_ = chosen.impl_info_str();
    if (implementation_.find("ref") != std::string::npos) return;
    const auto codes = quantized_weights(p.w);
    const memory plain({{dim(k_), dim(n_)}, f.weights, memory::format_tag::ba}, engine_,
                       const_cast<std::uint8_t*>(codes.data()));
    layout_ = chosen.weights_desc();
    do {
      copies_.emplace_back(layout_, engine_);
      auto from = plain;
      dnnl::reorder(from, copies_.back()).execute(stream_, from, copies_.back());
      stream_.wait();
    } while (copies_.size() < copies_of(weight_bytes()));
  }
  bool is_fast() const { return !copies_.empty(); }
  const std::string& implementation() const { return implementation_; }

  std::string library() const override { return "oneDNN"; }
  std::string kind() const override {
    std::string text = form_.weights == four_bits ? "int4" : "int8";
    text += form_.group == 0 ? " per channel" : " per group of " + std::to_string(form_.group);
    if (form_.input == input_form::int8) return text + ", quantized X given";
    return text + (form_.input == input_form::floats ? ", float activations" : ", float activations as bfloat16");
  }
  family group() const override {
    if (form_.input != input_form::int8) return family::floats;
    if (form_.weights == type::s8) return form_.group == 0 ? family::int8_channel : family::int8_groups;
    return form_.group == 0 || form_.group > 64 ? family::int4_large_groups : family::int4_small_groups;
  }
  std::size_t weight_bytes() const override { return layout_.get_size() + scales_.size() * sizeof(float); }
  bool quantizes_inside() const override { return form_.input != input_form::int8; }

  void run(const float* x, std::size_t m, float* y) override {
    omp_set_num_threads(threads_);
    auto made = primitives_.find(m);
    if (made == primitives_.end()) made = primitives_.emplace(m, dnnl::matmul(descriptor(m))).first;
    const memory dst({{dim(m), dim(n_)}, type::f32, memory::format_tag::ab}, engine_, y);
    std::unordered_map<int, memory> arguments{{DNNL_ARG_WEIGHTS, copies_[next_++ % copies_.size()]},
                                              {DNNL_ARG_DST, dst}};
    arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS,
                      form_.group == 0 ? memory({{dim(n_)}, type::f32, memory::format_tag::a}, engine_, scales_.data())
                                       : memory({{dim(k_ / form_.group), dim(n_)}, type::f32, memory::format_tag::ab},
                                                engine_, scales_.data()));
    if (form_.input == input_form::int8) {
      auto at = inputs_.find(m);
      if (at == inputs_.end()) at = inputs_.emplace(m, quantized(x, m)).first;
      input& in = at->second;
      arguments.emplace(DNNL_ARG_SRC,
                        memory({{dim(m), dim(k_)}, type::s8, memory::format_tag::ab}, engine_, in.codes.data()));
      arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC,
                        form_.group == 0 ? memory({{1}, type::f32, memory::format_tag::a}, engine_, in.scales.data())
                                         : memory({{dim(m), dim(k_ / form_.group)}, type::f32, memory::format_tag::ab},
                                                  engine_, in.scales.data()));
    } else {
      arguments.emplace(DNNL_ARG_SRC,
                        memory({{dim(m), dim(k_)}, type::f32, memory::format_tag::ab}, engine_, const_cast<float*>(x)));
    }
    made->second.execute(stream_, arguments);
    stream_.wait();
  }

 private:
  struct input {
    std::vector<std::int8_t> codes;
    std::vector<float> scales;    // [m, k / group], or one
  };

  static memory::dim dim(std::size_t i) { return static_cast<memory::dim>(i); }

  input quantized(const float* x, std::size_t m) const {
    input in{std::vector<std::int8_t>(m * k_), {}};
    const std::size_t span = form_.group == 0 ? m * k_ : form_.group;
    for (std::size_t at = 0; at < m * k_; at += span) {
      float most = 0;
      for (std::size_t i = at; i < at + span; ++i) most = std::fmax(most, std::fabs(x[i]));
      in.scales.push_back(most / 127);
      for (std::size_t i = at; i < at + span; ++i)
        in.codes[i] = static_cast<std::int8_t>(std::lrintf(x[i] * 127 / most));
    }
    return in;
  }

  // Column c of the transposed W is row c of W; the scales become [k / group, n]. INT4: the extreme becomes -8.
  std::vector<std::uint8_t> quantized_weights(const float* w) {
    const bool nibbles = form_.weights == four_bits;
    const std::size_t span = form_.group == 0 ? k_ : form_.group;
    std::vector<std::uint8_t> codes(nibbles ? n_ * k_ / 2 : n_ * k_);
    scales_.resize(k_ / span * n_);
    for (std::size_t r = 0; r < n_; ++r) {
      for (std::size_t at = 0; at < k_; at += span) {
        float extreme = 0;
        for (std::size_t c = at; c < at + span; ++c)
          if (std::fabs(w[r * k_ + c]) > std::fabs(extreme)) extreme = w[r * k_ + c];
        const float scale = nibbles ? extreme / -8 : std::fabs(extreme) / 127;
        scales_[at / span * n_ + r] = scale;
        for (std::size_t c = at; c < at + span; ++c) {
          const long code = std::lrintf(w[r * k_ + c] / scale);
          if (nibbles)
            codes[(r * k_ + c) / 2] |= static_cast<std::uint8_t>((std::min(code, 7L) & 15) << (c % 2 == 0 ? 0 : 4));
          else
            codes[r * k_ + c] = static_cast<std::uint8_t>(code);
        }
      }
    }
    return codes;
  }

  // The first, for the most rows, chooses the layout of the weights; the others take it.
  dnnl::matmul::primitive_desc descriptor(std::size_t m) const {
    dnnl::primitive_attr attributes;
    const bool integers = form_.input == input_form::int8;
    if (form_.group == 0) {
      attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
      if (integers) attributes.set_scales_mask(DNNL_ARG_SRC, 0);
    }
    const memory::desc weights =
        copies_.empty() ? memory::desc({dim(k_), dim(n_)}, form_.weights, memory::format_tag::any) : layout_;
    return dnnl::matmul::primitive_desc(engine_,
                                        {{dim(m), dim(k_)}, integers ? type::s8 : type::f32, memory::format_tag::ab},
                                        weights, {{dim(m), dim(n_)}, type::f32, memory::format_tag::ab}, attributes);
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::size_t n_, k_, next_ = 0;
  form form_;
  std::string implementation_;
  int threads_ = 1;
  std::vector<float> scales_;
  memory::desc layout_;
  std::vector<memory> copies_;
  std::map<std::size_t, input> inputs_;
  std::map<std::size_t, dnnl::matmul> primitives_;
};

}    // namespace

void add_onednn(peers& to, const problem& p, std::vector<std::string>& versions) {
  const auto* version = dnnl::version();
  versions.push_back("oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                     std::to_string(version->patch));
  const form forms[] = {
      {type::s8, 0, input_form::int8},
  };
  for (const form f : forms) {
    try {
      auto made = std::make_unique<onednn>(p, f);
      if (made->is_fast())
        to.push_back(std::move(made));
      else
        std::printf("oneDNN is left out of \"%s\": it has only %s\n", made->kind().c_str(),
                    made->implementation().c_str());
    } catch (const dnnl::error& e) {
      std::printf("oneDNN refuses %s, group %zu: %s\n", f.weights == four_bits ? "int4" : "int8", f.group, e.what());
    }
  }
}

}    // namespace qlite_bench
