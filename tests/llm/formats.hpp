// What a format's name stands for: the weights that a model in it has, and the logits that an engine gives with them.
#pragma once

#include <qlite/quantize.hpp>

#include "oracle.hpp"
#include "transformer.hpp"

namespace llm_test {

inline std::vector<llm::token> random_text(std::uint64_t seed, std::size_t count, std::size_t vocabulary) {
  random_source random(seed);
  std::vector<llm::token> text(count);
  for (llm::token& t : text) t = static_cast<llm::token>(random.integer(0, vocabulary - 1));
  return text;
}

inline std::vector<std::vector<float>> rows_of(qlite::matrix_view<const float> m) {
  std::vector<std::vector<float>> rows;
  for (std::size_t r = 0; r < m.rows(); ++r) rows.emplace_back(m.row(r), m.row(r) + m.cols());
  return rows;
}

// Logits after each token, computed in pieces of the given sizes.
inline std::vector<std::vector<float>> logits_of(llm::running_text& running, std::size_t vocabulary,
                                                 const std::vector<llm::token>& text,
                                                 const std::vector<std::size_t>& pieces) {
  std::vector<std::vector<float>> logits;
  std::size_t at = 0;
  for (const std::size_t piece : pieces) {
    const auto hidden = running.forward(text.data() + at, piece);
    at += piece;
    std::vector<float> out(piece * vocabulary);
    running.logits(hidden, {out.data(), piece, vocabulary});
    for (auto& row : rows_of({out.data(), piece, vocabulary})) logits.push_back(std::move(row));
  }
  REQUIRE(at == text.size());
  return logits;
}

inline llm::model_format format_of(const std::string& layers, const std::string& output) {
  return {llm::parse_format(layers, {}), llm::parse_format(output, {})};
}

// The weights that a format stands for, as floats.
inline matrix stored(const matrix& m, const llm::weight_format& format) {
  matrix out = m;
  if (format.what == llm::precision::bfloat16)
    for (float& v : out.values) v = qlite::bfloat16::from_float(v).to_float();
  if (format.what == llm::precision::float16)
    for (float& v : out.values) v = qlite::float16::from_float(v).to_float();
  if (!format.quantized()) return out;
  using qlite::dynamic_extent, qlite::int4, qlite::int8, qlite::per_channel, qlite::per_group;
  using schemes = qlite::scheme_list<
      qlite::scheme<int8, per_group<32>>, qlite::scheme<int8, per_channel>, qlite::scheme<int4, per_channel>,
      qlite::scheme<int4, per_group<32>>, qlite::scheme<int4, per_group<dynamic_extent>>,
      qlite::scheme<int4, per_group<dynamic_extent>, qlite::asymmetric>,
      qlite::scheme<int4, per_group<32>, qlite::offset<>>, qlite::scheme<qlite::nl4, per_group<dynamic_extent>>>;
  qlite::visit_scheme<schemes>(format.scheme, [&](auto scheme) {
    const qlite::matrix_view<const float> view{m.values.data(), m.rows, m.cols};
    const qlite::matrix_view<float> to{out.values.data(), m.rows, m.cols};
    if (format.method == llm::quantization_method::rtn)
      qlite::dequantize(qlite::quantize(scheme, view, qlite::rtn{}).view(), to);
    else
      qlite::dequantize(qlite::quantize(scheme, view, qlite::mse_clip{}).view(), to);
  });
  return out;
}

// The model whose weights are those that the engine holds. Embedding rows stay as they are in the file, so a model
// whose output is quantized is no longer tied.
inline tiny_model stored(const tiny_model& model, const llm::model_format& format) {
  tiny_model out = model;
  for (auto& [id, m] : out.tensors)
    if (m.rows > 1 && id.first != llm::role::embedding && id.first != llm::role::output) m = stored(m, format.layers);
  out.tensors[{llm::role::output, 0}] = stored(model.output(), format.output);
  out.tied = false;
  return out;
}

}    // namespace llm_test
