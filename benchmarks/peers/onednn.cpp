// oneDNN: matmul with weights in the layout that its kernels are fast with. Integer and bfloat16 activations were
// converted before, which is not measured and flatters it. What it has no fast code for on this processor is left out.
#include <dnnl.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

#include "machine/sampling.hpp"
#include "peers/peer.hpp"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_TBB
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#else
#include <omp.h>
#endif

// 3.5 brought INT4 and scales of groups that multiply floats; 3.6 those of activations.
#define QLITE_ONEDNN_HAS_GROUPS (DNNL_VERSION_MAJOR > 3 || DNNL_VERSION_MINOR >= 5)

namespace qlite_bench {
namespace {

using dnnl::memory;
using type = memory::data_type;

#if QLITE_ONEDNN_HAS_GROUPS
constexpr type four_bits = type::s4;
#else
constexpr type four_bits = type::undef;
#endif

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_TBB
void use_threads(std::size_t threads) {
  static std::size_t now = 0;
  static std::unique_ptr<tbb::global_control> limit;
  if (now == threads) return;
  limit.reset();    // of several the least counts
  limit = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism, threads);
  now = threads;
}
// A primitive is made for as many threads as the arena has in which it is made.
template <class F>
void with_threads(std::size_t threads, const F& f) {
  tbb::task_arena(static_cast<int>(threads)).execute(f);
}
#else
void use_threads(std::size_t threads) { omp_set_num_threads(static_cast<int>(threads)); }
template <class F>
void with_threads(std::size_t, const F& f) {
  f();
}
#endif

// oneDNN built with SYCL, as PyPI has it since 2024, works on a thread of SYCL's and workers of oneTBB, while the
// caller waits.
constexpr bool on_the_callers_thread = DNNL_CPU_RUNTIME != DNNL_RUNTIME_SYCL;

// Activations: int8, with a scale for as many as the weights have one for; uint8 around 128 with one scale for all, for
// which the kernels need no correction, so that a bias can make up for the 128; floats; bfloat16.
enum class input_form { int8, uint8_and_bias, floats, bfloat16 };

struct form {
  type weights;         // s8 or s4
  std::size_t group;    // of weights that share a scale; 0: a row of W, and all activations
  input_form input;
};

bool multiplies_integers(form f) { return f.input == input_form::int8 || f.input == input_form::uint8_and_bias; }
type type_of(input_form f) {
  switch (f) {
    case input_form::int8:
      return type::s8;
    case input_form::uint8_and_bias:
      return type::u8;
    case input_form::floats:
      return type::f32;
    case input_form::bfloat16:
      break;
  }
  return type::bf16;
}

std::string description(form f) {
  const std::string weights = (f.weights == four_bits ? "int4" : "int8") +
                              (f.group == 0 ? " per channel" : " per group of " + std::to_string(f.group));
  switch (f.input) {
    case input_form::int8:
      return weights + ", quantized X given";
    case input_form::uint8_and_bias:
      return weights + ", one scale for X, given";
    case input_form::floats:
      return weights + ", float activations";
    case input_form::bfloat16:
      break;
  }
  return weights + ", bfloat16 activations";
}

// The engine and its stream, of all products.
struct processor {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

class onednn final : public peer {
 public:
  onednn(std::shared_ptr<processor> on, const problem& p, form f)
      : on_(std::move(on)), n_(p.n), k_(p.k), threads_(p.threads), form_(f) {
    use_threads(threads_);
    const auto chosen = layout_and_kernel(p.most_rows);
    layout_ = chosen.weights_desc();
    quantized q = quantized_weights(p.w);
    // INT4 is reordered from floats only
    memory plain({{dim(k_), dim(n_)}, f.weights == four_bits ? type::f32 : type::s8, memory::format_tag::ba},
                 on_->engine, f.weights == four_bits ? static_cast<void*>(q.values.data()) : q.codes.data());
    const std::size_t copies = copies_of(weight_bytes());
    for (std::size_t i = 0; i < copies; ++i) copies_.push_back({memory(layout_, on_->engine), q.scales});
    dnnl::reorder(plain, copies_[0].codes).execute(on_->stream, plain, copies_[0].codes);
    on_->stream.wait();
    for (std::size_t i = 1; i < copies; ++i)    // reordering INT4 takes a second
      std::memcpy(copies_[i].codes.get_data_handle(), copies_[0].codes.get_data_handle(), layout_.get_size());
  }

