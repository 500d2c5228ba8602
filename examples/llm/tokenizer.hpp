// Byte-pair encoding (Sennrich et al., 2016; Gage, 1994), in the two kinds that Llama-architecture models use.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace llm {

using token = std::int32_t;

enum class token_kind : std::uint8_t {
  normal,
  control,         ///< has a meaning, not a spelling: <|im_start|>
  user_defined,    ///< found in any text before everything else
  byte,            ///< one byte, spelled <0x0A>; for what has no token of its own
  unknown
};

/// What the symbols are that merging starts from.
enum class symbol_kind : std::uint8_t {
  byte_level,    ///< GPT-2: each byte is a visible character (Radford et al., 2019)
  sentence       ///< SentencePiece: UTF-8 characters, with U+2581 for a space
};

/// A tokenizer as a file describes it.
struct tokenizer_data {
  symbol_kind symbols = symbol_kind::byte_level;
  std::vector<std::string> tokens;    ///< by token number
  std::vector<token_kind> kinds;      ///< by token number
  /// Pairs of tokens to merge, the first one first. Where empty, every pair whose concatenation is a token may be
  /// merged, the one with the highest score first.
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<float> scores;    ///< by token number; only where there are no merges
  /// Regular expressions that cut text into words, one after another; each match is a word, and so is what lies
  /// between. No merge crosses a word's end.
  std::vector<std::string> patterns;
  bool space_prefix = false;    ///< text begins with a space, added where it has none (sentence: always)
  bool whole_words = false;     ///< a word that is a token is never merged from its parts
  token bos = -1;               ///< begin of text, -1: none
  std::vector<token> ends;      ///< tokens after which generation stops
  bool add_bos = false;         ///< models of this kind were trained with `bos` before each text
  bool chat_markup = false;     ///< ChatML: <|im_start|>role\n ... <|im_end|>\n
};

class splitter;

class tokenizer {
 public:
  /// Throws std::runtime_error if the data contradicts itself.
  explicit tokenizer(tokenizer_data data);
  ~tokenizer();
  tokenizer(tokenizer&&) noexcept;

  /// Tokens of a text, without `bos`. With `markup`, control tokens spelled in the text are recognized.
  std::vector<token> encode(std::string_view text, bool markup = false) const;
  /// The bytes of one token; `first` drops the space that encoding put before the text.
  std::string decode(token t, bool first = false) const;
  std::string decode(const std::vector<token>& tokens) const;

  const tokenizer_data& data() const { return data_; }
  bool is_end(token t) const;

 private:
  struct merge {
    std::uint32_t rank;
    token result;
  };
  static std::uint64_t pair_key(token left, token right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  void add_listed_merges();
  void add_scored_merges();
  void encode_plain(std::string_view text, bool first, std::vector<token>& out) const;
  void encode_word(std::string_view word, std::vector<token>& out) const;
  void append_symbol(std::string_view symbol, std::vector<token>& out) const;
  void merge_symbols(std::vector<token>& symbols) const;

  tokenizer_data data_;
  std::unordered_map<std::string_view, token> numbers_;    // of the texts in data_.tokens
  std::unordered_map<std::uint64_t, merge> merges_;
  std::vector<token> marked_;    // control and user-defined tokens, longest first
  token bytes_[256];             // byte tokens, -1: none
  token unknown_ = -1;
  std::vector<std::unique_ptr<splitter>> splitters_;
};

/// The pattern of GPT-2's tokenizer, which most byte-level ones share.
extern const char* const gpt2_pattern;

}    // namespace llm
