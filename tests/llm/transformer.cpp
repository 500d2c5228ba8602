// The engine against the oracle, in every format and from both file formats.
#include "transformer.hpp"

#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>

#include "formats.hpp"

namespace ql = qlite;

namespace {

using namespace llm_test;

std::vector<std::vector<float>> engine_logits(const llm::transformer& model, const std::vector<llm::token>& text,
                                              const std::vector<std::size_t>& pieces, llm::executor& threads) {
  llm::session s(model, model.config().context, text.size(), threads);
  return logits_of(s, model.config().vocabulary, text, pieces);
}

}    // namespace

TEST_CASE("float32 logits agree with a double-precision forward pass, from both file formats") {
  llm::executor threads(2);
  const bool tied = GENERATE(true, false);
  CAPTURE(tied);
  const tiny_model model = make_tiny_model(tied ? 1 : 2, tiny_config(), tied);
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  write_safetensors(model, folder);
  const auto text = random_text(3, 41, model.config.vocabulary);
  const auto expected = oracle_logits(model, text);
  const auto format = format_of("fp32", "fp32");

  const llm::transformer from_gguf(llm::open_model(folder / "model.gguf"), format, threads);
  CHECK(relative_error(engine_logits(from_gguf, text, {41}, threads), expected) < 2e-6);
  const llm::transformer from_safetensors(llm::open_model(folder.path()), format, threads);
  CHECK(relative_error(engine_logits(from_safetensors, text, {41}, threads), expected) < 2e-6);

  std::size_t weights = 0;
  for (const auto& [id, m] : model.tensors) weights += m.values.size();
  if (!tied) weights -= model.at(llm::role::embedding).values.size();    // looked up in the file
  CHECK(from_gguf.weights() == weights);
  CHECK(from_gguf.bytes() == weights * sizeof(float));
}

TEST_CASE("logits agree with the forward pass of the weights that a format stands for") {
  llm::executor threads(2);
  const tiny_model model = make_tiny_model(4);
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  const auto file = llm::open_model(folder / "model.gguf");
  const auto text = random_text(5, 30, model.config.vocabulary);

  // With float activations only sums are rounded; INT8 and bfloat16 activations add their own error to each product.
  const double bf16_error = llm::has_bf16_dot ? 1e-2 : 2e-6;
  struct row {
    const char* layers;
    const char* output;
    double tolerance;
  };
  const auto [layers, output, tolerance] = GENERATE_COPY(
      row{"bf16", "bf16", bf16_error}, row{"int8:weight-only", "int8:weight-only", 2e-6},
      row{"int8:g0:weight-only", "fp32", 2e-6}, row{"int4:weight-only", "int8:weight-only", 2e-6},
      row{"int4:g12:weight-only", "int4:weight-only", 2e-6}, row{"int4:g20:asymmetric:weight-only", "fp32", 2e-6},
      row{"int4:offset:weight-only", "fp32", 2e-6}, row{"int4:mse_clip:weight-only", "fp32", 2e-6},
      row{"int8", "int8", 3e-2}, row{"int8:g0", "int8:g0", 3e-2}, row{"int4", "int8:weight-only", 3e-2},
      row{"int4:g20:asymmetric", "int8", 3e-2}, row{"int4:offset", "int8", 3e-2});
  CAPTURE(layers, output);
  const auto format = format_of(layers, output);
  const auto expected = oracle_logits(stored(model, format), text);
  const llm::transformer engine(file, format, threads);
  CHECK(relative_error(engine_logits(engine, text, {30}, threads), expected) < tolerance);
  // The format is not a name only: other weights are as far away as their bits say.
  const double from_original = relative_error(engine_logits(engine, text, {30}, threads), oracle_logits(model, text));
  CHECK(from_original > (format.layers.what == llm::precision::int4 ? 2e-2 : 5e-4));
}

