// The reader of GGUF files: what a valid file says, and that no other file does harm.
#include <cstdio>
#include <qlite/interop/gguf.hpp>
#include <stdexcept>
#include <string>

#include "interop/gguf_bytes.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using qlite_test::gguf_bytes;

using qlite_test::refusal_of;

namespace {

ql::bytes_view view_of(const std::vector<std::uint8_t>& bytes) { return {bytes.data(), bytes.size()}; }

// Every value type, an array of each kind, four tensors of different types.
gguf_bytes complete_file(std::uint32_t version = 3) {
  qlite_test::random_source random(7);
  gguf_bytes f;
  f.head(version, 4, 17);
  f.key("a.u8", 0).put<std::uint8_t>(200);
  f.key("a.i8", 1).put<std::int8_t>(-100);
  f.key("a.u16", 2).put<std::uint16_t>(60000);
  f.key("a.i16", 3).put<std::int16_t>(-30000);
  f.key("a.u32", 4).put<std::uint32_t>(4000000000u);
  f.key("a.i32", 5).put<std::int32_t>(-2000000000);
  f.key("a.f32", 6).put(0.1f);
  f.key("a.bool", 7).put<std::uint8_t>(1);
  f.key("a.string", 8).text("a \"string\"");
  f.key("a.u64", 10).put<std::uint64_t>(~std::uint64_t{0});
  f.key("a.i64", 11).put<std::int64_t>(-1);
  f.key("a.f64", 12).put(0.1);
  f.array("b.strings", 8, 3).text("one").text("").text("three");
  f.array("b.floats", 6, 2).put(1.5f).put(-2.5f);
  f.array("b.ints", 5, 3).put(7).put(-8).put(9);
  f.array("b.bools", 7, 2).put<std::uint8_t>(0).put<std::uint8_t>(1);
  f.array("b.empty", 10, 0);
  f.tensor("norm", {5}, 0, 0);                // F32, 20 bytes
  f.tensor("half", {3, 2}, 1, 32);            // F16, 12 bytes
  f.tensor("q8", {64, 3}, 8, 64);             // Q8_0, 204 bytes
  f.tensor("cube", {2, 3, 4, 2}, 30, 288);    // BF16, 96 bytes
  f.pad(32);
  for (int i = 0; i < 5; ++i) f.put(static_cast<float>(i) + 0.25f);
  f.pad(32);
  for (int i = 0; i < 6; ++i) f.put(static_cast<std::uint16_t>(0x3c00 + i));
  f.pad(32).data(qlite_test::random_bytes(random, 204)).pad(32).data(qlite_test::random_bytes(random, 96));
  return f;
}

// The message of the error that opening the bytes gives; empty if there is none.
std::string refusal(const std::vector<std::uint8_t>& bytes) {
  return refusal_of([&] { ql::gguf::file{view_of(bytes)}; });
}

// Reads everything that a file offers: under a sanitizer this finds any byte beyond it.
std::size_t read_everything(const ql::gguf::file& file) {
  std::size_t sum = 0;
  for (const ql::gguf::value& v : file.metadata()) {
    sum += static_cast<std::size_t>(file.find_value(v.key) == &v);
    const auto read = [&](auto&& get) { refusal_of([&] { sum += static_cast<std::size_t>(get() != 0); }); };
    read([&] { return ql::gguf::to_u64(v); });
    read([&] { return ql::gguf::to_i64(v); });
    read([&] { return ql::gguf::to_f64(v); });
    read([&] { return ql::gguf::to_bool(v); });
    const auto add = [&](std::string_view text) {
      for (const char c : text) sum += static_cast<unsigned char>(c);
    };
    refusal_of([&] { add(ql::gguf::to_string(v)); });
    refusal_of([&] {
      for (const std::string_view text : ql::gguf::to_string_array(v)) add(text);
    });
    refusal_of([&] {
      const auto numbers = ql::gguf::to_number_array(v);
      for (std::size_t i = 0; i < numbers.size(); ++i) sum += static_cast<std::size_t>(numbers.f64(i) != 0);
    });
  }
  for (const ql::gguf::tensor_info& t : file.tensors()) {
    sum += static_cast<std::size_t>(file.find(t.name) == &t);
    const ql::bytes_view data = file.data(t);
    for (std::size_t i = 0; i < data.size(); ++i) sum += data.data()[i];
    if (t.elements() > 100000) continue;    // zero-sized blocks aside, elements are bounded by the file
    std::vector<float> values(t.elements());
    refusal_of([&] { ql::gguf::to_float(t, data, ql::matrix_view<float>{values.data(), t.rows(), t.cols()}); });
    refusal_of([&] { ql::gguf::visit_import(t, data, [&](auto&& q) { sum += q.bytes(); }); });
  }
  return sum;
}

}    // namespace

