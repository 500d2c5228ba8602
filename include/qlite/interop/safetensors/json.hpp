// A strict reader of JSON (RFC 8259), as much of it as the header of a safetensors file holds: objects, arrays, strings
// and whole numbers. There is no recursion: the caller asks for what the format has at each place.
#pragma once

#include <qlite/interop/byte_reader.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Whether bytes are well-formed UTF-8 (Unicode standard, table 3-7): no overlong forms, surrogates or beyond U+10FFFF.
inline bool is_utf8(const std::uint8_t* text, std::size_t size) {
  for (std::size_t i = 0; i < size;) {
    const std::uint8_t first = text[i++];
    if (first < 0x80) continue;
    if (first < 0xc2 || first > 0xf4) return false;
    const std::size_t more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (more > size - i) return false;
    const std::uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const std::uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[i] < low || text[i] > high) return false;
    for (std::size_t j = 1; j < more; ++j)
      if (text[i + j] < 0x80 || text[i + j] > 0xbf) return false;
    i += more;
  }
  return true;
}

/// Reads tokens from `text`, which begins at byte `base` of the file. Strings without escapes are views of the text,
/// others of `unescaped`, which holds all of them at once: none grows by being decoded.
class json_reader {
 public:
  json_reader(std::string_view text, std::size_t base, buffer& unescaped)
      : text_(text.data()), size_(text.size()), base_(base), unescaped_(unescaped) {}

  /// Position in the file.
  std::size_t byte() const { return base_ + at_; }

  [[noreturn]] QLITE_COLD void refuse(const char* expected) const {
    if (at_ >= size_) fail("qlite: safetensors at byte %zu: the header ends, expected %s", byte(), expected);
    fail("qlite: safetensors at byte %zu: the header has \"%s\", expected %s", byte(),
         printable({text_ + at_, min_of<std::size_t>(size_ - at_, 16)}).text, expected);
  }

  /// Takes `c` if it comes next, after white space.
  bool take(char c) {
    skip_space();
    if (at_ >= size_ || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c, const char* what) {
    if (!take(c)) refuse(what);
  }
  void expect_end() {
    skip_space();
    if (at_ != size_) refuse("nothing but white space after the header's object");
  }

  /// A whole number of at least 0, without leading zeros.
  std::uint64_t number(const char* what) {
    skip_space();
    const std::size_t begin = at_;
    std::uint64_t value = 0;
    for (; at_ < size_ && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (value > (~std::uint64_t{0} - digit) / 10 || (at_ > begin && value == 0)) refuse(what);
      value = 10 * value + digit;
    }
    if (at_ == begin) refuse(what);
    return value;    // a fraction or an exponent would have to be followed by what is refused next
  }

  std::string_view string(const char* what) {
    expect('"', what);
    const std::size_t begin = at_;
    while (at_ < size_ && text_[at_] != '"' && text_[at_] != '\\') plain_character();
    if (at_ < size_ && text_[at_] == '\\') return escaped_string(begin);
    const std::string_view found(text_ + begin, at_ - begin);
    expect_quote();
    return found;
  }

 private:
  void skip_space() {
    while (at_ < size_ && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }
  void plain_character() {
    if (static_cast<unsigned char>(text_[at_]) < 0x20) refuse("no control character in a string");
    ++at_;
  }
  void expect_quote() {
    if (at_ >= size_) refuse("the end of a string");
    ++at_;
  }

  /// A string whose first escape is at at_; it began at `begin`.
  std::string_view escaped_string(std::size_t begin) {
    if (unescaped_.size() == 0) unescaped_ = buffer(size_);
    char* const first = reinterpret_cast<char*>(unescaped_.data()) + used_;
    char* out = first;
    std::memcpy(out, text_ + begin, at_ - begin);
    out += at_ - begin;
    while (at_ < size_ && text_[at_] != '"') {
      if (text_[at_] == '\\') {
        ++at_;
        out = escape(out);
      } else {
        *out++ = text_[at_];
        plain_character();
      }
    }
    expect_quote();
    const auto length = static_cast<std::size_t>(out - first);
    used_ += length;
    return {first, length};
  }

  /// What follows a backslash, as UTF-8 at `out`; returns its end.
  char* escape(char* out) {
    if (at_ >= size_) refuse("an escape");
    const char c = text_[at_];
    constexpr char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    for (std::size_t i = 0; i < 8; ++i)
      if (c == names[i]) {
        ++at_;
        *out++ = values[i];
        return out;
      }
    if (c != 'u') refuse("one of the escapes of JSON");
    std::uint32_t code = unicode_escape();
    if (code >= 0xdc00 && code < 0xe000) refuse("a first half of a surrogate pair");
    if (code >= 0xd800 && code < 0xdc00) {
      if (at_ >= size_ || text_[at_] != '\\') refuse("the second half of a surrogate pair");
      ++at_;
      if (at_ >= size_ || text_[at_] != 'u') refuse("the second half of a surrogate pair");
      const std::uint32_t low = unicode_escape();
      if (low < 0xdc00 || low >= 0xe000) refuse("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    const auto put = [&](std::uint32_t byte) { *out++ = static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xc0 | code >> 6);
      put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      put(0xe0 | code >> 12);
      put(0x80 | (code >> 6 & 0x3f));
      put(0x80 | (code & 0x3f));
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
      put(0x80 | (code >> 6 & 0x3f));
      put(0x80 | (code & 0x3f));
    }
    return out;
  }

  /// The four digits after the `u` at at_.
  std::uint32_t unicode_escape() {
    ++at_;
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < size_ ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) refuse("four hexadecimal digits");
      code = code << 4 | static_cast<std::uint32_t>(digit);
    }
    return code;
  }

  const char* text_;
  std::size_t size_;
  std::size_t base_;
  std::size_t at_ = 0;
  buffer& unescaped_;
  std::size_t used_ = 0;    // bytes of unescaped_
};

}    // namespace impl
QLITE_END_FUNCTIONS
