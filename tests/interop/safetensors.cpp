// The reader of safetensors files: what a valid file says, and that no other file does harm.
#include <algorithm>
#include <cstring>
#include <qlite/interop/safetensors.hpp>
#include <stdexcept>
#include <string>

#include "interop/gguf_bytes.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
namespace st = qlite::safetensors;

using qlite_test::refusal_of;

namespace {

std::vector<std::uint8_t> file_of(const std::string& header, const std::vector<std::uint8_t>& data = {}) {
  const std::uint64_t length = header.size();
  std::vector<std::uint8_t> bytes(8 + header.size() + data.size());
  std::memcpy(bytes.data(), &length, 8);
  std::copy(header.begin(), header.end(), bytes.begin() + 8);
  std::copy(data.begin(), data.end(), bytes.end() - static_cast<std::ptrdiff_t>(data.size()));
  return bytes;
}

ql::bytes_view view_of(const std::vector<std::uint8_t>& bytes) { return {bytes.data(), bytes.size()}; }

std::string refusal(const std::string& header, std::size_t data = 0) {
  const auto bytes = file_of(header, std::vector<std::uint8_t>(data));
  return refusal_of([&] { st::file{view_of(bytes)}; });
}

const char complete_header[] =
    "{\"__metadata__\": {\"format\":\"pt\", \"a\\u00e9\\n\": \"\\ud83d\\ude00 \\\"x\\\"\"},\n"
    " \"f32\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\t"
    "\"bf16\" : { \"shape\" : [ 2 ] , \"data_offsets\" : [ 24 , 28 ] , \"dtype\" : \"BF16\" },"
    "\"f16\":{\"dtype\":\"F16\",\"shape\":[1,2,1],\"data_offsets\":[28,32]},"
    "\"i8\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[32,35]},"
    "\"u\\u0038\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[35,37]},"
    "\"i32\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[37,41]},"
    "\"f64\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[41,49]},"
    "\"new\":{\"dtype\":\"F4_X\",\"shape\":[6],\"data_offsets\":[49,52]},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[4,0],\"data_offsets\":[52,52]}}   ";

std::vector<std::uint8_t> complete_file() {
  std::vector<std::uint8_t> data(52);
  const float f32[6] = {1.0f, -2.5f, 3.0f, 0.0f, 1e-30f, 6.0f};
  std::memcpy(data.data(), f32, 24);
  const std::uint16_t halves[4] = {0x3f80, 0xc000, 0x3c00, 0xc000};    // 1, -2 in bfloat16, then in float16
  std::memcpy(data.data() + 24, halves, 8);
  data[32] = 0x80;
  data[33] = 0xff;
  data[34] = 0x7f;
  data[35] = 0x80;
  data[36] = 0xff;
  const std::int32_t i32 = -123456;
  std::memcpy(data.data() + 37, &i32, 4);
  return file_of(complete_header, data);
}

std::vector<float> floats_of(const st::file& file, const char* name) {
  const st::tensor_info& t = file.tensor(name);
  std::vector<float> values(t.elements());
  st::to_float(t, file.data(t), ql::matrix_view<float>{values.data(), t.rows(), t.cols()});
  return values;
}

void read_everything(const std::vector<std::uint8_t>& bytes) {
  const st::file file(view_of(bytes));
  for (const st::tensor_info& t : file.tensors()) {
    if (file.find(t.name) != &t) throw std::logic_error("a tensor is not found by its name");
    if (!st::is_readable(t.type)) continue;
    std::vector<float> values(t.elements());
    st::to_float(t, file.data(t), ql::matrix_view<float>{values.data(), t.rows(), t.cols()});
  }
  for (const st::metadata_entry& m : file.metadata())
    if (file.find_metadata(m.key) != &m) throw std::logic_error("an entry is not found by its key");
}

}    // namespace