TEST_CASE("a GGUF file of version 2 or 3 is read as it was written") {
  for (const std::uint32_t version : {2u, 3u}) {
    const gguf_bytes bytes = complete_file(version);
    const ql::gguf::file file(view_of(bytes.bytes));
    CHECK(file.version() == version);
    CHECK(file.alignment() == 32);
    CHECK(file.metadata().size() == 17);

    CHECK(file.get_u64("a.u8") == 200);
    CHECK(file.get_i64("a.i8") == -100);
    CHECK(file.get_u64("a.u16") == 60000);
    CHECK(file.get_i64("a.i16") == -30000);
    CHECK(file.get_u64("a.u32") == 4000000000u);
    CHECK(file.get_i64("a.i32") == -2000000000);
    CHECK(file.get_f64("a.f32") == static_cast<double>(0.1f));
    CHECK(file.get_bool("a.bool"));
    CHECK(file.get_string("a.string") == "a \"string\"");
    CHECK(file.get_u64("a.u64") == ~std::uint64_t{0});
    CHECK(file.get_i64("a.i64") == -1);
    CHECK(file.get_f64("a.f64") == 0.1);
    CHECK(file.get_f64("a.i16") == -30000.0);

    const auto strings = file.get_string_array("b.strings");
    CHECK(strings.size() == 3);
    CHECK(std::vector<std::string>(strings.begin(), strings.end()) == std::vector<std::string>{"one", "", "three"});
    const auto floats = file.get_number_array("b.floats");
    REQUIRE(floats.size() == 2);
    CHECK(floats.f64(0) == 1.5);
    CHECK(floats.f64(1) == -2.5);
    const auto ints = file.get_number_array("b.ints");
    REQUIRE(ints.size() == 3);
    CHECK(ints.i64(1) == -8);
    CHECK(ints.u64(2) == 9);
    CHECK(file.get_number_array("b.empty").size() == 0);

    REQUIRE(file.tensors().size() == 4);
    const ql::gguf::tensor_info& norm = file.tensor("norm");
    CHECK(norm.rows() == 1);
    CHECK(norm.cols() == 5);
    std::vector<float> row(5);
    ql::gguf::to_float(norm, file.data(norm), ql::matrix_view<float>{row.data(), 1, 5});
    CHECK(row == std::vector<float>{0.25f, 1.25f, 2.25f, 3.25f, 4.25f});

    const ql::gguf::tensor_info* half = file.find("half");
    REQUIRE(half != nullptr);
    CHECK(half->type == ql::gguf::tensor_type::f16);
    std::vector<float> last(3);
    ql::gguf::rows_to_float(*half, file.data(*half), 1, ql::matrix_view<float>{last.data(), 1, 3});
    CHECK(last == std::vector<float>{1.0f + 3 / 1024.0f, 1.0f + 4 / 1024.0f, 1.0f + 5 / 1024.0f});

    const ql::gguf::tensor_info& cube = file.tensor("cube");
    CHECK(cube.rows() == 24);
    CHECK(cube.cols() == 2);
    CHECK(cube.bytes == 96);
    CHECK(file.data(cube).data() + 96 == bytes.bytes.data() + bytes.bytes.size());
    CHECK(file.find("nothing") == nullptr);
    CHECK(file.find_value("a") == nullptr);
  }
}

