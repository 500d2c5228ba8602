// Codes of four bits: two a byte, low nibble first.
#pragma once

#include <qlite/core/bits.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Eight fields of a byte each, the first one lowest, to four bytes of two nibbles.
QLITE_INLINE std::uint32_t join_nibbles(std::uint64_t fields) noexcept {
  fields = (fields | (fields >> 4)) & 0x00ff00ff00ff00ffu;
  fields = (fields | (fields >> 8)) & 0x0000ffff0000ffffu;
  return static_cast<std::uint32_t>(fields | (fields >> 16));
}

/// The inverse of join_nibbles.
QLITE_INLINE std::uint64_t split_nibbles(std::uint32_t bytes) noexcept {
  std::uint64_t fields = bytes;
  fields = (fields | (fields << 16)) & 0x0000ffff0000ffffu;
  fields = (fields | (fields << 8)) & 0x00ff00ff00ff00ffu;
  return (fields | (fields << 4)) & 0x0f0f0f0f0f0f0f0fu;
}

/// Writes n fields as columns col ... col + n of a row: two a byte, low nibble first. An odd last one shares its byte
/// with 0 until the next group is written.
QLITE_INLINE void pack_nibbles(const std::uint8_t* fields, std::size_t n, std::uint8_t* row,
                               std::size_t col = 0) noexcept {
  std::uint8_t* const bytes = row + (col + 1) / 2;
  std::size_t i = 0;
  if (col % 2 != 0 && n != 0) {
    row[col / 2] = static_cast<std::uint8_t>(row[col / 2] | (fields[0] << 4));
    i = 1;
  }
  for (; i + 8 <= n; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, fields + i, sizeof eight);
    const std::uint32_t four = join_nibbles(eight);
    std::memcpy(bytes + i / 2, &four, sizeof four);
  }
  for (; i < n; i += 2) bytes[i / 2] = static_cast<std::uint8_t>(fields[i] | (i + 1 < n ? fields[i + 1] << 4 : 0));
}

/// The inverse of pack_nibbles, from column 0, for n fields.
QLITE_INLINE void unpack_nibbles(const std::uint8_t* bytes, std::size_t n, std::uint8_t* fields) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    std::uint32_t four;
    std::memcpy(&four, bytes + i / 2, sizeof four);
    const std::uint64_t eight = split_nibbles(four);
    std::memcpy(fields + i, &eight, sizeof eight);
  }
  for (; i < n; ++i) fields[i] = static_cast<std::uint8_t>((bytes[i / 2] >> (4 * (i % 2))) & 15);
}

}    // namespace impl
QLITE_END_FUNCTIONS