TEST_CASE("a safetensors file is read as it was written") {
  const auto bytes = complete_file();
  const st::file file(view_of(bytes));
  REQUIRE(file.tensors().size() == 9);
  CHECK(file.tensors()[0].name == "f32");
  CHECK(file.tensor("f32").rows() == 2);
  CHECK(file.tensor("f32").cols() == 3);
  CHECK(floats_of(file, "f32") == std::vector<float>{1.0f, -2.5f, 3.0f, 0.0f, 1e-30f, 6.0f});
  CHECK(floats_of(file, "bf16") == std::vector<float>{1.0f, -2.0f});
  CHECK(file.tensor("f16").rows() == 2);
  CHECK(file.tensor("f16").cols() == 1);
  CHECK(floats_of(file, "f16") == std::vector<float>{1.0f, -2.0f});
  CHECK(floats_of(file, "i8") == std::vector<float>{-128.0f, -1.0f, 127.0f});
  CHECK(floats_of(file, "u8") == std::vector<float>{128.0f, 255.0f});
  CHECK(floats_of(file, "i32") == std::vector<float>{-123456.0f});
  CHECK(floats_of(file, "none").empty());
  CHECK_THAT(refusal_of([&] { floats_of(file, "f64"); }), ContainsSubstring("F64"));
  CHECK_THAT(refusal_of([&] { floats_of(file, "new"); }), ContainsSubstring("F4_X"));
  CHECK(file.data(file.tensor("new")).size() == 3);
  CHECK(file.data(file.tensor("f32")).data() == bytes.data() + 8 + sizeof complete_header - 1);

  float row[3] = {};
  st::rows_to_float(file.tensor("f32"), file.data(file.tensor("f32")), 1, ql::matrix_view<float>{row, 1, 3});
  CHECK(row[2] == 6.0f);
  CHECK_THAT(
      refusal_of([&] {
        st::rows_to_float(file.tensor("f32"), file.data(file.tensor("f32")), 2, ql::matrix_view<float>{row, 1, 3});
      }),
      ContainsSubstring("rows 2 to 3"));

  REQUIRE(file.metadata().size() == 2);
  REQUIRE(file.find_metadata("format") != nullptr);
  CHECK(file.find_metadata("format")->value == "pt");
  REQUIRE(file.find_metadata("a\xc3\xa9\n") != nullptr);
  CHECK(file.find_metadata("a\xc3\xa9\n")->value == "\xf0\x9f\x98\x80 \"x\"");
  CHECK(file.find_metadata("none") == nullptr);
  CHECK(file.find("nothing") == nullptr);
  CHECK_THAT(refusal_of([&] { file.tensor("nothing"); }), ContainsSubstring("nothing"));

  CHECK(refusal("{}").empty());
  CHECK(refusal("{\"__metadata__\":{}}").empty());
}

TEST_CASE("a truncated safetensors file is refused, wherever it ends") {
  const auto whole = complete_file();
  std::size_t accepted = 0, unnamed = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::uint8_t> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const std::string message = refusal_of([&] { st::file{view_of(part)}; });
    accepted += static_cast<std::size_t>(message.empty());
    unnamed += static_cast<std::size_t>(message.find("byte") == std::string::npos);
  }
  CHECK(accepted == 0);
  CHECK(unnamed == 0);
}

TEST_CASE("a safetensors file with any byte changed is read or refused, never worse") {
  const auto whole = complete_file();
  std::size_t refused = 0, read = 0;
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (int value = 0; value < 256; ++value) {
      auto bytes = whole;
      bytes[at] = static_cast<std::uint8_t>(value);
      try {
        read_everything(bytes);
        ++read;
      } catch (const std::invalid_argument&) {
        ++refused;
      }
    }
  CHECK(refused > 0);
  CHECK(read > 0);
}