  std::string library() const override { return "oneDNN"; }
  std::string kind() const override { return description(form_); }
  family group() const override {
    if (form_.input == input_form::floats) return family::floats;
    if (form_.input == input_form::bfloat16) return family::bfloat16s;
    if (form_.weights == type::s8) return form_.group == 0 ? family::int8_channel : family::int8_groups;
    return form_.group == 0 || form_.group > 64 ? family::int4_large_groups : family::int4_small_groups;
  }
  std::size_t weight_bytes() const override { return layout_.get_size() + groups() * n_ * sizeof(float); }
  bool quantizes_inside() const override { return form_.input == input_form::floats; }
  bool caller_works() const override { return on_the_callers_thread; }

  void run(const float* x, std::size_t m, float* y) override {
    use_threads(threads_);
    auto made = products_.find(m);
    if (made == products_.end()) {
      with_threads(threads_, [&] { made = products_.emplace(m, dnnl::matmul(descriptor(m, layout_))).first; });
    }
    copy& w = copies_[next_++ % copies_.size()];
    std::unordered_map<int, memory> arguments{
        {DNNL_ARG_WEIGHTS, w.codes},
        {DNNL_ARG_DST, memory({{dim(m), dim(n_)}, type::f32, memory::format_tag::ab}, on_->engine, y)},
        {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, values(w.scales, groups(), n_, form_.group != 0)}};
    if (form_.input == input_form::floats) {
      arguments.emplace(DNNL_ARG_SRC, activations(const_cast<float*>(x), m));
    } else {
      auto at = inputs_.find(m);
      if (at == inputs_.end()) at = inputs_.emplace(m, converted(x, m)).first;
      input& in = at->second;
      arguments.emplace(DNNL_ARG_SRC, activations(in.codes.data(), m));
      if (multiplies_integers(form_))
        arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC, values(in.scales, m, groups(), has_groups(form_.input)));
      if (form_.input == input_form::uint8_and_bias)
        arguments.emplace(DNNL_ARG_BIAS, memory(bias(), on_->engine, in.bias.data()));
    }
    made->second.execute(on_->stream, arguments);
    on_->stream.wait();
  }

 private:
  struct quantized {
    std::vector<std::int8_t> codes;    // [n, k]
    std::vector<float> values;         // the same, for INT4
    std::vector<float> scales;         // [k / group, n]
  };
  struct copy {
    memory codes;
    std::vector<float> scales;
  };
  struct input {
    std::vector<std::uint8_t> codes;    // of s8, u8 or bf16
    std::vector<float> scales;          // [m, k / group], or one
    std::vector<float> bias;            // [n], or none
  };

  static memory::dim dim(std::size_t i) { return static_cast<memory::dim>(i); }
  std::size_t groups() const { return form_.group == 0 ? 1 : k_ / form_.group; }

  bool has_groups(input_form f) const { return f == input_form::int8 && form_.group != 0; }
  memory::desc bias() const { return {{1, dim(n_)}, type::f32, memory::format_tag::ab}; }

  memory activations(void* data, std::size_t m) const {
    return memory({{dim(m), dim(k_)}, type_of(form_.input), memory::format_tag::ab}, on_->engine, data);
  }
  // Scales: of groups two dimensions, else one.
  memory values(std::vector<float>& of, std::size_t rows, std::size_t columns, bool grouped) const {
    if (grouped) return memory({{dim(rows), dim(columns)}, type::f32, memory::format_tag::ab}, on_->engine, of.data());
    return memory({{dim(of.size())}, type::f32, memory::format_tag::a}, on_->engine, of.data());
  }