TEST_CASE("metadata of another type or range is refused by name") {
  const gguf_bytes bytes = complete_file();
  const ql::gguf::file file(view_of(bytes.bytes));
  CHECK_THAT(refusal_of([&] { file.get_u64("a.none"); }), ContainsSubstring("a.none"));
  CHECK_THAT(refusal_of([&] { file.tensor("none"); }), ContainsSubstring("none"));
  CHECK_THAT(refusal_of([&] { file.get_u64("a.i8"); }), ContainsSubstring("-100"));
  CHECK_THAT(refusal_of([&] { file.get_i64("a.u64"); }), ContainsSubstring("18446744073709551615"));
  CHECK_THAT(refusal_of([&] { file.get_u64("a.f32"); }), ContainsSubstring("float32"));
  CHECK_THAT(refusal_of([&] { file.get_f64("a.string"); }), ContainsSubstring("string"));
  CHECK_THAT(refusal_of([&] { file.get_bool("a.u8"); }), ContainsSubstring("uint8"));
  CHECK_THAT(refusal_of([&] { file.get_string("a.u8"); }), ContainsSubstring("uint8"));
  CHECK_THAT(refusal_of([&] { file.get_string_array("b.ints"); }), ContainsSubstring("array of int32"));
  CHECK_THAT(refusal_of([&] { file.get_number_array("b.strings"); }), ContainsSubstring("array of string"));
  CHECK_THAT(refusal_of([&] { file.get_number_array("b.bools"); }), ContainsSubstring("array of bool"));
  CHECK_THAT(refusal_of([&] { file.get_number_array("b.ints").i64(3); }), ContainsSubstring("3"));

  CHECK(file.get_u64_or("a.u8", 1) == 200);
  CHECK(file.get_u64_or("a.none", 1) == 1);
  CHECK(file.get_i64_or("a.none", -1) == -1);
  CHECK(file.get_f64_or("a.none", 0.5) == 0.5);
  CHECK(file.get_bool_or("a.none", true));
  CHECK(file.get_string_or("a.none", "x") == "x");
  CHECK_THAT(refusal_of([&] { file.get_u64_or("a.string", 1); }), ContainsSubstring("a.string"));
}

TEST_CASE("a truncated GGUF file is refused, wherever it ends") {
  const gguf_bytes whole = complete_file();
  CHECK(refusal(whole.bytes).empty());
  std::size_t accepted = 0, unnamed = 0;
  for (std::size_t size = 0; size < whole.bytes.size(); ++size) {
    // A copy of its own, so that a sanitizer knows where the file ends.
    const std::string message = refusal({whole.bytes.begin(), whole.bytes.begin() + static_cast<std::ptrdiff_t>(size)});
    accepted += static_cast<std::size_t>(message.empty());
    unnamed += static_cast<std::size_t>(message.find("byte") == std::string::npos);
  }
  CHECK(accepted == 0);
  CHECK(unnamed == 0);
}

TEST_CASE("a GGUF file with any byte changed is read or refused, never worse") {
  const gguf_bytes whole = complete_file();
  qlite_test::random_source random(3);
  std::size_t refused = 0, read = 0;
  for (std::size_t at = 0; at < whole.bytes.size(); ++at)
    for (int change = 0; change < 12; ++change) {
      std::vector<std::uint8_t> bytes = whole.bytes;
      const auto flip = change < 8 ? 1 << change : change == 8 ? 0xff : static_cast<int>(random.bits() % 255) + 1;
      bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ flip);
      try {
        const ql::gguf::file file(view_of(bytes));
        static_cast<void>(read_everything(file));
        ++read;
      } catch (const std::invalid_argument&) {
        ++refused;
      }
    }
  CHECK(refused > 0);
  CHECK(read > 0);
}

