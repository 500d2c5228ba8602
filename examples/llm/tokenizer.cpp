#include "tokenizer.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <queue>
#include <stdexcept>

#include "splitter.hpp"
#include "utf8.hpp"

namespace llm {

const char* const gpt2_pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr std::string_view sentence_space = "\xe2\x96\x81";    // U+2581

/// GPT-2's byte alphabet: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 onwards.
struct byte_alphabet {
  std::array<std::string, 256> character;
  std::unordered_map<std::uint32_t, char> byte;
  byte_alphabet() {
    std::uint32_t next = 0x100;
    for (std::uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
      const std::uint32_t point = printable ? b : next++;
      utf8_append(point, character[b]);
      byte[point] = static_cast<char>(b);
    }
  }
};

const byte_alphabet& alphabet() {
  static const byte_alphabet instance;
  return instance;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// The byte that a token such as "<0x0A>" stands for, or -1.
int byte_of(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const int high = digit(text[3]);
  const int low = digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}    // namespace

tokenizer::tokenizer(tokenizer_data data) : data_(std::move(data)) {
  const std::size_t count = data_.tokens.size();
  if (count == 0 || count > 0x7fffffff)
    throw std::runtime_error("tokenizer: it has " + std::to_string(count) + " tokens");
  if (data_.kinds.size() != count) {
    throw std::runtime_error("tokenizer: " + std::to_string(data_.kinds.size()) + " token kinds for " +
                             std::to_string(count) + " tokens");
  }
  const auto check_token = [&](token t, const char* what) {
    if (t < -1 || t >= static_cast<token>(count)) {
      throw std::runtime_error(std::string("tokenizer: the ") + what + " token is " + std::to_string(t) + " of " +
                               std::to_string(count));
    }
  };
  check_token(data_.bos, "begin-of-text");
  for (const token end : data_.ends) check_token(end, "end-of-text");

  std::fill(std::begin(bytes_), std::end(bytes_), -1);
  numbers_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const token t = static_cast<token>(i);
    numbers_.emplace(data_.tokens[i], t);    // of equal texts, the first counts
    switch (data_.kinds[i]) {
      case token_kind::control:
      case token_kind::user_defined:
        if (!data_.tokens[i].empty()) marked_.push_back(t);
        break;
      case token_kind::byte:
        if (const int b = byte_of(data_.tokens[i]); b >= 0) bytes_[b] = t;
        break;
      case token_kind::unknown:
        unknown_ = t;
        break;
      case token_kind::normal:
        break;
    }
  }
  std::sort(marked_.begin(), marked_.end(), [&](token a, token b) {
    return data_.tokens[static_cast<std::size_t>(a)].size() > data_.tokens[static_cast<std::size_t>(b)].size();
  });
  if (data_.merges.empty())
    add_scored_merges();
  else
    add_listed_merges();
  for (const std::string& pattern : data_.patterns) splitters_.push_back(std::make_unique<splitter>(pattern));
}

tokenizer::~tokenizer() = default;
tokenizer::tokenizer(tokenizer&&) noexcept = default;

void tokenizer::add_listed_merges() {
  std::uint32_t rank = 0;
  merges_.reserve(data_.merges.size());
  for (const auto& [left, right] : data_.merges) {
    const auto a = numbers_.find(left);
    const auto b = numbers_.find(right);
    const auto joined = numbers_.find(left + right);
    if (a == numbers_.end() || b == numbers_.end() || joined == numbers_.end()) {
      throw std::runtime_error("tokenizer: merge " + std::to_string(rank) + " (\"" + left + "\" and \"" + right +
                               "\") has a part or a result that is no token");
    }
    merges_.emplace(pair_key(a->second, b->second), merge{rank++, joined->second});
  }
}

void tokenizer::add_scored_merges() {
  if (data_.scores.size() != data_.tokens.size()) {
    throw std::runtime_error("tokenizer: " + std::to_string(data_.scores.size()) + " scores for " +
                             std::to_string(data_.tokens.size()) + " tokens, and no merges");
  }
  // Equal scores have equal rank, so that the leftmost of equal pairs is merged first.
  std::vector<token> order(data_.tokens.size());
  std::iota(order.begin(), order.end(), 0);
  const auto score = [&](token t) { return data_.scores[static_cast<std::size_t>(t)]; };
  std::stable_sort(order.begin(), order.end(), [&](token a, token b) { return score(a) > score(b); });
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const token t = order[i];
    if (i > 0 && score(order[i - 1]) > score(t)) ++rank;
    if (data_.kinds[static_cast<std::size_t>(t)] != token_kind::normal) continue;
    const std::string_view text = data_.tokens[static_cast<std::size_t>(t)];
    if (numbers_.at(text) != t) continue;
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      const auto a = numbers_.find(text.substr(0, cut));
      const auto b = numbers_.find(text.substr(cut));
      if (a != numbers_.end() && b != numbers_.end()) merges_.emplace(pair_key(a->second, b->second), merge{rank, t});
    }
  }
}

std::vector<token> tokenizer::encode(std::string_view text, bool markup) const {
  std::vector<token> out;
  std::size_t plain = 0;    // not yet encoded from here on
  // Where the next token that is recognized by its spelling begins.
  const auto next_marked = [&](std::size_t from) {
    std::pair<std::size_t, token> best{std::string_view::npos, -1};
    for (const token t : marked_) {
      if (!markup && data_.kinds[static_cast<std::size_t>(t)] == token_kind::control) continue;
      const std::size_t at = text.find(data_.tokens[static_cast<std::size_t>(t)], from);
      if (at < best.first) best = {at, t};    // longer tokens come first and win ties
    }
    return best;
  };
  while (plain < text.size()) {
    const auto [at, t] = next_marked(plain);
    const std::size_t end = std::min(at, text.size());
    if (end > plain) encode_plain(text.substr(plain, end - plain), plain == 0, out);
    if (t < 0) break;
    out.push_back(t);
    plain = at + data_.tokens[static_cast<std::size_t>(t)].size();
  }
  return out;
}

