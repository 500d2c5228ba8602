// Writing GGUF files: version 3, little-endian.
#pragma once

#include <qlite/interop/gguf/parse.hpp>

#include <cstdio>
#include <initializer_list>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// Bytes that grow.
class byte_sink {
 public:
  QLITE_INLINE byte_sink() noexcept = default;
  QLITE_INLINE byte_sink(byte_sink&&) noexcept = default;
  QLITE_INLINE byte_sink& operator=(byte_sink&&) noexcept = default;
  QLITE_INLINE ~byte_sink() = default;

  QLITE_INLINE void add(const void* data, std::size_t size) {
    bytes_.append(static_cast<const std::byte*>(data), size);
  }
  template <class T>
  QLITE_INLINE void add(T value) {
    static_assert(std::is_arithmetic_v<T>, "numbers are written as they lie in memory");
    add(&value, sizeof value);
  }
  QLITE_INLINE void add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    add(text.data(), text.size());
  }
  QLITE_INLINE const std::byte* data() const noexcept { return bytes_.begin(); }
  QLITE_INLINE std::size_t size() const noexcept { return bytes_.size(); }

 private:
  records<std::byte> bytes_;
};

template <class T>
struct gguf_type_of;
#define QLITE_DETAIL_GGUF_TYPE(cpp, name)                             \
  template <>                                                         \
  struct gguf_type_of<cpp> {                                          \
    static constexpr gguf::value_type value = gguf::value_type::name; \
  };
QLITE_DETAIL_GGUF_TYPE(std::uint8_t, uint8)
QLITE_DETAIL_GGUF_TYPE(std::int8_t, int8)
QLITE_DETAIL_GGUF_TYPE(std::uint16_t, uint16)
QLITE_DETAIL_GGUF_TYPE(std::int16_t, int16)
QLITE_DETAIL_GGUF_TYPE(std::uint32_t, uint32)
QLITE_DETAIL_GGUF_TYPE(std::int32_t, int32)
QLITE_DETAIL_GGUF_TYPE(std::uint64_t, uint64)
QLITE_DETAIL_GGUF_TYPE(std::int64_t, int64)
QLITE_DETAIL_GGUF_TYPE(float, float32)
QLITE_DETAIL_GGUF_TYPE(double, float64)
QLITE_DETAIL_GGUF_TYPE(bool, boolean)
#undef QLITE_DETAIL_GGUF_TYPE

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// The record of a tensor whose data begin `offset` bytes into the data section.
inline void add_gguf_tensor(byte_sink& records, std::string_view name, gguf::tensor_type type,
                            std::initializer_list<std::size_t> extents, std::size_t offset, bytes_view data) {
  const std::size_t before = records.size();
  records.add(name);
  records.add(static_cast<std::uint32_t>(extents.size()));
  for (const std::size_t extent : extents) records.add(static_cast<std::uint64_t>(extent));
  records.add(static_cast<std::uint32_t>(type));
  records.add(static_cast<std::uint64_t>(offset));
  byte_reader in("GGUF tensor", {records.data() + before, records.size() - before});
  const gguf::tensor_info t = read_gguf_tensor(in);    // refuses what a reader would
  if (data.size() != t.bytes)
    fail("qlite: the data of tensor \"%s\" (%s, %zu x %zu) have %zu bytes, expected %zu", printable(name).text,
         gguf::format_of(type).name, t.rows(), t.cols(), data.size(), t.bytes);
  if (data.size() != 0 && data.data() == nullptr)
    fail("qlite: the data of tensor \"%s\" are null, expected %zu bytes", printable(name).text, data.size());
}

/// Everything before the data section, checked by the reader.
inline byte_sink make_gguf_head(std::size_t values, const byte_sink& value_records, std::size_t tensors,
                                const byte_sink& tensor_records) {
  byte_sink head;
  head.add(std::uint32_t{0x46554747u});    // "GGUF"
  head.add(std::uint32_t{3});
  head.add(static_cast<std::uint64_t>(tensors));
  head.add(static_cast<std::uint64_t>(values));
  head.add(value_records.data(), value_records.size());
  head.add(tensor_records.data(), tensor_records.size());
  gguf_contents file;
  parse_gguf_head(file, {head.data(), head.size()});
  return head;
}

