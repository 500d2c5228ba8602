// Reading the header of a safetensors file.
//
//   u64 length of the header | header, JSON | data
//
//   {"__metadata__": {"key": "text", ...},
//    "name": {"dtype": "F32", "shape": [outermost, ..., innermost], "data_offsets": [begin, end]}, ...}
//
// Offsets count from the start of the data; the tensors cover the data without gaps or overlaps.
// Source: the format's README and its Rust implementation (huggingface/safetensors).
#pragma once

#include <qlite/interop/mapped_file.hpp>
#include <qlite/interop/safetensors/json.hpp>

QLITE_BEGIN_NAMESPACE
/// safetensors, the file format of Hugging Face.
namespace safetensors {

/// The element type of a tensor. qlite reads f32, f16, bf16, i8, u8 and i32 as floats; of the others it knows the size,
/// and of `other` only the name.
enum class element_type : std::uint8_t {
  f32,
  f16,
  bf16,
  i8,
  u8,
  i32,
  boolean,
  i16,
  u16,
  u32,
  i64,
  u64,
  f64,
  f8_e4m3,
  f8_e5m2,
  other
};

/// A tensor of a file.
struct tensor_info {
  std::string_view name;
  std::string_view type_name;    ///< as the file has it: "F32"
  element_type type = element_type::other;
  std::uint32_t dimensions = 0;                        ///< 0 to 8
  std::size_t extent[8] = {1, 1, 1, 1, 1, 1, 1, 1};    ///< outermost first; 1 beyond `dimensions`
  std::size_t offset = 0, bytes = 0;                   ///< in the data section
  std::size_t record = 0;                              ///< where in the file this record begins, in bytes

  QLITE_INLINE tensor_info() noexcept = default;

  /// The tensor as a matrix of rows: cols() is the innermost extent, rows() the product of all others.
  QLITE_INLINE std::size_t cols() const noexcept { return dimensions == 0 ? 1 : extent[dimensions - 1]; }
  QLITE_INLINE std::size_t rows() const noexcept {
    std::size_t product = 1;
    for (std::uint32_t i = 0; i + 1 < dimensions; ++i) product *= extent[i];
    return product;
  }
  QLITE_INLINE std::size_t elements() const noexcept { return rows() * cols(); }
};

/// One entry of __metadata__.
struct metadata_entry {
  std::string_view key, value;
  std::size_t record = 0;
};

}    // namespace safetensors
namespace detail {

struct safetensors_type {
  const char* name;
  safetensors::element_type type;
  std::size_t bytes;
};

inline constexpr safetensors_type safetensors_types[] = {
    {"F32", safetensors::element_type::f32, 4},         {"F16", safetensors::element_type::f16, 2},
    {"BF16", safetensors::element_type::bf16, 2},       {"I8", safetensors::element_type::i8, 1},
    {"U8", safetensors::element_type::u8, 1},           {"I32", safetensors::element_type::i32, 4},
    {"BOOL", safetensors::element_type::boolean, 1},    {"I16", safetensors::element_type::i16, 2},
    {"U16", safetensors::element_type::u16, 2},         {"U32", safetensors::element_type::u32, 4},
    {"I64", safetensors::element_type::i64, 8},         {"U64", safetensors::element_type::u64, 8},
    {"F64", safetensors::element_type::f64, 8},         {"F8_E4M3", safetensors::element_type::f8_e4m3, 1},
    {"F8_E5M2", safetensors::element_type::f8_e5m2, 1},
};

/// What parsing a safetensors file leaves: views into its bytes, or into `unescaped`.
struct safetensors_contents {
  mapped_file map;    // empty where the bytes are the caller's
  bytes_view bytes;
  std::size_t data = 0;    // where the data section begins
  buffer unescaped;        // names that the header writes with escapes
  records<safetensors::tensor_info> tensors;
  records<safetensors::metadata_entry> metadata;
  records<std::uint32_t> tensors_by_name, metadata_by_key;

