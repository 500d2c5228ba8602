// Reading the head of a GGUF file: everything but the tensors' data.
//
//   "GGUF"  u32 version  u64 tensors  u64 values
//   values:   string key, u32 type, value            string: u64 length, bytes; array: u32 type, u64 count, elements
//   tensors:  string name, u32 n, u64 extent[n], u32 type, u64 offset
//   zeros up to a multiple of general.alignment (32 unless the file says otherwise); offsets count from there
//
// Source: ggml's docs/gguf.md. Versions 2 and 3 are the same for little-endian files.
#pragma once

#include <qlite/interop/gguf/metadata.hpp>
#include <qlite/interop/mapped_file.hpp>

QLITE_BEGIN_NAMESPACE
namespace gguf {

/// A tensor of a file. GGUF counts dimensions from the innermost: extent[0] is the length of a row.
struct tensor_info {
  std::string_view name;
  tensor_type type = tensor_type::f32;
  std::uint32_t dimensions = 0;            ///< 0 to 4
  std::size_t extent[4] = {1, 1, 1, 1};    ///< innermost first; 1 beyond `dimensions`
  std::size_t offset = 0;                  ///< of the first byte, from the start of the data section
  std::size_t bytes = 0;
  std::size_t record = 0;    ///< where in the file this record begins, in bytes

  QLITE_INLINE tensor_info() noexcept = default;

  /// The tensor as a matrix of rows: cols() is the innermost extent, rows() the product of all others.
  QLITE_INLINE std::size_t cols() const noexcept { return extent[0]; }
  QLITE_INLINE std::size_t rows() const noexcept { return extent[1] * extent[2] * extent[3]; }
  QLITE_INLINE std::size_t elements() const noexcept { return rows() * cols(); }
  /// Bytes of one row.
  QLITE_INLINE std::size_t row_bytes() const noexcept {
    const block_format format = format_of(type);
    return cols() / format.weights * format.bytes;
  }
};

}    // namespace gguf
namespace detail {

/// What parsing a GGUF file leaves: views into its bytes.
struct gguf_contents {
  mapped_file map;    // empty where the bytes are the caller's
  bytes_view bytes;
  std::uint32_t version = 0, alignment = 32;
  std::size_t data = 0;    // where the data section begins
  records<gguf::value> values;
  records<gguf::tensor_info> tensors;
  records<std::uint32_t> values_by_name, tensors_by_name;

