// What the readers of foreign files share: a bounds-checked little-endian cursor, names made fit to print, and an index
// that finds names. Every byte of a file is hostile: nothing is read, counted or allocated before it is checked.
//
// No standard container appears here: these functions may be compiled for several instruction sets in one program, and
// std::vector<T> would be one shared symbol for all of them (core/config.hpp).
#pragma once

#include <qlite/core/buffer.hpp>
#include <qlite/core/error.hpp>
#include <qlite/core/view.hpp>

#include <cstring>
#include <string_view>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "qlite reads files on little-endian machines only");

QLITE_BEGIN_NAMESPACE
namespace detail {

/// A name from a file as it may appear in a message: at most 64 bytes, anything unprintable as '?'.
struct printable {
  char text[68];
  QLITE_INLINE explicit printable(std::string_view name) noexcept {
    const std::size_t kept = min_of<std::size_t>(name.size(), 64);
    for (std::size_t i = 0; i < kept; ++i)
      text[i] = name.data()[i] >= ' ' && name.data()[i] <= '~' ? name.data()[i] : '?';
    for (std::size_t i = kept; i < kept + 3; ++i) text[i] = name.size() > kept ? '.' : '\0';
    text[kept + 3] = '\0';
  }
};

/// A value at any alignment.
template <class T>
QLITE_INLINE T load(const std::uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Three-way comparison of names by their bytes.
QLITE_INLINE int compare(std::string_view a, std::string_view b) noexcept {
  const std::size_t common = min_of(a.size(), b.size());
  const int order = common == 0 ? 0 : std::memcmp(a.data(), b.data(), common);
  return order != 0 ? order : a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
}

/// An owning array of `T` without constructors, for records read from a file.
template <class T>
class records {
 public:
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= cache_line, "records are plain data");

  QLITE_INLINE records() noexcept = default;
  QLITE_INLINE explicit records(std::size_t size) : memory_(size * sizeof(T)), size_(size) {}
  QLITE_INLINE records(records&&) noexcept = default;
  QLITE_INLINE records& operator=(records&&) noexcept = default;
  QLITE_INLINE ~records() = default;

  QLITE_INLINE T* begin() const noexcept { return reinterpret_cast<T*>(memory_.data()); }
  QLITE_INLINE T* end() const noexcept { return begin() + size_; }
  QLITE_INLINE std::size_t size() const noexcept { return size_; }
  QLITE_INLINE T& operator[](std::size_t i) const noexcept { return begin()[i]; }
  QLITE_INLINE void clear() noexcept { size_ = 0; }
  /// Appends `count` values, in a larger block of memory where needed.
  QLITE_INLINE void append(const T* values, std::size_t count) {
    if (count == 0) return;
    if (count > memory_.size() / sizeof(T) - size_) {
      buffer larger(2 * (size_ + count) * sizeof(T));
      if (size_ != 0) std::memcpy(larger.data(), memory_.data(), size_ * sizeof(T));
      memory_ = static_cast<buffer&&>(larger);
    }
    std::memcpy(static_cast<void*>(end()), values, count * sizeof(T));
    size_ += count;
  }
  QLITE_INLINE void push(const T& value) { append(&value, 1); }

 private:
  buffer memory_;
  std::size_t size_ = 0;
};

/// A read-only range of records that a file owns.
template <class T>
class record_range {
 public:
  QLITE_INLINE record_range(const T* first, std::size_t size) noexcept : first_(first), size_(size) {}
  QLITE_INLINE const T* begin() const noexcept { return first_; }
  QLITE_INLINE const T* end() const noexcept { return first_ + size_; }
  QLITE_INLINE std::size_t size() const noexcept { return size_; }
  QLITE_INLINE const T& operator[](std::size_t i) const noexcept { return first_[i]; }

 private:
  const T* first_;
  std::size_t size_;
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Reads a file's fields in order. `format` names the file's format in messages, and must outlive the reader.
class byte_reader {
 public:
  byte_reader(const char* format, bytes_view bytes) : format_(format), data_(bytes.data()), size_(bytes.size()) {}

