// Byte-pair encoding: known merges, round trips, and the pipelines that files describe.
#include "tokenizer.hpp"

#include "fixture.hpp"
#include "splitter.hpp"
#include "tokenizer_json.hpp"

using namespace llm_test;
using strings = std::vector<std::string>;

namespace {

const std::string space = "\u2581";

llm::tokenizer tiny_tokenizer() {
  const temporary_folder folder;
  write_gguf(make_tiny_model(1), folder / "model.gguf");
  return llm::tokenizer(llm::open_model(folder / "model.gguf")->tokenizer());
}

// The texts of a text's tokens.
strings pieces(const llm::tokenizer& t, const std::string& text, bool markup = false) {
  strings out;
  for (const llm::token x : t.encode(text, markup)) out.push_back(t.data().tokens[static_cast<std::size_t>(x)]);
  return out;
}

// A SentencePiece vocabulary: <unk>, <s>, </s>, bytes, then words with scores.
llm::tokenizer_data sentence_data(const std::vector<std::pair<std::string, float>>& words, bool bytes) {
  llm::tokenizer_data data;
  data.symbols = llm::symbol_kind::sentence;
  data.space_prefix = true;
  const auto add = [&](const std::string& text, float score, llm::token_kind kind) {
    data.tokens.push_back(text);
    data.scores.push_back(score);
    data.kinds.push_back(kind);
  };
  add("<unk>", 0, llm::token_kind::unknown);
  add("<s>", 0, llm::token_kind::control);
  add("</s>", 0, llm::token_kind::control);
  for (int b = 0; b < 256 && bytes; ++b) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", b);
    add(text, 0, llm::token_kind::byte);
  }
  for (const auto& [text, score] : words) add(text, score, llm::token_kind::normal);
  return data;
}

std::string random_text(random_source& random) {
  const strings parts{"a",      "low",    "er",         " ",    "  ",   "\n", "new", "est", "7",    "42",        "'s",
                      "\u00e9", "\u4e2d", "\U0001f600", "\xff", "\xc3", "!",  "?!",  "the", " the", "<|im_end|>"};
  std::string text;
  for (std::size_t i = random.integer(0, 30); i > 0; --i) text += parts[random.integer(0, parts.size() - 1)];
  return text;
}

}    // namespace

TEST_CASE("merges are applied in their order") {
  // Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016: low, lower, newest, widest.
  const llm::tokenizer t = tiny_tokenizer();
  CHECK(pieces(t, "low") == strings{"low"});
  CHECK(pieces(t, "lower") == strings{"lower"});
  CHECK(pieces(t, "newest") == strings{"new", "est"});
  CHECK(pieces(t, "newer") == strings{"new", "er"});
  CHECK(pieces(t, "widest") == strings{"w", "i", "d", "est"});
  CHECK(pieces(t, "slowest") == strings{"s", "low", "est"});
  CHECK(pieces(t, "wer") == strings{"w", "er"});
}

TEST_CASE("no merge crosses a word's end, and digits stand alone") {
  const llm::tokenizer t = tiny_tokenizer();    // "smollm": digits one by one, then GPT-2's words
  CHECK(pieces(t, "a the b") == strings{"a", "\u0120th", "e", "\u0120", "b"});
  CHECK(pieces(t, "l ow") == strings{"l", "\u0120", "o", "w"});
  CHECK(pieces(t, "10") == strings{"1", "0"});
  CHECK(pieces(t, "n\ne") == strings{"n", "\u010a", "e"});
}

TEST_CASE("GPT-2's pattern cuts text into words") {
  const llm::splitter cut(llm::gpt2_pattern);
  const auto words = [&](std::string_view text) {
    std::vector<std::string_view> out;
    cut.split(text, out);
    return strings(out.begin(), out.end());
  };
  CHECK(words("Hello world") == strings{"Hello", " world"});
  CHECK(words("I'll go, we've 12 cats!!") == strings{"I", "'ll", " go", ",", " we", "'ve", " 12", " cats", "!!"});
  CHECK(words("a   b") == strings{"a", "  ", " b"});    // the last space belongs to the word
  CHECK(words("a\n\n") == strings{"a", "\n\n"});
  CHECK(words("na\u00efve \u4e2d\u6587 \u0664\u0662") == strings{"na\u00efve", " \u4e2d\u6587", " \u0664\u0662"});
  CHECK(words("a\xff\xfe b") == strings{"a", "\xff", "\xfe", " b"});    // stray bytes are words of their own
  CHECK(words("").empty());
  CHECK_THROWS_WITH(llm::splitter("(a"), ContainsSubstring("(a"));
}

TEST_CASE("byte-level tokens of any bytes decode to those bytes") {
  const llm::tokenizer t = tiny_tokenizer();
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  CHECK(t.decode(t.encode(all)) == all);
  qlite_test::for_random_cases(200, [&](random_source& random) {
    const std::string text = random_text(random);
    CHECK(t.decode(t.encode(text)) == text);
  });
}

