#include "quantize_layer.hpp"

#include <algorithm>
#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>

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

/// Inputs that the error is measured on: enough for two digits, few enough to take no time.
constexpr std::size_t error_rows = 256;

ql::matrix_view<const float> some_rows(ql::matrix_view<const float> x, std::size_t most) {
  const std::size_t step = std::max<std::size_t>(1, x.rows() / most);
  return {x.data(), std::min(x.rows() / step, most), x.cols(), x.row_stride() * step};
}

}    // namespace

struct layer_data::statistics {
  ql::hessian hessian;
  explicit statistics(const layer_data& data) : hessian(data.inputs().cols()) {
    hessian.observe(data.inputs(), data.threads());
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
void finish(const layer_data& data, const candidate& c, const ql::quantized_matrix<Scheme>& q, quantized_layer& layer) {
  const double noise = ql::output_error(data.weights(), q, some_rows(data.inputs(), error_rows), data.threads());
  ql::any_packed<backend> packed = ql::pack<backend>(q, data.threads());
  layer.memory = ql::packed_memory<backend>(c.format.scheme, q.rows(), q.cols());
  layer.cost = {packed.bytes(), noise * noise};
  layer.weights = std::make_shared<const llm::quantized_matrix>(std::move(packed), c.format.weight_only);
}

template <class Scheme>
void quantize_as(Scheme scheme, const layer_data& data, const candidate& c, quantized_layer& layer) {
  const ql::matrix_view<const float> W = data.weights();
  llm::executor& threads = data.threads();
  switch (c.how) {
    case method::none:
    case method::rtn:
      return finish(data, c, ql::quantize(scheme, W, ql::rtn{}, threads), layer);
    case method::mse:
      return finish(data, c, ql::quantize(scheme, W, ql::mse_clip{}, threads), layer);
    default:
      return finish(data, c, ql::quantize(scheme, W, ql::gptq{data.gathered().hessian}, threads), layer);
  }
}

}    // namespace

quantized_layer quantize_layer(const layer_data& data, const candidate& c) {
  quantized_layer layer;
  const auto use = [&](auto scheme) { quantize_as(scheme, data, c, layer); };
  if (c.format.what == llm::precision::int4)
    ql::visit_scheme<schemes_of<ql::int4>>(c.format.scheme, use);
  else
    ql::visit_scheme<schemes_of<ql::int8>>(c.format.scheme, use);
  return layer;
}

}    // namespace compare