TEST_CASE("a text computed in pieces, or on other threads, has the same logits to the bit") {
  const tiny_model model = make_tiny_model(6);
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  const auto file = llm::open_model(folder / "model.gguf");
  const auto text = random_text(7, 70, model.config.vocabulary);
  const char* const precision = GENERATE("fp32", "bf16", "int8", "int4", "int8:g0");
  CAPTURE(precision);
  llm::executor one(1);
  const llm::transformer engine(file, format_of(precision, precision), one);
  const auto whole = engine_logits(engine, text, {70}, one);
  CHECK(engine_logits(engine, text, std::vector<std::size_t>(70, 1), one) == whole);
  CHECK(engine_logits(engine, text, {1, 12, 13, 2, 40, 2}, one) == whole);
  llm::executor three(3);
  const llm::transformer loaded_on_three(file, format_of(precision, precision), three);
  CHECK(engine_logits(loaded_on_three, text, {70}, three) == whole);
  CHECK(engine_logits(loaded_on_three, text, {33, 1, 36}, three) == whole);
}

TEST_CASE("a session starts over, and refuses what it has no room for") {
  llm::executor threads(1);
  const tiny_model model = make_tiny_model(8);
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  const llm::transformer engine(llm::open_model(folder / "model.gguf"), format_of("fp32", "fp32"), threads);
  llm::session s(engine, 20, 8, threads);
  const auto text = random_text(9, 25, model.config.vocabulary);
  const float* logits = s.prompt(text.data(), 20);
  const std::vector<float> first(logits, logits + model.config.vocabulary);
  CHECK(s.position() == 20);
  CHECK_THROWS_WITH(s.forward(text.data(), 1), ContainsSubstring("20 positions"));
  s.reset();
  s.prompt(text.data() + 5, 11);
  s.reset();
  logits = s.prompt(text.data(), 20);
  CHECK(std::vector<float>(logits, logits + model.config.vocabulary) == first);

  s.reset();
  CHECK_THROWS(s.prompt(text.data(), 21));
  CHECK_THROWS_WITH(s.forward(text.data(), 9), ContainsSubstring("positions"));
  for (const llm::token bad : {-1, 300}) CHECK_THROWS_WITH(s.forward(&bad, 1), ContainsSubstring("vocabulary"));
}

TEST_CASE("a matrix that is loaded in several pieces is the one that is loaded at once") {
  llm::executor threads(2);
  random_source random(10);
  const std::size_t rows = 1501;
  const std::size_t cols = 1450;    // 8.7 MB of floats: three pieces
  const auto weights = random.normal_vector(rows * cols);
  const auto x = random.normal_vector(2 * cols);
  const ql::matrix_view<const float> W{weights.data(), rows, cols}, X{x.data(), 2, cols};
  const llm::row_reader read = [&](std::size_t first, ql::matrix_view<float> out) {
    for (std::size_t r = 0; r < out.rows(); ++r) std::copy_n(W.row(first + r), cols, out.row(r));
  };
  llm::layer_input input;
  input.set(X);
  std::vector<float> y(2 * rows), expected(2 * rows);
  const ql::matrix_view<float> Y{y.data(), 2, rows}, E{expected.data(), 2, rows};

  const llm::linear asymmetric(rows, cols, llm::parse_format("int4:g32:asymmetric", {}), read, threads);
  asymmetric.apply(input, Y, {}, threads);
  using w4 = ql::scheme<ql::int4, ql::per_group<32>, ql::asymmetric>;
  ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<ql::cpu::native>(ql::quantize<w4>(W, ql::rtn{})), E);
  CHECK(y == expected);

  const llm::linear per_channel(rows, cols, llm::parse_format("int8:g0", {}), read, threads);
  per_channel.apply(input, Y, {}, threads);
  using w8 = ql::scheme<ql::int8, ql::per_channel>;
  ql::gemm(ql::dynamic<ql::int8>(X), ql::pack<ql::cpu::native>(ql::quantize<w8>(W, ql::rtn{})), E);
  CHECK(y == expected);

  const llm::linear floats(rows, cols, llm::parse_format("fp32", {}), read, threads);
  floats.apply(input, Y, {}, threads);
  double worst = 0;
  for (std::size_t m = 0; m < 2; ++m) {
    for (std::size_t n = 0; n < rows; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < cols; ++k) sum += static_cast<double>(W(n, k)) * static_cast<double>(X(m, k));
      worst = std::max(worst, std::abs(sum - static_cast<double>(Y(m, n))));
    }
  }
  CHECK(worst < 1e-3);    // sums of 1,450 products of size 1
}