TEST_CASE("control tokens are recognized only where they are meant") {
  const llm::tokenizer t = tiny_tokenizer();
  CHECK(t.encode("<|im_start|>", true) == std::vector<llm::token>{298});
  CHECK(t.encode("<|im_start|>").size() > 1);
  CHECK(t.encode("low<|im_end|>low", true) == std::vector<llm::token>{257, 299, 257});
  CHECK(t.decode(std::vector<llm::token>{257, 299, 257}) == "lowlow");    // they have no spelling
  CHECK(t.is_end(299));
  CHECK_FALSE(t.is_end(298));
  CHECK_THROWS(t.decode(300));
  CHECK_THROWS(t.decode(-1));
}

TEST_CASE("tokenizer.json and GGUF describe the same tokenizer") {
  const llm::tokenizer from_gguf = tiny_tokenizer();
  const temporary_folder folder;
  const auto json = [&](const nlohmann::json& root) {
    write_text(folder / "tokenizer.json", root.dump());
    return llm::tokenizer(llm::read_tokenizer_json(folder.path()));
  };
  const llm::tokenizer from_json = json(tokenizer_json());
  qlite_test::for_random_cases(100, [&](random_source& random) {
    const std::string text = random_text(random);
    CHECK(from_json.encode(text, true) == from_gguf.encode(text, true));
  });

  nlohmann::json arrays = tokenizer_json();    // newer files have pairs as arrays
  for (nlohmann::json& merge : arrays["model"]["merges"]) {
    const std::string text = merge;
    merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
  }
  CHECK(json(arrays).encode("the lowest") == from_gguf.encode("the lowest"));

  nlohmann::json split = tokenizer_json();    // digits by a regular expression, in groups of up to three
  split["pre_tokenizer"]["pretokenizers"][0] = {
      {"type", "Split"}, {"pattern", {{"Regex", "\\p{N}{1,3}"}}}, {"behavior", "Isolated"}, {"invert", false}};
  split["model"]["vocab"].erase("<unused 290>");
  split["model"]["vocab"]["12"] = 290;
  split["model"]["merges"].push_back("1 2");
  CHECK(pieces(json(split), "1212") == strings{"12", "1", "2"});

  for (const char* step : {"normalizer", "pre_tokenizer"}) {
    nlohmann::json unknown = tokenizer_json();
    unknown[step] = {{"type", "NFKC"}};
    CHECK_THROWS_WITH(json(unknown), ContainsSubstring("NFKC"));
  }
  nlohmann::json unigram = tokenizer_json();
  unigram["model"]["type"] = "Unigram";
  CHECK_THROWS_WITH(json(unigram), ContainsSubstring("Unigram"));
  nlohmann::json impossible = tokenizer_json();
  impossible["model"]["merges"].push_back("low no-token");
  CHECK_THROWS_WITH(json(impossible), ContainsSubstring("no-token"));
  nlohmann::json bos = tokenizer_json();
  bos["post_processor"] = {{"type", "TemplateProcessing"},
                           {"single", {{{"SpecialToken", {{"id", "<|im_start|>"}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  CHECK(json(bos).data().add_bos);
  CHECK(json(bos).data().bos == 298);
}

TEST_CASE("pairs with scores: the best is merged first, the leftmost of equals") {
  const llm::tokenizer t(sentence_data(
      {{space, -9}, {"a", -9}, {"b", -9}, {"aa", -1}, {"ab", -2}, {space + "a", -3}, {"aab", -4}, {"bb", -2}}, true));
  CHECK(pieces(t, "a") == strings{space + "a"});
  CHECK(pieces(t, "ab") == strings{space, "ab"});          // "ab" beats "_a"
  CHECK(pieces(t, "aab") == strings{space, "aab"});        // "aa" first, then its pair with "b"
  CHECK(pieces(t, "aaa") == strings{space, "aa", "a"});    // of two equal pairs the left one
  CHECK(pieces(t, "abb") == strings{space, "ab", "b"});
}

TEST_CASE("sentence tokens: the space in front, bytes, and unknown characters") {
  const std::vector<std::pair<std::string, float>> words{{space, -1}, {"x", -2}, {space + "x", -3}};
  const llm::tokenizer t(sentence_data(words, true));
  CHECK(pieces(t, "x x") == strings{space + "x", space + "x"});
  CHECK(t.decode(t.encode("x x")) == "x x");
  CHECK(pieces(t, "\u00e9") == strings{space, "<0xC3>", "<0xA9>"});
  CHECK(t.decode(t.encode("x\n\u00e9 x")) == "x\n\u00e9 x");
  CHECK(t.decode(t.encode("x")[0]) == " x");
  CHECK(t.decode(t.encode("x")[0], true) == "x");
  const llm::tokenizer poor(sentence_data(words, false));
  CHECK(pieces(poor, "\u00e9\u00e9x") == strings{space, "<unk>", "x"});
  CHECK(pieces(t, "").empty());
}

TEST_CASE("data that contradict themselves are refused") {
  llm::tokenizer_data data = sentence_data({{"x", 0}}, false);
  data.bos = 4;
  CHECK_THROWS_WITH(llm::tokenizer(data), ContainsSubstring("begin-of-text"));
  data = sentence_data({{"x", 0}}, false);
  data.scores.pop_back();
  CHECK_THROWS_WITH(llm::tokenizer(data), ContainsSubstring("scores"));
  data.kinds.pop_back();
  CHECK_THROWS_WITH(llm::tokenizer(data), ContainsSubstring("kinds"));
  CHECK_THROWS(llm::tokenizer(llm::tokenizer_data{}));
}
