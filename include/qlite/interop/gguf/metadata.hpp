// Metadata of a GGUF file: one record per key, read in place, converted when asked.
#pragma once

#include <qlite/interop/byte_reader.hpp>
#include <qlite/interop/gguf/types.hpp>

#include <iterator>

QLITE_BEGIN_NAMESPACE
namespace gguf {

/// One metadata value. `data` points into the file, at any alignment.
struct value {
  std::string_view key;
  value_type type = value_type::uint8;
  value_type element_type = value_type::uint8;    ///< of an array; else the type itself
  std::uint64_t count = 1;                        ///< elements of an array; else 1
  const std::uint8_t* data = nullptr;             ///< the first element (a string: its 64-bit length)
  std::size_t offset = 0;                         ///< where in the file this record begins, in bytes

  QLITE_INLINE value() noexcept = default;
};

/// An array of strings, read in place: a forward range of std::string_view. O(1) per step, no random access, because
/// the file stores each string behind its length.
class string_array {
 public:
  /// A forward iterator; dereferencing reads the length from the file.
  class iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string_view*;
    using reference = std::string_view;

    QLITE_INLINE iterator() noexcept = default;
    QLITE_INLINE iterator(const std::uint8_t* at, std::size_t left) noexcept : at_(at), left_(left) {}
    QLITE_INLINE std::string_view operator*() const noexcept {
      return {reinterpret_cast<const char*>(at_ + 8), length()};
    }
    QLITE_INLINE iterator& operator++() noexcept {
      at_ += 8 + length();
      --left_;
      return *this;
    }
    QLITE_INLINE iterator operator++(int) noexcept {
      const iterator before = *this;
      ++*this;
      return before;
    }
    QLITE_INLINE friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.left_ == b.left_; }
    QLITE_INLINE friend bool operator!=(const iterator& a, const iterator& b) noexcept { return a.left_ != b.left_; }

   private:
    QLITE_INLINE std::size_t length() const noexcept {
      return static_cast<std::size_t>(detail::load<std::uint64_t>(at_));
    }
    const std::uint8_t* at_ = nullptr;
    std::size_t left_ = 0;
  };

  QLITE_INLINE string_array() noexcept = default;
  QLITE_INLINE string_array(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}
  QLITE_INLINE std::size_t size() const noexcept { return size_; }
  QLITE_INLINE iterator begin() const noexcept { return {data_, size_}; }
  QLITE_INLINE iterator end() const noexcept { return {nullptr, 0}; }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

inline namespace QLITE_FLAG_SET {

/// The value as an integer. Error: it is no integer, or out of range.
std::uint64_t to_u64(const value& v);
std::int64_t to_i64(const value& v);
/// The value as a floating point number; integers convert to the nearest one. Error: it is no number.
double to_f64(const value& v);
/// Error: the value is no bool.
bool to_bool(const value& v);
/// A view into the file. Error: the value is no string.
std::string_view to_string(const value& v);
/// Error: the value is no array of strings.
string_array to_string_array(const value& v);

}    // namespace QLITE_FLAG_SET
}    // namespace gguf
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

[[noreturn]] QLITE_COLD inline void fail_type(const gguf::value& v, const char* expected) {
  const bool array = v.type == gguf::value_type::array;
  fail("qlite: GGUF at byte %zu: metadata \"%s\" is %s%s, expected %s", v.offset, printable(v.key).text,
       array ? "an array of " : "of type ", gguf::format_of(array ? v.element_type : v.type).name, expected);
}

/// A scalar of any number type: an integer in two's complement with its sign, or a real.
struct gguf_number {
  bool real = false;
  bool negative = false;
  std::uint64_t bits = 0;
  double value = 0;
};

template <class T>
inline gguf_number gguf_integer(const std::uint8_t* data) {
  const T x = load<T>(data);
  return {false, x < T{0}, static_cast<std::uint64_t>(x), static_cast<double>(x)};
}

template <class T>
inline gguf_number gguf_unsigned(const std::uint8_t* data) {
  const T x = load<T>(data);
  return {false, false, x, static_cast<double>(x)};
}

/// Reads a number; false where the type is none.
inline bool read_gguf_number(gguf::value_type type, const std::uint8_t* data, gguf_number& number) {
  using gguf::value_type;
  switch (type) {
    case value_type::uint8:
      number = gguf_unsigned<std::uint8_t>(data);
      return true;
    case value_type::int8:
      number = gguf_integer<std::int8_t>(data);
      return true;
    case value_type::uint16:
      number = gguf_unsigned<std::uint16_t>(data);
      return true;
    case value_type::int16:
      number = gguf_integer<std::int16_t>(data);
      return true;
    case value_type::uint32:
      number = gguf_unsigned<std::uint32_t>(data);
      return true;
    case value_type::int32:
      number = gguf_integer<std::int32_t>(data);
      return true;
    case value_type::uint64:
      number = gguf_unsigned<std::uint64_t>(data);
      return true;
    case value_type::int64:
      number = gguf_integer<std::int64_t>(data);
      return true;
    case value_type::float32:
      number = {true, false, 0, static_cast<double>(load<float>(data))};
      return true;
    case value_type::float64:
      number = {true, false, 0, load<double>(data)};
      return true;
    case value_type::boolean:
    case value_type::string:
    case value_type::array:
      break;
  }
  return false;
}

