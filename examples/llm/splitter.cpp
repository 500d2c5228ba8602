#include "splitter.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <stdexcept>

#include "utf8.hpp"

namespace llm {

splitter::splitter(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE at = 0;
  code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                        &at, nullptr);
  if (code_ == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw std::runtime_error("tokenizer: cannot use the regular expression " + pattern + ": " +
                             reinterpret_cast<const char*>(message) + " at offset " + std::to_string(at));
  }
  pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE);    // only faster: without it the interpreter runs
}

splitter::~splitter() { pcre2_code_free(code_); }

void splitter::split(std::string_view text, std::vector<std::string_view>& words) const {
  std::size_t valid = 0;    // a run of valid UTF-8 begins here
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = utf8_length(text, at);
    if (length == 0) {    // a stray byte is a word of its own
      split_valid(text.substr(valid, at - valid), words);
      words.push_back(text.substr(at, 1));
      valid = at + 1;
    }
    at += length == 0 ? 1 : length;
  }
  split_valid(text.substr(valid), words);
}

void splitter::split_valid(std::string_view text, std::vector<std::string_view>& words) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_, nullptr), &pcre2_match_data_free);
  std::size_t done = 0;    // words end here
  std::size_t from = 0;
  while (from < text.size()) {
    // The caller has checked the text; PCRE2 would check the rest of it at every word.
    const int found = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                  PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) throw std::runtime_error("tokenizer: PCRE2 error " + std::to_string(found));
    const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(match.get());
    const std::size_t begin = range[0];
    const std::size_t end = range[1];
    if (end > begin) {
      if (begin > done) words.push_back(text.substr(done, begin - done));
      words.push_back(text.substr(begin, end - begin));
      done = end;
      from = end;
    } else {    // an empty match separates nothing
      from = begin + utf8_length(text, begin);
    }
  }
  if (done < text.size()) words.push_back(text.substr(done));
}

}    // namespace llm