TEST_CASE("hostile GGUF heads are refused with their offset") {
  const std::uint64_t huge = ~std::uint64_t{0};
  CHECK_THAT(refusal({}), ContainsSubstring("byte 0"));
  CHECK_THAT(refusal(gguf_bytes{}.put(0x46554746u).bytes), ContainsSubstring("0x46554746"));
  CHECK_THAT(refusal(gguf_bytes{}.head(1, 0, 0).bytes), ContainsSubstring("version is 1"));
  CHECK_THAT(refusal(gguf_bytes{}.head(0x03000000, 0, 0).bytes), ContainsSubstring("big-endian"));
  CHECK(refusal(gguf_bytes{}.head(3, 0, 0).bytes).empty());

  // Counts that no file of this size can hold: refused before anything is allocated.
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, huge).bytes), ContainsSubstring("byte 24"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, huge, 0).bytes), ContainsSubstring("byte 24"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, std::uint64_t{1} << 40).bytes), ContainsSubstring("1099511627776"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).put(huge).put(huge).bytes), ContainsSubstring("a metadata key"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).key("k", 8).put(huge).bytes), ContainsSubstring("byte"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).array("k", 12, huge).bytes), ContainsSubstring("a metadata value"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).array("k", 12, (huge >> 3) + 2).put(0.0).bytes),
             ContainsSubstring("a metadata value"));    // times 8 it would be 8
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).array("k", 8, huge).bytes), ContainsSubstring("an array of strings"));

  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).key("k", 13).put(huge).bytes), ContainsSubstring("type 13"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).array("k", 9, 0).bytes), ContainsSubstring("array of arrays"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).array("k", 77, 0).bytes), ContainsSubstring("type 77"));
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).key("k", 7).put<std::uint8_t>(2).bytes), ContainsSubstring("bool"));
  CHECK_THAT(
      refusal(
          gguf_bytes{}.head(3, 0, 2).key("twice", 0).put<std::uint8_t>(1).key("twice", 0).put<std::uint8_t>(1).bytes),
      ContainsSubstring("twice"));

  const auto with_alignment = [](std::uint32_t alignment) {
    return refusal(gguf_bytes{}.head(3, 0, 1).key("general.alignment", 4).put(alignment).bytes);
  };
  CHECK_THAT(with_alignment(0), ContainsSubstring("alignment is 0"));
  CHECK_THAT(with_alignment(12), ContainsSubstring("alignment is 12"));
  CHECK(with_alignment(8).empty());
  CHECK(with_alignment(0xfffffff8u).empty());    // no tensors: nothing has to follow
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).key("general.alignment", 10).put<std::uint64_t>(32).bytes),
             ContainsSubstring("uint32"));

  // A name that a terminal would obey is printed harmlessly.
  CHECK_THAT(refusal(gguf_bytes{}.head(3, 0, 1).key("\x1b[2J", 13).put(huge).bytes), ContainsSubstring("\"?[2J\""));
}

