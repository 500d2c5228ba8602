// The engine on a GPU against the same oracle as on the CPU; skipped, with the reason, where there is no GPU.
#include "cuda_text.hpp"

#include <cstdio>

#include "formats.hpp"
#include "support/catch.hpp"

namespace {

using namespace llm_test;

// Why there is nothing to test; empty if there is a GPU.
std::string reason_to_skip() {
  try {
    llm::cuda_device();
  } catch (const std::exception& e) {
    return e.what();
  }
  return {};
}

// A model in a file, as a GPU runs it.
struct tiny_engine {
  tiny_model model;
  temporary_folder folder;
  llm::executor threads{2};
  std::shared_ptr<const llm::model_file> file;

  explicit tiny_engine(std::uint64_t seed, const llm::model_config& config = tiny_config(), bool tied = true)
      : model(make_tiny_model(seed, config, tied)) {
    write_gguf(model, folder / "model.gguf");
    file = llm::open_model(folder / "model.gguf");
  }
  std::unique_ptr<llm::cuda_text> start(const llm::model_format& format, std::size_t batch = 96) {
    return llm::make_cuda_text(file, format, model.config.context, batch, threads);
  }
  std::vector<std::vector<float>> logits(llm::running_text& running, const std::vector<llm::token>& text,
                                         const std::vector<std::size_t>& pieces) const {
    return logits_of(running, model.config.vocabulary, text, pieces);
  }
};

std::size_t largest(const std::vector<float>& logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<numbers> doubles(const std::vector<std::vector<float>>& rows) {
  std::vector<numbers> out;
  for (const auto& row : rows) out.emplace_back(row.begin(), row.end());
  return out;
}

// Rounding to float16 of each layer's inputs and of what is cached: a few times 2^-11.
constexpr double float16_error = 4e-3;

}    // namespace

#define REQUIRE_GPU()                      \
  if (!reason_to_skip().empty()) {         \
    WARN("skipped: " << reason_to_skip()); \
    return;                                \
  }                                        \
  static_cast<void>(0)

TEST_CASE("logits of a GPU agree with the forward pass of the weights that a format stands for") {
  REQUIRE_GPU();
  // Rows of 48 and 80, products with inputs of 60 (which lie off 16-byte boundaries), heads of 10: nothing is round.
  const bool tied = GENERATE(true, false);
  tiny_engine e(tied ? 21 : 22, tiny_config(), tied);
  const auto text = random_text(23, 41, e.model.config.vocabulary);
  const auto [layers, output] = GENERATE(
      std::pair{"fp16", "fp16"}, std::pair{"int8", "int8"}, std::pair{"int8:g0", "fp16"}, std::pair{"int4", "int8"},
      std::pair{"int4:g0", "fp16"}, std::pair{"int4:g16", "int4"}, std::pair{"int4:g8:asymmetric", "fp16"},
      std::pair{"int4:offset", "int8:g0"}, std::pair{"int4:mse_clip", "fp16"}, std::pair{"int4:nl4", "fp16"});
  CAPTURE(layers, output, tied);
  const auto format = format_of(layers, output);
  const auto running = e.start(format);
  const auto found = e.logits(*running, text, {41});
  const auto expected = oracle_logits(stored(e.model, format), text);
  std::printf("%-20s %-8s relative error %.2e\n", layers, output, relative_error(found, expected));
  CHECK(relative_error(found, expected) < float16_error);
  CHECK(running->position() == 41);

  std::size_t weights = 0;
  for (const auto& [id, m] : e.model.tensors) weights += m.values.size();
  if (!tied) weights -= e.model.at(llm::role::embedding).values.size();    // looked up in the file
  CHECK(running->weights() == weights);
  if (format.layers.what == llm::precision::float16) {
    const std::size_t norms = (2 * e.model.config.layers + 1) * e.model.config.width;
    CHECK(running->bytes() == 2 * weights + 2 * norms);
  } else if (format.layers.what == llm::precision::int4) {
    CHECK(relative_error(found, oracle_logits(e.model, text)) > 2e-2);    // the format is not a name only
  }
}

TEST_CASE("heads of every size class, both orders of rotary pairs, one and several queries for a key") {
  REQUIRE_GPU();
  llm::model_config c = tiny_config();
  const auto [heads, kv_heads, head_dim] = GENERATE(std::tuple{4, 4, 32}, std::tuple{4, 2, 64}, std::tuple{2, 1, 128},
                                                    std::tuple{1, 1, 256}, std::tuple{3, 1, 48}, std::tuple{2, 2, 160});
  CAPTURE(heads, head_dim);
  c.heads = static_cast<std::size_t>(heads);
  c.kv_heads = static_cast<std::size_t>(kv_heads);
  c.head_dim = static_cast<std::size_t>(head_dim);
  c.layers = 2;
  tiny_engine e(24, c);
  write_safetensors(e.model, e.folder);
  const auto text = random_text(25, 70, c.vocabulary);
  const auto format = format_of("fp16", "fp16");
  const auto expected = oracle_logits(stored(e.model, format), text);
  const auto adjacent = e.start(format);
  CHECK(relative_error(e.logits(*adjacent, text, {33, 1, 36}), expected) < float16_error);
  e.file = llm::open_model(e.folder.path());
  const auto halves = e.start(format);
  CHECK(relative_error(e.logits(*halves, text, {70}), expected) < float16_error);
}

TEST_CASE("a text computed in pieces has the logits of the whole, on a GPU") {
  REQUIRE_GPU();
  tiny_engine e(26);
  const auto text = random_text(27, 70, e.model.config.vocabulary);
  const char* const precision = GENERATE("fp16", "int8", "int4");
  CAPTURE(precision);
  const auto running = e.start(format_of(precision, precision));
  const auto whole = e.logits(*running, text, {70});
  for (const auto& pieces : {std::vector<std::size_t>(70, 1), std::vector<std::size_t>{1, 12, 13, 2, 40, 2}}) {
    running->reset();
    CHECK(relative_error(e.logits(*running, text, pieces), doubles(whole)) < float16_error);
  }
  // Up to 16 rows a row's bits do not depend on how many come with it, and so they do not depend on the cut at all.
  if (std::string(precision) == "fp16") return;
  running->reset();
  const auto ones = e.logits(*running, text, std::vector<std::size_t>(70, 1));
  running->reset();
  CHECK(e.logits(*running, text, {16, 3, 5, 16, 14, 16}) == ones);
  running->reset();
  CHECK(e.logits(*running, text, std::vector<std::size_t>(70, 1)) == ones);
}

TEST_CASE("the next token is the likeliest, by the graph of one token and by prompts") {
  REQUIRE_GPU();
  tiny_engine e(28);
  const auto text = random_text(29, 90, e.model.config.vocabulary);
  const char* const precision = GENERATE("fp16", "int8", "int4:offset");
  CAPTURE(precision);
  const auto format = format_of(precision, precision);
  const auto running = e.start(format, 16);    // longer prompts take several steps
  const auto other = e.start(format, 16);
  llm::sampler greedy(0, 0), cold(0, 0);
  std::size_t at = 0;
  for (const std::size_t piece : {1u, 1u, 40u, 1u, 2u, 1u, 1u, 16u, 17u, 1u}) {
    const llm::token next = running->next(text.data() + at, piece, greedy);
    const float* const logits = other->prompt(text.data() + at, piece);
    const std::vector<float> row(logits, logits + e.model.config.vocabulary);
    CHECK(static_cast<std::size_t>(next) == largest(row));
    at += piece;
    CHECK(running->position() == at);
  }
  // Above temperature 0 the host draws, the same for the same seed.
  running->reset();
  other->reset();
  llm::sampler a(1.5f, 7), b(1.5f, 7);
  for (std::size_t i = 0; i < 20; ++i)
    CHECK(running->next(text.data() + i, 1, a) == b.next(other->prompt(text.data() + i, 1), e.model.config.vocabulary));
}

TEST_CASE("a text on a GPU starts over, and refuses what it has no room for") {
  REQUIRE_GPU();
  tiny_engine e(30);
  const auto running = llm::make_cuda_text(e.file, format_of("int4", "fp16"), 20, 8, e.threads);
  const auto text = random_text(31, 25, e.model.config.vocabulary);
  const float* logits = running->prompt(text.data(), 20);
  const std::vector<float> first(logits, logits + e.model.config.vocabulary);
  CHECK_THROWS_WITH(running->forward(text.data(), 1), ContainsSubstring("20 positions"));
  running->reset();
  running->prompt(text.data() + 5, 11);
  running->reset();
  logits = running->prompt(text.data(), 20);
  CHECK(std::vector<float>(logits, logits + e.model.config.vocabulary) == first);
  running->reset();
  CHECK_THROWS(running->prompt(text.data(), 21));
  running->reset();
  CHECK_THROWS_WITH(running->forward(text.data(), 9), ContainsSubstring("positions"));
  for (const llm::token bad : {-1, 300}) CHECK_THROWS_WITH(running->forward(&bad, 1), ContainsSubstring("vocabulary"));
  CHECK_THROWS(running->prompt(text.data(), 0));
  CHECK_THROWS_WITH(e.start(format_of("int4:g12", "fp16")), ContainsSubstring("multiple of 8"));
}

TEST_CASE("plain reads of the GPU's memory take time") {
  REQUIRE_GPU();
  const double speed = llm::cuda_bandwidth_probe()();
  CHECK(speed > 1e10);
  CHECK(speed < 1e14);
}