inline std::uint64_t gguf_u64(const gguf::value& v, gguf::value_type type, const std::uint8_t* data) {
  gguf_number number;
  if (!read_gguf_number(type, data, number) || number.real) fail_type(v, "an integer");
  if (number.negative)
    fail("qlite: GGUF at byte %zu: metadata \"%s\" is %lld, expected an integer of at least 0", v.offset,
         printable(v.key).text, static_cast<long long>(number.bits));
  return number.bits;
}

inline std::int64_t gguf_i64(const gguf::value& v, gguf::value_type type, const std::uint8_t* data) {
  gguf_number number;
  if (!read_gguf_number(type, data, number) || number.real) fail_type(v, "an integer");
  if (!number.negative && number.bits >> 63 != 0)
    fail("qlite: GGUF at byte %zu: metadata \"%s\" is %llu, expected at most 2^63 - 1", v.offset, printable(v.key).text,
         static_cast<unsigned long long>(number.bits));
  return static_cast<std::int64_t>(number.bits);
}

inline double gguf_f64(const gguf::value& v, gguf::value_type type, const std::uint8_t* data) {
  gguf_number number;
  if (!read_gguf_number(type, data, number)) fail_type(v, "a number");
  return number.value;
}

inline const std::uint8_t* gguf_element(const gguf::value& v, std::size_t i) {
  if (i >= v.count)
    fail("qlite: GGUF metadata \"%s\": index %zu, expected less than its %llu elements", printable(v.key).text, i,
         static_cast<unsigned long long>(v.count));
  return v.data + i * gguf::format_of(v.element_type).bytes;
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {

/// An array of numbers of one type, read in place.
class number_array {
 public:
  QLITE_INLINE number_array() noexcept { value_.count = 0; }
  QLITE_INLINE explicit number_array(const value& v) noexcept : value_(v) {}
  QLITE_INLINE std::size_t size() const noexcept { return static_cast<std::size_t>(value_.count); }
  QLITE_INLINE value_type type() const noexcept { return value_.element_type; }
  /// Element i. Error: i is not less than size(), or the number does not fit.
  QLITE_INLINE std::int64_t i64(std::size_t i) const {
    return impl::gguf_i64(value_, type(), impl::gguf_element(value_, i));
  }
  QLITE_INLINE std::uint64_t u64(std::size_t i) const {
    return impl::gguf_u64(value_, type(), impl::gguf_element(value_, i));
  }
  /// Element i, an integer converted to the nearest double.
  QLITE_INLINE double f64(std::size_t i) const { return impl::gguf_f64(value_, type(), impl::gguf_element(value_, i)); }

 private:
  value value_;
};

inline namespace QLITE_FLAG_SET {

/// Error: the value is no integer of 0 and above.
inline std::uint64_t to_u64(const value& v) { return impl::gguf_u64(v, v.type, v.data); }
/// Error: the value is no integer that an int64 holds.
inline std::int64_t to_i64(const value& v) { return impl::gguf_i64(v, v.type, v.data); }
/// Integers are converted to the nearest double. Error: the value is no number.
inline double to_f64(const value& v) { return impl::gguf_f64(v, v.type, v.data); }

/// Error: the value is no bool.
inline bool to_bool(const value& v) {
  if (v.type != value_type::boolean) impl::fail_type(v, "a bool");
  return v.data[0] != 0;
}

/// A view into the file. Error: the value is no string.
inline std::string_view to_string(const value& v) {
  if (v.type != value_type::string) impl::fail_type(v, "a string");
  return *string_array(v.data, 1).begin();
}

/// Read in place. Error: the value is no array of strings.
inline string_array to_string_array(const value& v) {
  if (v.type != value_type::array || v.element_type != value_type::string) impl::fail_type(v, "an array of strings");
  return {v.data, static_cast<std::size_t>(v.count)};
}

/// Error: the value is no array of numbers (bool is none).
inline number_array to_number_array(const value& v) {
  if (v.type != value_type::array || v.element_type == value_type::string || v.element_type == value_type::boolean)
    impl::fail_type(v, "an array of numbers");
  return number_array(v);
}

}    // namespace QLITE_FLAG_SET
}    // namespace gguf
QLITE_END_NAMESPACE
