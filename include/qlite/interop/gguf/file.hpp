// A GGUF file: its metadata and where its tensors are.
#pragma once

#include <qlite/interop/gguf/parse.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

[[noreturn]] QLITE_COLD inline void fail_missing(const char* kind, std::string_view name, const char* expected) {
  fail("qlite: GGUF has no %s \"%s\", expected %s", kind, printable(name).text, expected);
}

inline const gguf::value* find_gguf_value(const gguf_contents& file, std::string_view key) {
  return find_by_name(file.values, file.values_by_name, key, [](const gguf::value& v) { return v.key; });
}

inline const gguf::value& require_gguf_value(const gguf_contents& file, std::string_view key, const char* expected) {
  const gguf::value* v = find_gguf_value(file, key);
  if (v == nullptr) fail_missing("metadata", key, expected);
  return *v;
}

inline const gguf::tensor_info* find_gguf_tensor(const gguf_contents& file, std::string_view name) {
  return find_by_name(file.tensors, file.tensors_by_name, name, [](const gguf::tensor_info& t) { return t.name; });
}

inline const gguf::tensor_info& require_gguf_tensor(const gguf_contents& file, std::string_view name) {
  const gguf::tensor_info* t = find_gguf_tensor(file, name);
  if (t == nullptr) fail_missing("tensor", name, "a tensor of that name");
  return *t;
}

/// Bounds are checked again: the record may come from another file.
inline bytes_view gguf_data(const gguf_contents& file, const gguf::tensor_info& t) {
  const std::size_t available = file.bytes.size() > file.data ? file.bytes.size() - file.data : 0;
  if (t.offset > available || t.bytes > available - t.offset)
    fail("qlite: tensor \"%s\" takes bytes %zu to %zu, expected a tensor of this GGUF file (%zu bytes of data)",
         printable(t.name).text, t.offset, t.offset + t.bytes, available);
  if (t.bytes == 0) return {};
  return {file.bytes.data() + file.data + t.offset, t.bytes};
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {

/// A GGUF file of version 2 or 3, little-endian. Opening reads and checks the head (counts, names, types, extents,
/// offsets, overlaps); the tensors' data stay where they are, and names and strings are views into the file.
/// Movable, not copyable; reading from several threads is safe.
///
/// Errors name the byte of the file and what was expected there. Metadata getters throw where the key is missing or of
/// another type; with `_or` a missing key gives the default, another type is still an error.
class file {
 public:
  QLITE_INLINE file() noexcept = default;
  /// Maps a file into memory. Error: it cannot be read, or is no valid GGUF.
  QLITE_INLINE explicit file(const char* path) {
    contents_.map = mapped_file(path);
    impl::parse_gguf(contents_, contents_.map.bytes());
  }
  /// Reads from memory, which must outlive the file and everything it returns.
  QLITE_INLINE explicit file(bytes_view bytes) { impl::parse_gguf(contents_, bytes); }
  QLITE_INLINE file(file&&) noexcept = default;
  QLITE_INLINE file& operator=(file&&) noexcept = default;
  QLITE_INLINE ~file() = default;

  QLITE_INLINE std::uint32_t version() const noexcept { return contents_.version; }
  /// Offsets of tensors are multiples of this many bytes.
  QLITE_INLINE std::uint32_t alignment() const noexcept { return contents_.alignment; }
  /// The whole file.
  QLITE_INLINE bytes_view bytes() const noexcept { return contents_.bytes; }

  /// All tensors in the order of the file.
  QLITE_INLINE detail::record_range<tensor_info> tensors() const noexcept {
    return {contents_.tensors.begin(), contents_.tensors.size()};
  }
  /// O(log n); null if there is none.
  QLITE_INLINE const tensor_info* find(std::string_view name) const { return impl::find_gguf_tensor(contents_, name); }
  /// Error: no tensor has that name.
  QLITE_INLINE const tensor_info& tensor(std::string_view name) const {
    return impl::require_gguf_tensor(contents_, name);
  }
  /// The bytes of a tensor of this file: rows() * row_bytes().
  QLITE_INLINE bytes_view data(const tensor_info& t) const { return impl::gguf_data(contents_, t); }

  /// All metadata in the order of the file.
  QLITE_INLINE detail::record_range<value> metadata() const noexcept {
    return {contents_.values.begin(), contents_.values.size()};
  }
  /// O(log n); null if there is none.
  QLITE_INLINE const value* find_value(std::string_view key) const { return impl::find_gguf_value(contents_, key); }

  QLITE_INLINE std::uint64_t get_u64(std::string_view key) const {
    return to_u64(impl::require_gguf_value(contents_, key, "an integer"));
  }
  QLITE_INLINE std::int64_t get_i64(std::string_view key) const {
    return to_i64(impl::require_gguf_value(contents_, key, "an integer"));
  }
  QLITE_INLINE double get_f64(std::string_view key) const {
    return to_f64(impl::require_gguf_value(contents_, key, "a number"));
  }
  QLITE_INLINE bool get_bool(std::string_view key) const {
    return to_bool(impl::require_gguf_value(contents_, key, "a bool"));
  }
  /// A view into the file.
  QLITE_INLINE std::string_view get_string(std::string_view key) const {
    return to_string(impl::require_gguf_value(contents_, key, "a string"));
  }
  QLITE_INLINE gguf::string_array get_string_array(std::string_view key) const {
    return to_string_array(impl::require_gguf_value(contents_, key, "an array of strings"));
  }
  QLITE_INLINE gguf::number_array get_number_array(std::string_view key) const {
    return to_number_array(impl::require_gguf_value(contents_, key, "an array of numbers"));
  }

  QLITE_INLINE std::uint64_t get_u64_or(std::string_view key, std::uint64_t otherwise) const {
    const value* v = find_value(key);
    return v == nullptr ? otherwise : to_u64(*v);
  }
  QLITE_INLINE std::int64_t get_i64_or(std::string_view key, std::int64_t otherwise) const {
    const value* v = find_value(key);
    return v == nullptr ? otherwise : to_i64(*v);
  }
  QLITE_INLINE double get_f64_or(std::string_view key, double otherwise) const {
    const value* v = find_value(key);
    return v == nullptr ? otherwise : to_f64(*v);
  }
  QLITE_INLINE bool get_bool_or(std::string_view key, bool otherwise) const {
    const value* v = find_value(key);
    return v == nullptr ? otherwise : to_bool(*v);
  }
  QLITE_INLINE std::string_view get_string_or(std::string_view key, std::string_view otherwise) const {
    const value* v = find_value(key);
    return v == nullptr ? otherwise : to_string(*v);
  }

 private:
  detail::gguf_contents contents_;
};

}    // namespace gguf
QLITE_END_NAMESPACE
