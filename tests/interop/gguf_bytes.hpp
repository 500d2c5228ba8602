// GGUF files put together by hand, independent of qlite's writer.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "support/property.hpp"

namespace qlite_test {

struct gguf_bytes {
  std::vector<std::uint8_t> bytes;

  template <class T>
  gguf_bytes& put(T value) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
  gguf_bytes& text(const std::string& s) {
    put(static_cast<std::uint64_t>(s.size()));
    bytes.insert(bytes.end(), s.begin(), s.end());
    return *this;
  }
  gguf_bytes& head(std::uint32_t version, std::uint64_t tensors, std::uint64_t values) {
    bytes.insert(bytes.end(), {'G', 'G', 'U', 'F'});
    return put(version).put(tensors).put(values);
  }
  gguf_bytes& key(const std::string& name, std::uint32_t type) { return text(name).put(type); }
  gguf_bytes& array(const std::string& name, std::uint32_t type, std::uint64_t count) {
    return key(name, 9).put(type).put(count);
  }
  gguf_bytes& tensor(const std::string& name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                     std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t e : extents) put(e);
    return put(type).put(offset);
  }
  gguf_bytes& pad(std::size_t alignment) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  gguf_bytes& data(const std::vector<std::uint8_t>& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return *this;
  }
};

inline std::vector<std::uint8_t> random_bytes(random_source& random, std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random.bits());
  return bytes;
}

}    // namespace qlite_test