TEST_CASE("safetensors headers that are no strict JSON are refused") {
  const auto tensor = [](const std::string& body, std::size_t data = 4) {
    return refusal("{\"t\":" + body + "}", data);
  };
  CHECK(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}").empty());
  const char* const bad_headers[] = {
      "",
      " {}",
      "[]",
      "{",
      "{}{}",
      "{}x",
      "{,}",
      "{\"t\"}",
      "{\"t\":}",
      "{\"t\":null}",
      "{\"t\":{}}",
      "{\"t\":[]}",
      "{t:{}}",
      "{\"__metadata__\":{\"a\":1}}",
      "{\"__metadata__\":{\"a\":\"b\",}}",
      "{\"__metadata__\":{\"a\":\"b\"},\"__metadata__\":{}}",
      "{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}",
      "{\"__metadata__\":{\"a\":\"b\n\"}}",
      "{\"__metadata__\":{\"a\":\"\\x\"}}",
      "{\"__metadata__\":{\"a\":\"\\u12g4\"}}",
      "{\"__metadata__\":{\"a\":\"\\ud800\"}}",
      "{\"__metadata__\":{\"a\":\"\\ud800\\u0041\"}}",
      "{\"__metadata__\":{\"a\":\"\\udc00\"}}",
      "{\"__metadata__\":{\"a\":\"\\",
      "{\"__metadata__\":{\"a\":\"\\u",
      "{\"__metadata__\":{\"a\":\"\xff\"}}",
      "{\"__metadata__\":{\"a\":\"\xc0\x80\"}}",
      "{\"__metadata__\":{\"a\":\"\xed\xa0\x80\"}}",
      "{\"__metadata__\":{\"a\":\"\xf4\x90\x80\x80\"}}",
      "{\"__metadata__\":{\"a\":\"\xe2\x82\"}}",
      "{} // no comments",
  };
  for (const char* header : bad_headers) {
    CAPTURE(header);
    CHECK_THAT(refusal(header), ContainsSubstring("byte"));
  }
  const char* const bad_tensors[] = {
      "{\"dtype\":\"F32\",\"shape\":[1]}",
      "{\"dtype\":\"F32\",\"data_offsets\":[0,4]}",
      "{\"shape\":[1],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}",
      "{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[1,],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551616]}",
      "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551615]}",
      "{\"dtype\":\"F32\",\"shape\":[18446744073709551615,2],\"data_offsets\":[0,4]}",
      "{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}",
      "{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}",
  };
  for (const char* body : bad_tensors) {
    CAPTURE(body);
    CHECK_THAT(tensor(body), ContainsSubstring("byte"));
  }
}

TEST_CASE("safetensors offsets that overlap, leave gaps or leave the file are refused") {
  const auto two = [](const char* a, const char* b, std::size_t data) {
    return refusal(std::string("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":") + a +
                       "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + b + "}}",
                   data);
  };
  CHECK(two("[0,4]", "[4,8]", 8).empty());
  CHECK(two("[4,8]", "[0,4]", 8).empty());
  CHECK_THAT(two("[0,4]", "[3,7]", 8), ContainsSubstring("expected 4"));
  CHECK_THAT(two("[0,4]", "[5,9]", 9), ContainsSubstring("expected 4"));
  CHECK_THAT(two("[0,4]", "[0,4]", 8), ContainsSubstring("expected 4"));
  CHECK_THAT(two("[0,4]", "[4,8]", 7), ContainsSubstring("truncated"));
  CHECK_THAT(two("[0,4]", "[4,8]", 9), ContainsSubstring("1 bytes follow"));
  CHECK_THAT(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                     2),
             ContainsSubstring("also at byte"));
}

TEST_CASE("a safetensors header longer than the file or the limit is refused") {
  std::vector<std::uint8_t> bytes(16, ' ');
  const auto with_length = [&](std::uint64_t length) {
    std::memcpy(bytes.data(), &length, 8);
    return refusal_of([&] { st::file{view_of(bytes)}; });
  };
  CHECK_THAT(with_length(9), ContainsSubstring("byte 8"));
  CHECK_THAT(with_length(100000001), ContainsSubstring("100000001"));
  CHECK_THAT(with_length(~std::uint64_t{0}), ContainsSubstring("18446744073709551615"));
  CHECK_THAT(refusal_of([] { st::file{"qlite_test_no_such.safetensors"}; }), ContainsSubstring("no_such"));
}