/// Gives `sink` the zeros that bring `written` to a multiple of `alignment`.
template <class Sink>
void pad_gguf(Sink& sink, std::size_t written, std::size_t alignment) {
  const char zeros[64] = {};
  for (std::size_t left = round_up(written, alignment) - written, step; left != 0; left -= step) {
    step = min_of(left, sizeof zeros);
    sink(static_cast<const void*>(zeros), step);
  }
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {

/// Collects metadata and tensors, then writes a GGUF file of version 3.
///
///     gguf::writer out;
///     out.add("general.architecture", "llama");
///     out.add_tensor("output.weight", gguf::tensor_type::f32, {cols, rows}, {data, bytes});
///     out.write("model.gguf");
///
/// Metadata are copied; the tensors' data are not, and must live until the file is written.
class writer {
 public:
  /// Error: the alignment of tensor data is no multiple of 8.
  QLITE_INLINE explicit writer(std::uint32_t alignment = 32) : alignment_(alignment) {
    if (alignment == 0 || alignment % 8 != 0)
      impl::fail("qlite: alignment is %lu, expected a multiple of 8", static_cast<unsigned long>(alignment));
    if (alignment != 32) add("general.alignment", alignment);
  }

  QLITE_INLINE writer(writer&&) noexcept = default;
  QLITE_INLINE writer& operator=(writer&&) noexcept = default;
  QLITE_INLINE ~writer() = default;

  /// A number or a bool, stored as the type that it has.
  template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  QLITE_INLINE void add(std::string_view key, T number) {
    begin(key, detail::gguf_type_of<T>::value);
    values_.add(number);
  }
  QLITE_INLINE void add(std::string_view key, std::string_view text) {
    begin(key, value_type::string);
    values_.add(text);
  }
  /// `count` numbers (also bool) as an array.
  template <class T>
  QLITE_INLINE void add_array(std::string_view key, const T* numbers, std::size_t count) {
    begin_array(key, detail::gguf_type_of<T>::value, count);
    values_.add(static_cast<const void*>(numbers), count * sizeof(T));
  }
  /// A range of strings (with size()) as an array.
  template <class Range>
  QLITE_INLINE void add_strings(std::string_view key, const Range& strings) {
    begin_array(key, value_type::string, strings.size());
    for (const auto& text : strings) values_.add(std::string_view(text));
  }

  /// A tensor of 0 to 4 dimensions, the innermost extent first: {cols, rows} for a matrix.
  /// Error: more dimensions, rows that are no whole blocks, another number of bytes than the extents and type take.
  QLITE_INLINE void add_tensor(std::string_view name, tensor_type type, std::initializer_list<std::size_t> extents,
                               bytes_view data) {
    impl::add_gguf_tensor(tensors_, name, type, extents, data_bytes_, data);
    data_.push(data);
    data_bytes_ += detail::round_up(data.size(), alignment_);
  }

  /// Hands the file to `sink(const void* data, std::size_t size)`, piece by piece.
  /// Error: a name or key appears twice.
  template <class Sink>
  QLITE_INLINE void write_to(Sink&& sink) const {
    const detail::byte_sink head = impl::make_gguf_head(value_count_, values_, data_.size(), tensors_);
    sink(static_cast<const void*>(head.data()), head.size());
    impl::pad_gguf(sink, head.size(), alignment_);
    for (const bytes_view data : data_) {
      if (data.size() != 0) sink(static_cast<const void*>(data.data()), data.size());
      impl::pad_gguf(sink, data.size(), alignment_);
    }
  }
  /// Writes a file, replacing one that exists. Error: as write_to, and the system's, naming the path.
  QLITE_INLINE void write(const char* path) const;

 private:
  QLITE_INLINE void begin(std::string_view key, value_type type) {
    values_.add(key);
    values_.add(static_cast<std::uint32_t>(type));
    ++value_count_;
  }
  QLITE_INLINE void begin_array(std::string_view key, value_type type, std::size_t count) {
    begin(key, value_type::array);
    values_.add(static_cast<std::uint32_t>(type));
    values_.add(static_cast<std::uint64_t>(count));
  }

  std::uint32_t alignment_;
  std::size_t value_count_ = 0, data_bytes_ = 0;
  detail::byte_sink values_, tensors_;    // records as the file holds them
  detail::records<bytes_view> data_;      // of each tensor
};

}    // namespace gguf
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline void write_gguf_file(const gguf::writer& contents, const char* path) {
  // The head is made, and may be refused, before the file is touched.
  std::FILE* file = nullptr;
  bool good = true;
  contents.write_to([&](const void* data, std::size_t size) {
    if (file == nullptr && good) good = (file = std::fopen(path, "wb")) != nullptr;
    good = good && std::fwrite(data, 1, size, file) == size;
  });
  const int reason = errno;
  if (file != nullptr) good = std::fclose(file) == 0 && good;
  if (!good) fail("qlite: cannot write \"%.300s\": %s", path, std::strerror(reason != 0 ? reason : errno));
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace gguf {
QLITE_INLINE void writer::write(const char* path) const { impl::write_gguf_file(*this, path); }
}    // namespace gguf
QLITE_END_NAMESPACE