  QLITE_INLINE gguf_contents() noexcept = default;
  QLITE_INLINE gguf_contents(gguf_contents&&) noexcept = default;
  QLITE_INLINE gguf_contents& operator=(gguf_contents&&) noexcept = default;
  QLITE_INLINE ~gguf_contents() = default;
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Passes over the elements of an array of strings, checking each length.
inline void skip_gguf_strings(byte_reader& in, std::uint64_t count) {
  in.need(count, 8, "an array of strings");
  for (std::uint64_t i = 0; i < count; ++i) static_cast<void>(in.read_string("a string of an array"));
}

/// Every byte of a bool is 0 or 1.
inline void check_gguf_bools(const gguf::value& v) {
  for (std::size_t i = 0; i < v.count; ++i)
    if (v.data[i] > 1)
      fail("qlite: GGUF at byte %zu: metadata \"%s\" has a bool of %u, expected 0 or 1", v.offset,
           printable(v.key).text, static_cast<unsigned>(v.data[i]));
}

inline gguf::value_type read_gguf_value_type(byte_reader& in, const gguf::value& v) {
  const std::size_t at = in.at();
  const auto type = static_cast<gguf::value_type>(in.read<std::uint32_t>("the type of a metadata value"));
  if (gguf::format_of(type).name == nullptr)
    fail("qlite: GGUF at byte %zu: metadata \"%s\" has type %lu, expected 0 to 12", at, printable(v.key).text,
         static_cast<unsigned long>(type));
  return type;
}

inline gguf::value read_gguf_value(byte_reader& in) {
  using gguf::value_type;
  gguf::value v;
  v.offset = in.at();
  v.key = in.read_string("a metadata key");
  v.type = v.element_type = read_gguf_value_type(in, v);
  if (v.type == value_type::array) {
    v.element_type = read_gguf_value_type(in, v);
    if (v.element_type == value_type::array)
      fail("qlite: GGUF at byte %zu: metadata \"%s\" is an array of arrays, expected an array of numbers or strings",
           v.offset, printable(v.key).text);
    v.count = in.read<std::uint64_t>("the length of a metadata array");
  }
  v.data = in.here();
  if (v.element_type == value_type::string) {
    skip_gguf_strings(in, v.count);
  } else {
    const std::size_t element_bytes = gguf::format_of(v.element_type).bytes;
    in.need(v.count, element_bytes, "a metadata value");
    in.skip(static_cast<std::size_t>(v.count) * element_bytes, "a metadata value");
  }
  if (v.element_type == value_type::boolean) check_gguf_bools(v);
  return v;
}

/// Extents, type and offset; the offset is compared with the data section later, when that is known.
inline gguf::tensor_info read_gguf_tensor(byte_reader& in) {
  gguf::tensor_info t;
  t.record = in.at();
  t.name = in.read_string("a tensor's name");
  t.dimensions = in.read<std::uint32_t>("a tensor's number of dimensions");
  if (t.dimensions > 4)
    fail("qlite: GGUF at byte %zu: tensor \"%s\" has %lu dimensions, expected at most 4", t.record,
         printable(t.name).text, static_cast<unsigned long>(t.dimensions));
  // The bound leaves room for every product that follows: 8 bytes an element, and floats decoded from it.
  const std::uint64_t limit = ~std::size_t{0} / 16;
  std::uint64_t product = 1;    // of the extents that are not 0
  for (std::uint32_t i = 0; i < t.dimensions; ++i) {
    const auto extent = in.read<std::uint64_t>("a tensor's extent");
    if (extent != 0 && product > limit / extent)
      fail(
          "qlite: GGUF at byte %zu: tensor \"%s\" has extent %llu in dimension %lu, expected a tensor within the "
          "address space",
          t.record, printable(t.name).text, static_cast<unsigned long long>(extent), static_cast<unsigned long>(i));
    product *= extent == 0 ? 1 : extent;
    t.extent[i] = static_cast<std::size_t>(extent);
  }
  t.type = static_cast<gguf::tensor_type>(in.read<std::uint32_t>("a tensor's type"));
  const gguf::block_format format = gguf::format_of(t.type);
  if (format.name == nullptr)
    fail("qlite: GGUF at byte %zu: tensor \"%s\" has type %lu, expected a type that docs/gguf.md of ggml names",
         t.record, printable(t.name).text, static_cast<unsigned long>(t.type));
  if (t.cols() % format.weights != 0)
    fail("qlite: GGUF at byte %zu: tensor \"%s\" has rows of %zu elements, expected a multiple of %zu (%s)", t.record,
         printable(t.name).text, t.cols(), format.weights, format.name);
  t.bytes = t.elements() / format.weights * format.bytes;
  const auto offset = in.read<std::uint64_t>("a tensor's offset");
  if (offset > ~std::size_t{0} / 2)
    fail("qlite: GGUF at byte %zu: tensor \"%s\" has offset %llu, expected one within the file", t.record,
         printable(t.name).text, static_cast<unsigned long long>(offset));
  t.offset = static_cast<std::size_t>(offset);
  return t;
}

/// Every tensor lies in the data section, at its alignment, and shares no byte with another.
inline void check_gguf_extents(const gguf_contents& file) {
  const std::size_t available = file.bytes.size() > file.data ? file.bytes.size() - file.data : 0;
  const auto& tensors = file.tensors;
  for (const gguf::tensor_info& t : tensors) {
    if (t.offset % file.alignment != 0)
      fail("qlite: GGUF at byte %zu: tensor \"%s\" has offset %zu, expected a multiple of the alignment %lu", t.record,
           printable(t.name).text, t.offset, static_cast<unsigned long>(file.alignment));
    if (t.offset > available || t.bytes > available - t.offset)
      fail(
          "qlite: GGUF at byte %zu: tensor \"%s\" takes bytes %zu to %zu of the data section, expected at most its "
          "%zu bytes",
          t.record, printable(t.name).text, t.offset, t.offset + t.bytes, available);
  }
  const auto order = sorted_indices(tensors.size(), [&](std::size_t a, std::size_t b) {
    return tensors[a].offset != tensors[b].offset ? tensors[a].offset < tensors[b].offset
                                                  : tensors[a].bytes < tensors[b].bytes;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const gguf::tensor_info &a = tensors[order[i - 1]], &b = tensors[order[i]];
    if (a.offset + a.bytes > b.offset)
      fail(
          "qlite: GGUF at byte %zu: tensor \"%s\" begins at byte %zu of the data section, expected at least %zu, "
          "where \"%s\" ends",
          b.record, printable(b.name).text, b.offset, a.offset + a.bytes, printable(a.name).text);
  }
}

inline std::size_t checked_count(const byte_reader& in, std::uint64_t count, std::size_t least_bytes,
                                 const char* what) {
  in.need(count, least_bytes, what);
  if (count > 0xffffffffu)
    fail("qlite: GGUF at byte %zu: %llu are %s, expected fewer than 2^32", in.at(),
         static_cast<unsigned long long>(count), what);
  return static_cast<std::size_t>(count);
}

/// Fills everything but `map` from the bytes. Where the tensors' data are is not compared with the file's length yet.
inline void parse_gguf_head(gguf_contents& file, bytes_view bytes) {
  file.bytes = bytes;
  byte_reader in("GGUF", bytes);
  const auto magic = in.read<std::uint32_t>("the magic");
  if (magic != 0x46554747u)    // "GGUF"
    fail("qlite: GGUF at byte 0: the magic is 0x%08lx, expected 0x46554747 (\"GGUF\")",
         static_cast<unsigned long>(magic));
  file.version = in.read<std::uint32_t>("the version");
  if (file.version != 2 && file.version != 3)
    fail("qlite: GGUF at byte 4: the version is %lu, expected 2 or 3%s", static_cast<unsigned long>(file.version),
         (file.version & 0xffffu) == 0 ? " (the file is big-endian)" : "");
  const auto tensor_count = in.read<std::uint64_t>("the number of tensors");
  const auto value_count = in.read<std::uint64_t>("the number of metadata values");

  // Smallest records: an empty key, a type and one byte; an empty name, a count, a type and an offset.
  const std::size_t values = checked_count(in, value_count, 8 + 4 + 1, "metadata values");
  file.values = records<gguf::value>(values);
  file.values.clear();
  for (std::size_t i = 0; i < values; ++i) file.values.push(read_gguf_value(in));
  file.values_by_name = index_by_name(
      "GGUF", "metadata", file.values, [](const gguf::value& v) { return v.key; },
      [](const gguf::value& v) { return v.offset; });

  constexpr std::string_view alignment_key("general.alignment", 17);
  if (const gguf::value* v =
          find_by_name(file.values, file.values_by_name, alignment_key, [](const gguf::value& x) { return x.key; })) {
    if (v->type != gguf::value_type::uint32) fail_type(*v, "uint32");
    file.alignment = load<std::uint32_t>(v->data);
    if (file.alignment == 0 || file.alignment % 8 != 0)
      fail("qlite: GGUF at byte %zu: general.alignment is %lu, expected a multiple of 8", v->offset,
           static_cast<unsigned long>(file.alignment));
  }

  const std::size_t tensors = checked_count(in, tensor_count, 8 + 4 + 4 + 8, "tensors");
  file.tensors = records<gguf::tensor_info>(tensors);
  file.tensors.clear();
  for (std::size_t i = 0; i < tensors; ++i) file.tensors.push(read_gguf_tensor(in));
  file.tensors_by_name = index_by_name(
      "GGUF", "tensor", file.tensors, [](const gguf::tensor_info& t) { return t.name; },
      [](const gguf::tensor_info& t) { return t.record; });

  file.data = round_up(in.at(), file.alignment);
}

inline void parse_gguf(gguf_contents& file, bytes_view bytes) {
  parse_gguf_head(file, bytes);
  check_gguf_extents(file);
}

}    // namespace impl
QLITE_END_FUNCTIONS
