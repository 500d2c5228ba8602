// Cuts text into words with a regular expression (PCRE2: Perl's syntax, Unicode properties, look-ahead).
#pragma once

#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace llm {

class splitter {
 public:
  /// Throws std::runtime_error with PCRE2's message if the pattern is wrong.
  explicit splitter(const std::string& pattern);
  ~splitter();
  splitter(const splitter&) = delete;
  splitter& operator=(const splitter&) = delete;

  /// Appends the matches in `text` and what lies between them, in order; together they are `text`.
  void split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  void split_valid(std::string_view text, std::vector<std::string_view>& words) const;

  pcre2_real_code_8* code_;
};

}    // namespace llm
