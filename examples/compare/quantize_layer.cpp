#include "quantize_layer.hpp"

#include <algorithm>
#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>
#include <type_traits>

namespace ql = qlite;

namespace compare {
namespace {

using backend = ql::cpu::native;

/// The schemes that a candidate can name. Group sizes are known at run time only.
template <class Code>
using schemes_of =
    ql::scheme_list<ql::scheme<Code, ql::per_channel>, ql::scheme<Code, ql::per_group<ql::dynamic_extent>>,
                    ql::scheme<Code, ql::per_channel, ql::asymmetric>,
                    ql::scheme<Code, ql::per_group<ql::dynamic_extent>, ql::asymmetric>,
                    ql::scheme<Code, ql::per_channel, ql::offset<>>,
                    ql::scheme<Code, ql::per_group<ql::dynamic_extent>, ql::offset<>>>;
using nl4_schemes =
    ql::scheme_list<ql::scheme<ql::nl4, ql::per_channel>, ql::scheme<ql::nl4, ql::per_group<ql::dynamic_extent>>>;

/// Inputs that the error is measured on: enough for two digits, few enough to take no time.
constexpr std::size_t error_rows = 256;

ql::matrix_view<const float> some_rows(ql::matrix_view<const float> x, std::size_t most) {
  const std::size_t step = std::max<std::size_t>(1, x.rows() / most);
  return {x.data(), std::min(x.rows() / step, most), x.cols(), x.row_stride() * step};
}

}    // namespace

struct layer_data::statistics {
  ql::hessian hessian;
  ql::activation_stats magnitudes;
  explicit statistics(const layer_data& data) : hessian(data.inputs().cols()), magnitudes(data.inputs().cols()) {
    hessian.observe(data.inputs(), data.threads());
    magnitudes.observe(data.inputs(), data.threads());
  }
};

layer_data::layer_data(ql::matrix_view<const float> weights, ql::matrix_view<const float> inputs,
                       llm::executor& threads)
    : weights_(weights), inputs_(inputs), threads_(threads) {}
layer_data::~layer_data() = default;

const layer_data::statistics& layer_data::gathered() const {
  if (statistics_ == nullptr) statistics_ = std::make_unique<statistics>(*this);
  return *statistics_;
}

namespace {

/// Packs what a method made, and measures it.
template <class Scheme>
void finish(const layer_data& data, const candidate& c, const ql::quantized_matrix<Scheme>& q, double error,
            quantized_layer& layer) {
  ql::any_packed<backend> packed = ql::pack<backend>(q, data.threads());
  layer.memory = ql::packed_memory<backend>(c.format.scheme, q.rows(), q.cols());
  layer.cost = {packed.bytes(), error * error};
  layer.weights = std::make_shared<const llm::quantized_matrix>(std::move(packed), c.format.weight_only);
}

template <class Quantized>
double error_of(const layer_data& data, const Quantized& q) {
  return ql::output_error(data.weights(), q, some_rows(data.inputs(), error_rows), data.threads());
}

template <class Scheme, class Method>
void quantize_by(Scheme scheme, const Method& by, const layer_data& data, const candidate& c, quantized_layer& layer) {
  auto q = ql::quantize(scheme, data.weights(), by, data.threads());
  const double error = error_of(data, q);
  if constexpr (std::is_same_v<decltype(q), ql::quantized_matrix<Scheme>>) {
    finish(data, c, q, error, layer);
  } else {    // scaled: the engine multiplies the inputs
    std::vector<float> factors(q.cols());
    for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = 1.0f / q.input_scale()[i];
    layer.factors = std::make_shared<const std::vector<float>>(std::move(factors));
    finish(data, c, q.codes(), error, layer);
    layer.cost.bytes += layer.factors->size() * sizeof(float);
  }
}

template <class Scheme>
void quantize_as(Scheme scheme, const layer_data& data, const candidate& c, quantized_layer& layer) {
  const auto by = [&](const auto& chosen) { quantize_by(scheme, chosen, data, c, layer); };
  switch (c.how) {
    case method::none:
    case method::rtn:
      return by(ql::rtn{});
    case method::mse:
      return by(ql::mse_clip{});
    case method::hqq:
      if constexpr (ql::detail::scheme_traits<Scheme>::has_offset) return by(ql::hqq{});
      return;
    case method::gptq:
    case method::gptq_refine: {    // docs/methods.md: the best of its kind there
      ql::gptq rounding(data.gathered().hessian, ql::importance_clip(data.gathered().magnitudes));
      rounding.act_order = true;
      if (c.how == method::gptq) return by(rounding);
      return by(ql::refined(data.gathered().hessian, rounding));
    }
    case method::awq:
      return by(ql::awq{data.gathered().magnitudes, some_rows(data.inputs(), error_rows)});
    case method::awq_gptq: {
      ql::awq search{data.gathered().magnitudes, some_rows(data.inputs(), error_rows)};
      search.clip = false;    // only its factors are taken
      const auto scaled = ql::quantize(scheme, data.weights(), search, data.threads());
      const ql::hessian divided = ql::divide_inputs(data.gathered().hessian, scaled.input_scale());
      ql::gptq rounding(divided, ql::mse_clip{});
      rounding.act_order = true;
      return by(ql::scaled_by{scaled.input_scale(), rounding});
    }
  }
}

}    // namespace

quantized_layer quantize_layer(const layer_data& data, const candidate& c) {
  quantized_layer layer;
  const auto use = [&](auto scheme) { quantize_as(scheme, data, c, layer); };
  if (c.format.scheme.codebook == ql::codebook_kind::nl4)
    ql::visit_scheme<nl4_schemes>(c.format.scheme, use);
  else if (c.format.what == llm::precision::int4)
    ql::visit_scheme<schemes_of<ql::int4>>(c.format.scheme, use);
  else
    ql::visit_scheme<schemes_of<ql::int8>>(c.format.scheme, use);
  return layer;
}

}    // namespace compare