TEST_CASE("hostile GGUF tensors are refused with their offset") {
  const auto one = [](const std::vector<std::uint64_t>& extents, std::uint32_t type, std::uint64_t offset,
                      std::size_t data) {
    return refusal(gguf_bytes{}
                       .head(3, 1, 0)
                       .tensor("t", extents, type, offset)
                       .pad(32)
                       .data(std::vector<std::uint8_t>(data))
                       .bytes);
  };
  const std::uint64_t huge = ~std::uint64_t{0};
  CHECK(one({4, 2}, 0, 0, 32).empty());
  CHECK(one({}, 0, 0, 4).empty());    // a scalar
  CHECK(one({0, 2}, 0, 0, 0).empty());
  CHECK_THAT(one({4, 2}, 0, 0, 31), ContainsSubstring("bytes 0 to 32"));
  CHECK_THAT(one({4, 2}, 0, 32, 32), ContainsSubstring("bytes 32 to 64"));
  CHECK_THAT(one({4, 2}, 0, 8, 64), ContainsSubstring("offset 8"));
  CHECK_THAT(one({4, 2}, 0, huge - 31, 64), ContainsSubstring("offset 18446744073709551584"));
  CHECK_THAT(one({4, 2}, 0, huge / 2 - 31, 64), ContainsSubstring("data section"));
  CHECK_THAT(one({huge, 2}, 0, 0, 32), ContainsSubstring("18446744073709551615"));
  CHECK_THAT(one({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0, 0, 32), ContainsSubstring("address space"));
  CHECK_THAT(one({0, huge, huge}, 0, 0, 32), ContainsSubstring("address space"));
  CHECK_THAT(one({1, 1, 1, 1, 1}, 0, 0, 32), ContainsSubstring("5 dimensions"));
  CHECK_THAT(one({32}, 4, 0, 32), ContainsSubstring("type 4"));      // removed from the format
  CHECK_THAT(one({32}, 31, 0, 32), ContainsSubstring("type 31"));    // likewise
  CHECK_THAT(one({32}, 1000, 0, 32), ContainsSubstring("type 1000"));
  CHECK_THAT(one({33}, 2, 0, 64), ContainsSubstring("33"));
  CHECK_THAT(one({128}, 12, 0, 144), ContainsSubstring("256"));

  const auto two = [](std::uint64_t first, std::uint64_t second, const char* name) {
    return refusal(gguf_bytes{}
                       .head(3, 2, 0)
                       .tensor("t", {16}, 0, first)
                       .tensor(name, {16}, 0, second)
                       .pad(32)
                       .data(std::vector<std::uint8_t>(256))
                       .bytes);
  };
  CHECK(two(0, 64, "u").empty());
  CHECK(two(64, 0, "u").empty());
  CHECK_THAT(two(0, 32, "u"), ContainsSubstring("\"u\""));
  CHECK_THAT(two(32, 0, "u"), ContainsSubstring("\"t\""));
  CHECK_THAT(two(0, 0, "u"), ContainsSubstring("ends"));
  CHECK_THAT(two(0, 64, "t"), ContainsSubstring("also at byte"));
}

TEST_CASE("many records are found, whatever their order") {
  qlite_test::random_source random(11);
  const std::size_t count = 3000;
  gguf_bytes f;
  f.head(3, 0, count);
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) {
    keys.push_back(std::to_string(random.bits() % 1000) + "." + std::to_string(i));
    f.key(keys.back(), 4).put(static_cast<std::uint32_t>(i));
  }
  const ql::gguf::file file(view_of(f.bytes));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < count; ++i) wrong += static_cast<std::size_t>(file.get_u64(keys[i]) != i);
  CHECK(wrong == 0);
}