  QLITE_INLINE safetensors_contents() noexcept = default;
  QLITE_INLINE safetensors_contents(safetensors_contents&&) noexcept = default;
  QLITE_INLINE safetensors_contents& operator=(safetensors_contents&&) noexcept = default;
  QLITE_INLINE ~safetensors_contents() = default;
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline constexpr std::string_view safetensors_metadata_key("__metadata__", 12);
/// The limit of the format's own implementation.
inline constexpr std::size_t most_safetensors_header = 100000000;

inline bool equals(std::string_view a, const char* b) { return compare(a, {b, std::strlen(b)}) == 0; }

/// Calls element() for each element of an array.
template <class Element>
void read_json_array(json_reader& in, const char* what, Element element) {
  in.expect('[', what);
  if (in.take(']')) return;
  do element();
  while (in.take(','));
  in.expect(']', "',' or ']'");
}

/// Calls member(key) for each member of an object.
template <class Member>
void read_json_object(json_reader& in, const char* what, Member member) {
  in.expect('{', what);
  if (in.take('}')) return;
  do {
    const std::size_t at = in.byte();
    const std::string_view key = in.string("a key in quotes");
    in.expect(':', "':'");
    member(key, at);
  } while (in.take(','));
  in.expect('}', "',' or '}'");
}

inline void read_safetensors_shape(json_reader& in, safetensors::tensor_info& t) {
  // Room for every product that follows: 8 bytes an element, and floats decoded from it.
  const std::uint64_t limit = ~std::size_t{0} / 16;
  std::uint64_t product = 1;    // of the extents that are not 0
  read_json_array(in, "the shape, an array", [&] {
    const std::uint64_t extent = in.number("an extent, a whole number");
    if (t.dimensions == 8)
      fail("qlite: safetensors at byte %zu: tensor \"%s\" has more than 8 dimensions, expected at most 8", t.record,
           printable(t.name).text);
    if (extent != 0 && product > limit / extent)
      fail(
          "qlite: safetensors at byte %zu: tensor \"%s\" has extent %llu in dimension %lu, expected a tensor within "
          "the address space",
          t.record, printable(t.name).text, static_cast<unsigned long long>(extent),
          static_cast<unsigned long>(t.dimensions));
    product *= extent == 0 ? 1 : extent;
    t.extent[t.dimensions++] = static_cast<std::size_t>(extent);
  });
}

inline void read_safetensors_offsets(json_reader& in, safetensors::tensor_info& t) {
  std::uint64_t limits[2] = {0, 0};
  std::size_t count = 0;
  read_json_array(in, "data_offsets, an array", [&] {
    const std::uint64_t value = in.number("an offset, a whole number");
    if (count < 2) limits[count] = value;
    ++count;
  });
  if (count != 2)
    fail("qlite: safetensors at byte %zu: tensor \"%s\" has %zu data_offsets, expected 2", t.record,
         printable(t.name).text, count);
  if (limits[0] > limits[1] || limits[1] > ~std::size_t{0} / 2)
    fail(
        "qlite: safetensors at byte %zu: tensor \"%s\" has data_offsets %llu to %llu, expected a range within the file",
        t.record, printable(t.name).text, static_cast<unsigned long long>(limits[0]),
        static_cast<unsigned long long>(limits[1]));
  t.offset = static_cast<std::size_t>(limits[0]);
  t.bytes = static_cast<std::size_t>(limits[1] - limits[0]);
}

inline safetensors::tensor_info read_safetensors_tensor(json_reader& in, std::string_view name, std::size_t at) {
  safetensors::tensor_info t;
  t.name = name;
  t.record = at;
  bool typed = false, shaped = false, placed = false;
  const auto once = [&](bool& seen, std::string_view key) {
    if (seen)
      fail("qlite: safetensors at byte %zu: tensor \"%s\" has \"%s\" twice, expected once", at, printable(name).text,
           printable(key).text);
    seen = true;
  };
  read_json_object(in, "a tensor's object", [&](std::string_view key, std::size_t) {
    if (equals(key, "dtype")) {
      once(typed, key);
      t.type_name = in.string("the dtype, a string");
    } else if (equals(key, "shape")) {
      once(shaped, key);
      read_safetensors_shape(in, t);
    } else if (equals(key, "data_offsets")) {
      once(placed, key);
      read_safetensors_offsets(in, t);
    } else {
      fail("qlite: safetensors at byte %zu: tensor \"%s\" has \"%s\", expected dtype, shape and data_offsets", at,
           printable(name).text, printable(key).text);
    }
  });
  if (!typed || !shaped || !placed)
    fail("qlite: safetensors at byte %zu: tensor \"%s\" has no %s, expected dtype, shape and data_offsets", at,
         printable(name).text,
         !typed    ? "dtype"
         : !shaped ? "shape"
                   : "data_offsets");
  for (const safetensors_type& known : safetensors_types) {
    if (!equals(t.type_name, known.name)) continue;
    t.type = known.type;
    if (t.bytes != t.elements() * known.bytes)
      fail("qlite: safetensors at byte %zu: tensor \"%s\" (%s, %zu elements) has %zu bytes, expected %zu", at,
           printable(name).text, known.name, t.elements(), t.bytes, t.elements() * known.bytes);
  }
  return t;
}

/// The tensors follow each other without gaps, from the first byte of the data to the last.
inline void check_safetensors_extents(const safetensors_contents& file) {
  const auto& tensors = file.tensors;
  const std::size_t available = file.bytes.size() - file.data;
  const auto order = sorted_indices(tensors.size(), [&](std::size_t a, std::size_t b) {
    return tensors[a].offset != tensors[b].offset ? tensors[a].offset < tensors[b].offset
                                                  : tensors[a].bytes < tensors[b].bytes;
  });
  std::size_t end = 0;
  for (const std::uint32_t i : order) {
    const safetensors::tensor_info& t = tensors[i];
    if (t.offset != end)
      fail(
          "qlite: safetensors at byte %zu: tensor \"%s\" begins at byte %zu of the data, expected %zu, where the one "
          "before it ends",
          t.record, printable(t.name).text, t.offset, end);
    end = t.offset + t.bytes;
    if (end > available)
      fail(
          "qlite: safetensors at byte %zu: tensor \"%s\" ends at byte %zu of the data, expected at most %zu (the file "
          "is truncated)",
          t.record, printable(t.name).text, end, available);
  }
  if (end != available)
    fail("qlite: safetensors at byte %zu: %zu bytes follow the last tensor, expected none", file.data + end,
         available - end);
}

/// Fills everything but `map` from the bytes.
inline void parse_safetensors(safetensors_contents& file, bytes_view bytes) {
  file.bytes = bytes;
  byte_reader in("safetensors", bytes);
  const auto length = in.read<std::uint64_t>("the length of the header");
  if (length > most_safetensors_header)
    fail("qlite: safetensors at byte 0: the header has %llu bytes, expected at most %zu",
         static_cast<unsigned long long>(length), most_safetensors_header);
  const std::string_view text(reinterpret_cast<const char*>(in.here()), static_cast<std::size_t>(length));
  in.skip(text.size(), "the header");
  file.data = in.at();
  if (!is_utf8(bytes.data() + 8, text.size()))
    fail("qlite: safetensors at byte 8: the header is no valid UTF-8, expected JSON");
  if (text.empty() || text.data()[0] != '{')
    fail("qlite: safetensors at byte 8: the header does not begin with '{', expected a JSON object");

  json_reader json(text, 8, file.unescaped);
  bool described = false;
  read_json_object(json, "an object", [&](std::string_view key, std::size_t at) {
    if (compare(key, safetensors_metadata_key) != 0) {
      file.tensors.push(read_safetensors_tensor(json, key, at));
      return;
    }
    if (described) fail("qlite: safetensors at byte %zu: __metadata__ comes twice, expected once", at);
    described = true;
    read_json_object(json, "the object __metadata__", [&](std::string_view name, std::size_t where) {
      file.metadata.push({name, json.string("a string: all of __metadata__ are"), where});
    });
  });
  json.expect_end();
  file.tensors_by_name = index_by_name(
      "safetensors", "tensor", file.tensors, [](const safetensors::tensor_info& t) { return t.name; },
      [](const safetensors::tensor_info& t) { return t.record; });
  file.metadata_by_key = index_by_name(
      "safetensors", "metadata", file.metadata, [](const safetensors::metadata_entry& m) { return m.key; },
      [](const safetensors::metadata_entry& m) { return m.record; });
  check_safetensors_extents(file);
}

}    // namespace impl
QLITE_END_FUNCTIONS
