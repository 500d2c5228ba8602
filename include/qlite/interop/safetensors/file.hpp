// A safetensors file: its tensors, and rows of them as floats.
#pragma once

#include <qlite/interop/float_rows.hpp>
#include <qlite/interop/safetensors/parse.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

inline const safetensors::tensor_info* find_safetensors_tensor(const safetensors_contents& file,
                                                               std::string_view name) {
  return find_by_name(file.tensors, file.tensors_by_name, name,
                      [](const safetensors::tensor_info& t) { return t.name; });
}

inline const safetensors::tensor_info& require_safetensors_tensor(const safetensors_contents& file,
                                                                  std::string_view name) {
  const safetensors::tensor_info* t = find_safetensors_tensor(file, name);
  if (t == nullptr)
    fail("qlite: safetensors has no tensor \"%s\", expected a tensor of that name", printable(name).text);
  return *t;
}

inline const safetensors::metadata_entry* find_safetensors_metadata(const safetensors_contents& file,
                                                                    std::string_view key) {
  return find_by_name(file.metadata, file.metadata_by_key, key,
                      [](const safetensors::metadata_entry& m) { return m.key; });
}

/// Bounds are checked again: the record may come from another file.
inline bytes_view safetensors_data(const safetensors_contents& file, const safetensors::tensor_info& t) {
  const std::size_t available = file.bytes.size() - file.data;
  if (t.offset > available || t.bytes > available - t.offset)
    fail("qlite: tensor \"%s\" takes bytes %zu to %zu, expected a tensor of this safetensors file (%zu bytes of data)",
         printable(t.name).text, t.offset, t.offset + t.bytes, available);
  if (t.bytes == 0) return {};
  return {file.bytes.data() + file.data + t.offset, t.bytes};
}

}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE
namespace safetensors {

/// A safetensors file. Opening reads and checks the header (strict JSON, names, shapes, offsets that cover the data
/// exactly); the tensors' data stay where they are. Movable, not copyable; reading from several threads is safe.
/// Errors name the byte of the file and what was expected there.
class file {
 public:
  QLITE_INLINE file() noexcept = default;
  /// Maps a file into memory. Error: it cannot be read, or is no valid safetensors file.
  QLITE_INLINE explicit file(const char* path) {
    contents_.map = mapped_file(path);
    impl::parse_safetensors(contents_, contents_.map.bytes());
  }
  /// Reads from memory, which must outlive the file and everything it returns.
  QLITE_INLINE explicit file(bytes_view bytes) { impl::parse_safetensors(contents_, bytes); }
  QLITE_INLINE file(file&&) noexcept = default;
  QLITE_INLINE file& operator=(file&&) noexcept = default;
  QLITE_INLINE ~file() = default;

  /// The whole file.
  QLITE_INLINE bytes_view bytes() const noexcept { return contents_.bytes; }
  /// All tensors in the order of the header.
  QLITE_INLINE detail::record_range<tensor_info> tensors() const noexcept {
    return {contents_.tensors.begin(), contents_.tensors.size()};
  }
  /// O(log n); null if there is none.
  QLITE_INLINE const tensor_info* find(std::string_view name) const {
    return impl::find_safetensors_tensor(contents_, name);
  }
  /// Error: no tensor has that name.
  QLITE_INLINE const tensor_info& tensor(std::string_view name) const {
    return impl::require_safetensors_tensor(contents_, name);
  }
  /// The bytes of a tensor of this file, row-major, at any alignment.
  QLITE_INLINE bytes_view data(const tensor_info& t) const { return impl::safetensors_data(contents_, t); }

  /// All of __metadata__ in the order of the header.
  QLITE_INLINE detail::record_range<metadata_entry> metadata() const noexcept {
    return {contents_.metadata.begin(), contents_.metadata.size()};
  }
  /// O(log n); null if there is none.
  QLITE_INLINE const metadata_entry* find_metadata(std::string_view key) const {
    return impl::find_safetensors_metadata(contents_, key);
  }

 private:
  detail::safetensors_contents contents_;
};

inline namespace QLITE_FLAG_SET {

/// Whether to_float and rows_to_float read tensors of this type.
inline bool is_readable(element_type type) { return type <= element_type::i32; }

/// Rows first_row ... first_row + out.rows() - 1 of a tensor into out [rows, info.cols()], of any row stride. `bytes`
/// are the whole tensor: `file.data(info)`. Exact but for i32, which is rounded to the nearest float.
///
/// Errors: a type that qlite does not read, rows outside the tensor, another number of columns or bytes.
inline void rows_to_float(const tensor_info& info, bytes_view bytes, std::size_t first_row, matrix_view<float> out) {
  impl::check_matrix("out", out);
  impl::check_equal("columns of out", out.cols(), "columns of the tensor", info.cols());
  impl::check_equal("bytes", bytes.size(), "bytes of the tensor", info.bytes);
  impl::check_rows(detail::printable(info.name).text, first_row, out.rows(), info.rows());
  if (!is_readable(info.type))
    impl::fail("qlite: tensor \"%s\" is %s, expected F32, F16, BF16, I8, U8 or I32", detail::printable(info.name).text,
               detail::printable(info.type_name).text);
  if (out.empty()) return;
  const auto each_row = [&](auto element) {
    const std::size_t row_bytes = out.cols() * sizeof element;
    for (std::size_t r = 0; r < out.rows(); ++r)
      impl::load_row<decltype(element)>(bytes.data() + (first_row + r) * row_bytes, out.cols(), out.row(r));
  };
  switch (info.type) {
    case element_type::f32:
      return each_row(float{});
    case element_type::f16:
      return each_row(float16{});
    case element_type::bf16:
      return each_row(bfloat16{});
    case element_type::i8:
      return each_row(std::int8_t{});
    case element_type::u8:
      return each_row(std::uint8_t{});
    default:
      return each_row(std::int32_t{});
  }
}

/// A whole tensor into out [info.rows(), info.cols()]. As rows_to_float.
inline void to_float(const tensor_info& info, bytes_view bytes, matrix_view<float> out) {
  impl::check_equal("rows of out", out.rows(), "rows of the tensor", info.rows());
  rows_to_float(info, bytes, 0, out);
}

}    // namespace QLITE_FLAG_SET
}    // namespace safetensors
QLITE_END_NAMESPACE