  input converted(const float* x, std::size_t m) const {
    const std::size_t count = m * k_;
    if (form_.input == input_form::bfloat16) {
      input in{std::vector<std::uint8_t>(2 * count), {}, {}};
      memory floats({{dim(m), dim(k_)}, type::f32, memory::format_tag::ab}, on_->engine, const_cast<float*>(x));
      memory halves = activations(in.codes.data(), m);
      dnnl::reorder(floats, halves).execute(on_->stream, floats, halves);
      on_->stream.wait();
      return in;
    }
    input in{std::vector<std::uint8_t>(count), {}, {}};
    const std::size_t span = has_groups(form_.input) ? form_.group : count;
    const long zero = form_.input == input_form::int8 ? 0 : 128;
    for (std::size_t at = 0; at < count; at += span) {
      float most = 0;
      for (std::size_t i = at; i < at + span; ++i) most = std::fmax(most, std::fabs(x[i]));
      in.scales.push_back(most / 127);
      for (std::size_t i = at; i < at + span; ++i)
        in.codes[i] = static_cast<std::uint8_t>(std::lrintf(x[i] * 127 / most) + zero);
    }
    if (form_.input == input_form::uint8_and_bias)
      for (const float sum : sums_) in.bias.push_back(-128 * in.scales[0] * sum);
    return in;
  }

  // INT4: the extreme becomes -8. Row r of W is column r of the transposed W.
  quantized quantized_weights(const float* w) {
    const bool nibbles = form_.weights == four_bits;
    const std::size_t span = k_ / groups();
    quantized q{std::vector<std::int8_t>(n_ * k_), {}, std::vector<float>(groups() * n_)};
    sums_.clear();
    for (std::size_t r = 0; r < n_; ++r) {
      double sum = 0;
      for (std::size_t at = 0; at < k_; at += span) {
        float extreme = 0;
        for (std::size_t c = at; c < at + span; ++c)
          if (std::fabs(w[r * k_ + c]) > std::fabs(extreme)) extreme = w[r * k_ + c];
        const float scale = nibbles ? extreme / -8 : std::fabs(extreme) / 127;
        q.scales[at / span * n_ + r] = scale;
        long codes = 0;
        for (std::size_t c = at; c < at + span; ++c) {
          const long code = std::min(std::lrintf(w[r * k_ + c] / scale), nibbles ? 7L : 127L);
          q.codes[r * k_ + c] = static_cast<std::int8_t>(code);
          codes += code;
        }
        sum += static_cast<double>(scale) * static_cast<double>(codes);
      }
      sums_.push_back(static_cast<float>(sum));
    }
    if (nibbles) q.values.assign(q.codes.begin(), q.codes.end());
    return q;
  }

  // The layout of the weights that the library has a fast kernel for: a plain one, of the rows of W, or its own choice.
  // Nibbles have plain layouts only, and the rows of W take 0.5 to 1.1 of the time of its choice, as they do with
  // bfloat16. Throws what there is else.
  dnnl::matmul::primitive_desc layout_and_kernel(std::size_t m) const {
    const auto rows = memory::format_tag::ba, columns = memory::format_tag::ab, own = memory::format_tag::any;
    const bool rows_first = form_.weights == four_bits || form_.input == input_form::bfloat16;
    std::string found;
    for (const auto tag : rows_first ? std::array{rows, own, columns} : std::array{own, rows, columns}) {
      dnnl::matmul::primitive_desc made;
      with_threads(threads_, [&] { made = descriptor(m, {{dim(k_), dim(n_)}, form_.weights, tag}); });
      if (!made) continue;
      found = made.impl_info_str();
      if (found.find("ref") == std::string::npos) return made;
    }
    throw std::runtime_error(found.empty() ? "the library refuses it" : "the library has only " + found);
  }