  std::size_t at() const { return at_; }
  std::size_t left() const { return size_ - at_; }
  const std::uint8_t* here() const { return data_ + at_; }

  /// Refuses the file unless `count` elements of `element_bytes` each may still follow.
  void need(std::uint64_t count, std::size_t element_bytes, const char* what) const {
    if (count > left() / element_bytes)
      fail("qlite: %s at byte %zu: %s is %llu x %zu bytes, expected at most the %zu bytes that are left", format_, at_,
           what, static_cast<unsigned long long>(count), element_bytes, left());
  }

  void skip(std::size_t bytes, const char* what) {
    need(bytes, 1, what);
    at_ += bytes;
  }

  template <class T>
  T read(const char* what) {
    need(1, sizeof(T), what);
    const T value = load<T>(here());
    at_ += sizeof(T);
    return value;
  }

  /// A string of GGUF: 64-bit length, then bytes.
  std::string_view read_string(const char* what) {
    const std::uint64_t length = read<std::uint64_t>(what);
    need(length, 1, what);
    const std::string_view text(reinterpret_cast<const char*>(here()), static_cast<std::size_t>(length));
    at_ += text.size();
    return text;
  }

 private:
  const char* format_;
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

/// Heapsort of `count` indices: O(n log n) for any input, in place. (std::sort on plain indices would be a shared
/// symbol.) J. W. J. Williams, "Algorithm 232: Heapsort", CACM 7(6), 1964.
template <class Less>
void sort_indices(std::uint32_t* indices, std::size_t count, Less less) {
  const auto swap = [&](std::size_t a, std::size_t b) {
    const std::uint32_t kept = indices[a];
    indices[a] = indices[b];
    indices[b] = kept;
  };
  const auto sift_down = [&](std::size_t root, std::size_t end) {
    for (std::size_t child = 2 * root + 1; child < end; root = child, child = 2 * root + 1) {
      if (child + 1 < end && less(indices[child], indices[child + 1])) ++child;
      if (!less(indices[root], indices[child])) return;
      swap(root, child);
    }
  };
  for (std::size_t root = count / 2; root-- > 0;) sift_down(root, count);
  for (std::size_t end = count; end-- > 1;) {
    swap(0, end);
    sift_down(0, end);
  }
}

/// The indices 0 ... count - 1 in the order of `less`.
template <class Less>
records<std::uint32_t> sorted_indices(std::size_t count, Less less) {
  records<std::uint32_t> indices(count);
  for (std::size_t i = 0; i < count; ++i) indices[i] = static_cast<std::uint32_t>(i);
  sort_indices(indices.begin(), count, less);
  return indices;
}

/// The order of the records by name. Error: two have the same. `name_of` and `byte_of` say a record's name and where in
/// the file it begins.
template <class T, class NameOf, class ByteOf>
records<std::uint32_t> index_by_name(const char* format, const char* kind, const records<T>& all, NameOf name_of,
                                     ByteOf byte_of) {
  records<std::uint32_t> order = sorted_indices(
      all.size(), [&](std::size_t a, std::size_t b) { return compare(name_of(all[a]), name_of(all[b])) < 0; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const T &a = all[order[i - 1]], &b = all[order[i]];
    if (compare(name_of(a), name_of(b)) == 0)
      fail("qlite: %s at byte %zu: %s \"%s\" is also at byte %zu, expected different names", format,
           max_of<std::size_t>(byte_of(a), byte_of(b)), kind, printable(name_of(a)).text,
           min_of<std::size_t>(byte_of(a), byte_of(b)));
  }
  return order;
}

/// The record whose name_of(record) is `name`, by binary search in `order`; null if there is none.
template <class T, class NameOf>
const T* find_by_name(const records<T>& all, const records<std::uint32_t>& order, std::string_view name,
                      NameOf name_of) {
  std::size_t first = 0, last = order.size();
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    const T& candidate = all[order[middle]];
    const int c = compare(name_of(candidate), name);
    if (c == 0) return &candidate;
    if (c < 0)
      first = middle + 1;
    else
      last = middle;
  }
  return nullptr;
}

}    // namespace impl
QLITE_END_FUNCTIONS