TEST_CASE("a file written by gguf::writer reads back, from a path and from memory") {
  qlite_test::random_source random(5);
  for (const std::uint32_t alignment : {32u, 64u, 8u}) {
    const auto q4 = qlite_test::random_bytes(random, 3 * 2 * 18);
    const std::vector<float> norm{1.0f, 2.0f, 3.0f};
    const std::vector<std::string> tokens{"a", "", "ccc"};
    const std::vector<std::int32_t> types{1, -2, 3};
    ql::gguf::writer out(alignment);
    out.add("general.architecture", "llama");
    out.add("llama.block_count", 2u);
    out.add("rope", 10000.0f);
    out.add("flag", true);
    out.add_strings("tokens", tokens);
    out.add_array("types", types.data(), types.size());
    out.add_tensor("norm", ql::gguf::tensor_type::f32, {3}, {norm.data(), norm.size() * sizeof(float)});
    out.add_tensor("w", ql::gguf::tensor_type::q4_0, {64, 3}, view_of(q4));
    out.add_tensor("none", ql::gguf::tensor_type::f32, {0}, {});

    const char* const path = "qlite_test_writer.gguf";
    out.write(path);
    std::vector<std::uint8_t> bytes;
    out.write_to([&](const void* data, std::size_t size) {
      const auto* first = static_cast<const std::uint8_t*>(data);
      bytes.insert(bytes.end(), first, first + size);
    });

    ql::gguf::file from_memory(view_of(bytes));
    ql::gguf::file from_path(path);
    REQUIRE(from_path.bytes().size() == bytes.size());
    CHECK(std::memcmp(from_path.bytes().data(), bytes.data(), bytes.size()) == 0);

    ql::gguf::file moved = std::move(from_memory);
    for (const ql::gguf::file* file : {&moved, &from_path}) {
      CHECK(file->alignment() == alignment);
      CHECK(file->get_string("general.architecture") == "llama");
      CHECK(file->get_u64("llama.block_count") == 2);
      CHECK(file->get_f64("rope") == 10000.0);
      CHECK(file->get_bool("flag"));
      const auto strings = file->get_string_array("tokens");
      CHECK(std::vector<std::string>(strings.begin(), strings.end()) == tokens);
      CHECK(file->get_number_array("types").i64(1) == -2);
      const ql::bytes_view w = file->data(file->tensor("w"));
      REQUIRE(w.size() == q4.size());
      CHECK(std::memcmp(w.data(), q4.data(), q4.size()) == 0);
      CHECK(file->data(file->tensor("none")).size() == 0);
    }
    std::remove(path);
  }
}

TEST_CASE("gguf::writer refuses what its reader would") {
  const std::vector<float> values(8);
  const ql::bytes_view data{values.data(), 32};
  ql::gguf::writer out;
  CHECK_THAT(refusal_of([&] { out.add_tensor("t", ql::gguf::tensor_type::f32, {9}, data); }),
             ContainsSubstring("expected 36"));
  CHECK_THAT(refusal_of([&] { ql::gguf::writer{}.add_tensor("t", ql::gguf::tensor_type::q4_0, {31}, data); }),
             ContainsSubstring("multiple of 32"));
  CHECK_THAT(refusal_of([] { ql::gguf::writer{20}; }), ContainsSubstring("20"));

  ql::gguf::writer twice;
  twice.add_tensor("t", ql::gguf::tensor_type::f32, {8}, data);
  twice.add_tensor("t", ql::gguf::tensor_type::f32, {8}, data);
  CHECK_THAT(refusal_of([&] { twice.write("qlite_test_never_written.gguf"); }), ContainsSubstring("also at"));
  std::FILE* const never = std::fopen("qlite_test_never_written.gguf", "rb");
  CHECK(never == nullptr);
  if (never != nullptr) std::fclose(never);

  CHECK_THAT(refusal_of([] { ql::gguf::writer{}.write("no/such/folder/x.gguf"); }),
             ContainsSubstring("no/such/folder"));
}

TEST_CASE("files that cannot be read are refused by path") {
  CHECK_THAT(refusal_of([] { ql::gguf::file("qlite_test_no_such.gguf"); }),
             ContainsSubstring("qlite_test_no_such.gguf"));
  CHECK_THAT(refusal_of([] { ql::gguf::file("."); }), ContainsSubstring("\".\""));
  CHECK_THAT(refusal_of([] { ql::gguf::file(static_cast<const char*>(nullptr)); }), ContainsSubstring("null"));
  const char* const path = "qlite_test_empty.gguf";
  std::fclose(std::fopen(path, "wb"));
  CHECK_THAT(refusal_of([&] { ql::gguf::file{path}; }), ContainsSubstring("byte 0"));
  std::remove(path);
}