  // Empty if the library refuses.
  dnnl::matmul::primitive_desc descriptor(std::size_t m, const memory::desc& weights) const {
    dnnl::primitive_attr attributes;
    const bool integers = multiplies_integers(form_);
    if (form_.group == 0) attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
    if (integers && !has_groups(form_.input)) attributes.set_scales_mask(DNNL_ARG_SRC, 0);
#if QLITE_ONEDNN_HAS_GROUPS
    constexpr int rows_and_columns = 1 << 0 | 1 << 1;
    if (form_.group != 0) attributes.set_scales(DNNL_ARG_WEIGHTS, rows_and_columns, {dim(form_.group), 1});
    if (has_groups(form_.input)) attributes.set_scales(DNNL_ARG_SRC, rows_and_columns, {1, dim(form_.group)});
    // true: the weights, although they are integers, may be multiplied as floats
    if (!integers)
      attributes.set_fpmath_mode(
          form_.input == input_form::bfloat16 ? dnnl::fpmath_mode::bf16 : dnnl::fpmath_mode::strict, true);
#endif
    const memory::desc x({dim(m), dim(k_)}, type_of(form_.input), memory::format_tag::ab);
    const memory::desc y({dim(m), dim(n_)}, type::f32, memory::format_tag::ab);
    return form_.input == input_form::uint8_and_bias
               ? dnnl::matmul::primitive_desc(on_->engine, x, weights, bias(), y, attributes, true)
               : dnnl::matmul::primitive_desc(on_->engine, x, weights, y, attributes, true);
  }

  std::shared_ptr<processor> on_;
  std::size_t n_, k_, threads_, next_ = 0;
  form form_;
  memory::desc layout_;
  std::vector<float> sums_;    // of the quantized weights in each row of W
  std::vector<copy> copies_;
  std::map<std::size_t, input> inputs_;
  std::map<std::size_t, dnnl::matmul> products_;
};

}    // namespace

void add_onednn(peers& to, const problem& p, std::vector<std::string>& versions) {
  const auto* version = dnnl::version();
  versions.push_back("oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                     std::to_string(version->patch));
#ifdef QLITE_PEER_ONEDNN_OPENCL
  setenv("OCL_ICD_FILENAMES", QLITE_PEER_ONEDNN_OPENCL, 0);
#endif
  use_threads(p.threads);
  const auto others = workers_of_process();
  if (dnnl::engine::get_count(dnnl::engine::kind::cpu) == 0) {
    std::printf("oneDNN is left out: it finds no processor (of its OpenCL runtime)\n");
    return;
  }
  const auto on = std::make_shared<processor>();
  constexpr auto int8 = input_form::int8, uint8_and_bias = input_form::uint8_and_bias, floats = input_form::floats,
                 bfloat16 = input_form::bfloat16;
  std::vector<form> forms{{type::s8, 0, int8}};
  if (QLITE_ONEDNN_HAS_GROUPS) {
    for (const type weights : {four_bits, type::s8})
      for (const std::size_t group : {32u, 128u})
        for (const auto x : {int8, uint8_and_bias, floats, bfloat16}) forms.push_back({weights, group, x});
    for (const auto x : {int8, uint8_and_bias}) forms.push_back({four_bits, 0, x});
    for (const auto x : {floats, bfloat16}) forms.push_back({type::s8, 0, x});
  }
  for (const form f : forms) {
    try {
      to.push_back(std::make_unique<onednn>(on, p, f));
    } catch (const std::exception& e) {
      std::printf("oneDNN is left out of \"%s\": %s\n", description(f).c_str(), e.what());
    }
  }
  if (on_the_callers_thread) return;
  static std::set<int> workers;
  for (const int thread : workers_of_process())
    if (others.count(thread) == 0) workers.insert(thread);
  spread_workers(workers, p.threads);
}

}    // namespace qlite_bench
