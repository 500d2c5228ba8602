// What quantizing a model needs of the engine: layers one at a time, their inputs, and weights from elsewhere.
#include <cstring>
#include <qlite/gemm.hpp>
#include <qlite/quantize.hpp>

#include "fixture.hpp"
#include "support/catch.hpp"
#include "transformer.hpp"

using namespace llm_test;

namespace {

struct seen_input {
  llm::linear_id id;
  std::size_t rows, cols;
  std::vector<float> values;
};

llm::input_observer recorder(std::vector<seen_input>& seen) {
  return [&](llm::linear_id id, qlite::matrix_view<const float> x) {
    seen_input s{id, x.rows(), x.cols(), {}};
    for (std::size_t r = 0; r < x.rows(); ++r) s.values.insert(s.values.end(), x.row(r), x.row(r) + x.cols());
    seen.push_back(std::move(s));
  };
}

bool same(const seen_input& a, const seen_input& b) {
  return a.id.what == b.id.what && a.id.layer == b.id.layer && a.rows == b.rows && a.cols == b.cols &&
         std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)) == 0;
}

}    // namespace

TEST_CASE("layer by layer, every product sees what it sees in a whole pass") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(1), folder / "model.gguf");
  llm::executor threads(2);
  const auto file = llm::open_model(folder / "model.gguf");
  const llm::transformer model(file, llm::model_format{}, threads);
  const auto& c = model.config();
  const std::vector<std::vector<llm::token>> texts{{5, 7, 200, 3, 9, 11, 250}, {42}, {1, 2, 3, 4}};

  std::vector<seen_input> whole, layered;
  llm::session session(model, 64, 32, threads);
  session.observe(recorder(whole));
  for (const auto& text : texts) {
    session.reset();
    session.forward(text.data(), text.size());
  }
  REQUIRE(whole.size() == texts.size() * c.layers * 4);    // gate and up share theirs

  std::vector<std::vector<float>> hidden;
  for (const auto& text : texts) {
    hidden.emplace_back(text.size() * c.width);
    session.embed(text.data(), {hidden.back().data(), text.size(), c.width});
  }
  session.observe(recorder(layered));
  for (std::size_t i = 0; i < c.layers; ++i)
    for (std::size_t t = 0; t < texts.size(); ++t) {
      session.attend(i, {hidden[t].data(), texts[t].size(), c.width});
      session.feed_forward(i, {hidden[t].data(), texts[t].size(), c.width});
    }
  REQUIRE(layered.size() == whole.size());
  for (std::size_t t = 0; t < texts.size(); ++t)
    for (std::size_t i = 0; i < c.layers; ++i)
      for (std::size_t p = 0; p < 4; ++p) {
        const seen_input& a = whole[(t * c.layers + i) * 4 + p];
        const seen_input& b = layered[(i * texts.size() + t) * 4 + p];
        CHECK(same(a, b));
      }
  for (const seen_input& s : whole) CHECK(s.cols == llm::shape_of(c, s.id.what).cols);

  session.observe({});
  session.reset();
  session.forward(texts[0].data(), texts[0].size());
  CHECK(layered.size() == whole.size());
  std::vector<float> too_long(33 * c.width);
  CHECK_THROWS_AS(session.attend(0, {too_long.data(), 33, c.width}), std::runtime_error);
  CHECK_THROWS_AS(session.feed_forward(0, {too_long.data(), 33, c.width}), std::runtime_error);
  CHECK_THROWS_AS(session.finish({too_long.data(), 33, c.width}), std::runtime_error);
}

TEST_CASE("a model of linear layers from elsewhere is the same model") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(2), folder / "model.gguf");
  llm::executor threads(2);
  const auto file = llm::open_model(folder / "model.gguf");
  const llm::transformer model(file, llm::model_format{}, threads);
  std::size_t asked = 0;
  const llm::transformer shared(model.shared_file(), [&](llm::linear_id id) {
    ++asked;
    const llm::layer_weights& layer = model.layers()[id.layer];
    switch (id.what) {
      case llm::part::qkv:
        return layer.qkv;
      case llm::part::attention_output:
        return layer.attention_output;
      case llm::part::gate:
        return layer.gate;
      case llm::part::up:
        return layer.up;
      case llm::part::down:
        return layer.down;
      default:
        return model.output();
    }
  });
  CHECK(asked == model.config().layers * 5 + 1);
  CHECK(shared.bytes() == model.bytes());
  CHECK(shared.weights() == model.weights());
  const llm::token text[] = {3, 1, 4, 1, 5};
  llm::session a(model, 16, 16, threads), b(shared, 16, 16, threads);
  CHECK(std::memcmp(a.prompt(text, 5), b.prompt(text, 5), model.config().vocabulary * sizeof(float)) == 0);

  // Its rows are those of the file, whichever tensors they come from.
  for (const llm::linear_id id : llm::linears_of(model.config())) {
    const llm::tensor_shape shape = llm::shape_of(model.config(), id.what);
    std::vector<float> all(shape.rows * shape.cols), row(shape.cols);
    const llm::row_reader read = llm::reader_of(*file, id);
    read(0, {all.data(), shape.rows, shape.cols});
    for (std::size_t r = 0; r < shape.rows; r += 7) {
      read(r, {row.data(), 1, shape.cols});
      CHECK(std::memcmp(row.data(), all.data() + r * shape.cols, shape.cols * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("factors multiply the input of a quantized layer") {
  random_source random(3);
  llm::executor threads(2);
  const std::size_t n = 20, k = 64, m = 5;
  const auto w = random.normal_vector(n * k);
  const auto x = random.normal_vector(m * k);
  std::vector<float> factors(k), scaled(x);
  for (float& f : factors) f = random.uniform(0.5f, 2.0f);
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= factors[i % k];
  for (const bool weight_only : {false, true}) {
    const auto weights = std::make_shared<const llm::quantized_matrix>(
        qlite::pack<qlite::cpu::native>(qlite::quantize<qlite::scheme<qlite::int4, qlite::per_group<32>>>(
            qlite::matrix_view<const float>{w.data(), n, k}, qlite::rtn{})),
        weight_only);
    const llm::linear plain(weights);
    const llm::linear with_factors(weights, std::make_shared<const std::vector<float>>(factors));
    CHECK(with_factors.bytes() == plain.bytes() + k * sizeof(float));
    std::vector<float> expected(m * n), found(m * n), again(m * n);
    llm::layer_input input;
    input.set({scaled.data(), m, k});
    plain.apply(input, {expected.data(), m, n}, {}, threads);
    input.set({x.data(), m, k});
    with_factors.apply(input, {found.data(), m, n}, {}, threads);
    CHECK(found == expected);
    plain.apply(input, {again.data(), m, n}, {}, threads);    // the unscaled input is still there
    input.set({x.data(), m, k});
    plain.apply(input, {found.data(), m, n}, {}, threads);
    CHECK(found == again);
  }
}
