// UTF-8 (RFC 3629), as much of it as a tokenizer needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llm {

/// Bytes of the character that begins at `at` (1 to 4), or 0 where no valid one does.
inline std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const unsigned lead = byte(at);
  const unsigned next = byte(at + 1);
  if (at < text.size() && lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return follows(at + 1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool overlong = lead == 0xe0 && next < 0xa0;
    const bool surrogate = lead == 0xed && next > 0x9f;
    return follows(at + 1) && follows(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool overlong = lead == 0xf0 && next < 0x90;
    const bool too_large = lead == 0xf4 && next > 0x8f;
    return follows(at + 1) && follows(at + 2) && follows(at + 3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

/// The code point of a valid character of utf8_length(character, 0) bytes.
inline std::uint32_t utf8_decode(std::string_view character) {
  const std::size_t n = utf8_length(character, 0);
  if (n <= 1) return n == 0 ? 0xfffdu : static_cast<unsigned char>(character[0]);
  std::uint32_t point = static_cast<unsigned char>(character[0]) & (0xffu >> (n + 1));
  for (std::size_t i = 1; i < n; ++i) point = point << 6 | (static_cast<unsigned char>(character[i]) & 0x3fu);
  return point;
}

/// Appends a code point below 0x800, which is all that the byte-level alphabet needs.
inline void utf8_append(std::uint32_t point, std::string& out) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else {
    out += static_cast<char>(0xc0u | point >> 6);
    out += static_cast<char>(0x80u | (point & 0x3fu));
  }
}

}    // namespace llm