void tokenizer::encode_plain(std::string_view text, bool first, std::vector<token>& out) const {
  std::string normalized(text);
  const bool sentence = data_.symbols == symbol_kind::sentence;
  if (data_.space_prefix && first && (sentence || text.front() != ' ')) normalized.insert(0, 1, ' ');
  if (sentence) replace_all(normalized, " ", sentence_space);
  std::vector<std::string_view> words{normalized};
  for (const auto& cut : splitters_) {
    std::vector<std::string_view> shorter;
    for (const std::string_view word : words) cut->split(word, shorter);
    words.swap(shorter);
  }
  for (const std::string_view word : words) encode_word(word, out);
}

void tokenizer::encode_word(std::string_view word, std::vector<token>& out) const {
  std::string spelled;
  if (data_.symbols == symbol_kind::byte_level) {
    for (const char c : word) spelled += alphabet().character[static_cast<unsigned char>(c)];
    word = spelled;
  }
  if (data_.whole_words) {
    if (const auto whole = numbers_.find(word); whole != numbers_.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  std::vector<token> symbols;
  symbols.reserve(word.size());
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = std::max<std::size_t>(utf8_length(word, at), 1);
    append_symbol(word.substr(at, length), symbols);
    at += length;
  }
  merge_symbols(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

void tokenizer::append_symbol(std::string_view symbol, std::vector<token>& out) const {
  if (const auto known = numbers_.find(symbol); known != numbers_.end()) {
    out.push_back(known->second);
    return;
  }
  bool spelled = true;
  for (const char c : symbol) spelled = spelled && bytes_[static_cast<unsigned char>(c)] >= 0;
  if (spelled) {
    for (const char c : symbol) out.push_back(bytes_[static_cast<unsigned char>(c)]);
  } else if (unknown_ < 0) {
    throw std::runtime_error("tokenizer: no token for \"" + std::string(symbol) + "\", nor for unknown characters");
  } else if (out.empty() || out.back() != unknown_) {    // a run of unknown characters is one token
    out.push_back(unknown_);
  }
}

void tokenizer::merge_symbols(std::vector<token>& symbols) const {
  // The symbols form a list; the queue holds the pairs that may be merged, the best and then the leftmost first.
  // A pair whose symbols have changed since is skipped when it comes up.
  constexpr std::size_t none = ~std::size_t{0};
  struct node {
    std::size_t previous, next;
  };
  struct candidate {
    std::uint32_t rank;
    std::size_t left, right;
    std::uint64_t key;
    token result;
    bool operator<(const candidate& other) const {    // std::priority_queue puts the largest first
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const std::size_t n = symbols.size();
  std::vector<node> nodes(n);
  for (std::size_t i = 0; i < n; ++i) nodes[i] = {i == 0 ? none : i - 1, i + 1 == n ? none : i + 1};
  std::priority_queue<candidate> queue;
  const auto consider = [&](std::size_t left, std::size_t right) {
    if (left == none || right == none) return;
    const std::uint64_t key = pair_key(symbols[left], symbols[right]);
    if (const auto found = merges_.find(key); found != merges_.end())
      queue.push({found->second.rank, left, right, key, found->second.result});
  };
  for (std::size_t i = 1; i < n; ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const candidate best = queue.top();
    queue.pop();
    const bool alive = symbols[best.left] >= 0 && symbols[best.right] >= 0 && nodes[best.left].next == best.right &&
                       pair_key(symbols[best.left], symbols[best.right]) == best.key;
    if (!alive) continue;
    symbols[best.left] = best.result;
    symbols[best.right] = -1;    // removed
    const std::size_t after = nodes[best.right].next;
    nodes[best.left].next = after;
    if (after != none) nodes[after].previous = best.left;
    consider(nodes[best.left].previous, best.left);
    consider(best.left, after);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), -1), symbols.end());
}

std::string tokenizer::decode(token t, bool first) const {
  if (t < 0 || static_cast<std::size_t>(t) >= data_.tokens.size())
    throw std::runtime_error("tokenizer: token " + std::to_string(t) + " of " + std::to_string(data_.tokens.size()));
  const std::string& text = data_.tokens[static_cast<std::size_t>(t)];
  const token_kind kind = data_.kinds[static_cast<std::size_t>(t)];
  if (kind == token_kind::control) return {};
  if (kind == token_kind::user_defined) return text;
  if (kind == token_kind::byte) {
    const int b = byte_of(text);
    return b < 0 ? text : std::string(1, static_cast<char>(b));
  }
  std::string out;
  if (data_.symbols == symbol_kind::byte_level) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = std::max<std::size_t>(utf8_length(text, at), 1);
      const std::string_view character = std::string_view(text).substr(at, length);
      const auto known = alphabet().byte.find(utf8_decode(character));
      if (known != alphabet().byte.end())
        out += known->second;
      else
        out += character;
      at += length;
    }
    return out;
  }
  out = text;
  replace_all(out, sentence_space, " ");
  if (first && data_.space_prefix && !out.empty() && out[0] == ' ') out.erase(0, 1);
  return out;
}

std::string tokenizer::decode(const std::vector<token>& tokens) const {
  std::string out;
  bool first = true;
  for (const token t : tokens) {
    out += decode(t, first);
    first = first && data_.kinds[static_cast<std::size_t>(t)] == token_kind::control;
  }
  return out;
}

bool tokenizer::is_end(token t) const { return std::find(data_.ends.begin(), data_.ends.end(), t) != data_.ends.end(); }

}    // namespace llm
