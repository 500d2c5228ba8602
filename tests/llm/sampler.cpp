// Choosing tokens, and printing tables.
#include "sampler.hpp"

#include <cmath>

#include "report.hpp"
#include "support/property.hpp"

TEST_CASE("temperature 0 takes the first of the largest logits") {
  llm::sampler greedy(0, 1);
  qlite_test::for_random_cases(100, [&](qlite_test::random_source& random) {
    auto logits = random.normal_vector(random.extent(1, 200));
    const std::size_t at = random.integer(0, logits.size() - 1);
    logits[at] = 10;
    for (std::size_t i = at + 1; i < logits.size(); i += 3) logits[i] = 10;
    CHECK(greedy.next(logits.data(), logits.size()) == static_cast<llm::token>(at));
  });
}

TEST_CASE("tokens are drawn as often as their probabilities say, and the same with the same seed") {
  const std::vector<float> logits{0, std::log(2.0f), std::log(4.0f), std::log(1.0f), -200};
  llm::sampler warm(1, 42), same(1, 42), flat(100, 42);
  std::vector<double> count(5), flat_count(5);
  for (int i = 0; i < 40000; ++i) {
    const llm::token t = warm.next(logits.data(), 5);
    CHECK(t == same.next(logits.data(), 5));
    ++count[static_cast<std::size_t>(t)];
    ++flat_count[static_cast<std::size_t>(flat.next(logits.data(), 4))];
  }
  // Standard deviations are at most sqrt(40000 / 4) = 100.
  CHECK(std::abs(count[0] - 5000) < 500);
  CHECK(std::abs(count[1] - 10000) < 500);
  CHECK(std::abs(count[2] - 20000) < 500);
  CHECK(std::abs(count[3] - 5000) < 500);
  CHECK(count[4] == 0);
  for (int i = 0; i < 4; ++i) CHECK(std::abs(flat_count[static_cast<std::size_t>(i)] - 10000) < 500);
}

TEST_CASE("the table has ratios against bf16, aligned columns, and marks") {
  llm::report_row bf16, int4;
  bf16.precision = "bf16";
  bf16.bits_per_weight = 16;
  bf16.megabytes = 200;
  bf16.prompt_speed = 1000;
  bf16.decode_speed = 50;
  bf16.perplexity = 20;
  bf16.words = "a \u00e9";
  int4 = bf16;
  int4.precision = "int4";
  int4.bits_per_weight = 4.5;
  int4.megabytes = 56.25;
  int4.decode_speed = 150;
  int4.perplexity = 21;
  int4.flattered = true;
  const std::string table = llm::format_table({int4, bf16});
  CAPTURE(table);
  CHECK_THAT(table, ContainsSubstring("int4 *"));
  CHECK_THAT(table, ContainsSubstring("56.2 (0.28x)"));
  CHECK_THAT(table, ContainsSubstring("1000 (1.00x)"));
  CHECK_THAT(table, ContainsSubstring("150 (3.00x)"));
  CHECK_THAT(table, ContainsSubstring("21.000 (+5.00 %)*"));
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < table.size(); at = table.find('\n', at) + 1)
    lines.push_back(table.substr(at, table.find('\n', at) - at));
  REQUIRE(lines.size() == 4);
  const std::size_t words = lines[0].find("first words");
  CHECK(lines[2].find("a \u00e9") == words);
  CHECK(lines[3].find("a \u00e9") == words);
  CHECK(llm::format_table({}).empty());
}

TEST_CASE("generated text is shown on one line, cut between words") {
  CHECK(llm::one_line(" a\n\nb  c ", 20) == "a b c ");
  CHECK(llm::one_line("one two three", 8) == "one two");
  CHECK(llm::one_line("abcdefghij", 4) == "abcd");
  CHECK(llm::one_line("\u00e9\u00e9\u00e9\u00e9", 3) == "\u00e9\u00e9\u00e9");
}
