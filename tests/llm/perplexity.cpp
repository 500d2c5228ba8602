// Perplexity against values that are known, and the cutting of texts.
#include "perplexity.hpp"

#include <cmath>

#include "oracle.hpp"
#include "transformer.hpp"

using namespace llm_test;

namespace {

bool is_near(double value, double expected, double relative_error) {
  return std::abs(value - expected) <= relative_error * std::abs(expected);
}

}    // namespace

TEST_CASE("negative log-likelihood of known distributions") {
  const std::vector<float> even(37, 2.5f);
  CHECK(is_near(llm::negative_log_likelihood(even.data(), even.size(), 11), std::log(37.0), 1e-6));
  std::vector<float> logits;    // probabilities 1/2, 1/4, 1/8 ... of what is left
  for (int i = 1; i <= 30; ++i) logits.push_back(static_cast<float>(-i * std::log(2.0) + 50));
  CHECK(is_near(llm::negative_log_likelihood(logits.data(), logits.size(), 0), std::log(2.0), 1e-5));
  CHECK(is_near(llm::negative_log_likelihood(logits.data(), logits.size(), 9), 10 * std::log(2.0), 1e-5));
  const float far[2] = {1000, -1000};
  CHECK(is_near(llm::negative_log_likelihood(far, 2, 1), 2000, 1e-6));
}

TEST_CASE("a model that knows nothing has the perplexity of its vocabulary") {
  tiny_model model = make_tiny_model(1, tiny_config(), false);
  for (float& v : model.tensors[{llm::role::output, 0}].values) v = 0;
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  const auto file = llm::open_model(folder / "model.gguf");
  llm::executor threads(2);
  const llm::transformer engine(file, {}, threads);
  llm::session s(engine, 96, 16, threads);
  const llm::tokenizer tokens(file->tokenizer());
  const auto result = llm::measure_perplexity(s, model.config, tokens, {"the lower the newer", "some more"}, threads);
  CHECK(is_near(result.value(), 300, 1e-5));
  CHECK(result.tokens == tokens.encode("the lower the newer").size() + tokens.encode("some more").size() - 2);
  CHECK(std::isnan(llm::measure_perplexity(s, model.config, tokens, {}, threads).value()));
}

TEST_CASE("perplexity of a text agrees with the oracle's, whatever is computed at once") {
  const tiny_model model = make_tiny_model(2);
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  const auto file = llm::open_model(folder / "model.gguf");
  llm::tokenizer_data data = file->tokenizer();
  const bool bos = GENERATE(false, true);
  data.add_bos = bos;
  const llm::tokenizer tokens(data);
  const std::vector<std::string> blocks{"the lower one was the newest of them, and not the last", "so it was",
                                        std::string(300, 'x')};    // the last is cut at the context's 96 positions
  double sum = 0;
  std::size_t count = 0;
  for (const std::string& block : blocks) {
    auto text = tokens.encode(block);
    if (bos) text.insert(text.begin(), 298);
    text.resize(std::min<std::size_t>(text.size(), 96));
    const auto logits = oracle_logits(model, text);
    for (std::size_t i = 0; i + 1 < text.size(); ++i, ++count) {
      double total = 0;
      for (const double l : logits[i]) total += std::exp(l);
      sum += std::log(total) - logits[i][static_cast<std::size_t>(text[i + 1])];
    }
  }
  llm::executor threads(2);
  const llm::transformer engine(file, {}, threads);
  for (const std::size_t batch : std::vector<std::size_t>{1, 7, 40, 96}) {
    llm::session s(engine, 96, batch, threads);
    double last_share = 0;
    const auto result = llm::measure_perplexity(s, model.config, tokens, blocks, threads,
                                                [&](double share, double) { last_share = share; });
    CHECK(result.tokens == count);
    CHECK(is_near(result.negative_log_likelihood, sum, 1e-6));
    CHECK(last_share == 1);
  }
}

TEST_CASE("texts are cut at blank lines") {
  const auto paragraph = [](char c, std::size_t size) { return std::string(size, c); };
  using blocks = std::vector<std::string>;
  CHECK(llm::cut_into_blocks("").empty());
  CHECK(llm::cut_into_blocks("\n \n\t\n").empty());
  CHECK(llm::cut_into_blocks("a\nb\n\nc") == blocks{"a\nb\n\nc"});
  CHECK(llm::cut_into_blocks("a\n\n \n\nb\n") == blocks{"a\n\nb"});
  const std::string a = paragraph('a', 500), b = paragraph('b', 500), c = paragraph('c', 800);
  CHECK(llm::cut_into_blocks(a + "\n\n" + b + "\n\n" + c) == blocks{a + "\n\n" + b, c});    // 1002 bytes are enough
  CHECK(llm::cut_into_blocks(a + "\n\n" + c + "\n\n" + b) == blocks{a, c, b});              // joining would pass 1,200
  const std::string words = paragraph('w', 1400) + " " + paragraph('v', 1400);
  CHECK(llm::cut_into_blocks(words) == blocks{paragraph('w', 1400), " " + paragraph('v', 1400)});
  std::string accents;
  for (int i = 0; i < 1000; ++i) accents += "\u00e9";
  CHECK(llm::cut_into_blocks("x" + accents) ==
        blocks{("x" + accents).substr(0, 1499), accents.substr(1498)});    // not inside of a character
  std::string text;
  for (int i = 0; i < 3000; ++i) text += i % 97 == 0 ? "\n\n" : "word ";
  std::string joined;
  for (const std::string& block : llm::cut_into_blocks(text)) {
    CHECK(block.size() <= 1500);
    joined += block;
  }
  const auto without_spaces = [](std::string s) {
    s.erase(std::remove_if(s.begin(), s.end(), [](char x) { return x == ' ' || x == '\n'; }), s.end());
    return s;
  };
  CHECK(without_spaces(joined) == without_spaces(text));    // nothing is lost
}
