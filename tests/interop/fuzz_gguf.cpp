// libFuzzer's entry point for the GGUF reader: any bytes are a file that is read or refused.
#include <qlite/interop/gguf.hpp>
#include <stdexcept>
#include <vector>

namespace gguf = qlite::gguf;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const gguf::file file(qlite::bytes_view{data, size});
    volatile std::uint64_t sink = 0;
    for (const gguf::value& v : file.metadata()) {
      if (v.type == gguf::value_type::string) sink = sink + gguf::to_string(v).size();
      if (v.type == gguf::value_type::array && v.element_type == gguf::value_type::string)
        for (const std::string_view text : gguf::to_string_array(v)) sink = sink + text.size();
    }
    for (const gguf::tensor_info& t : file.tensors()) {
      if (!gguf::is_readable(t.type) || t.elements() > std::size_t{1} << 20) continue;
      std::vector<float> values(t.elements());
      gguf::to_float(t, file.data(t), qlite::matrix_view<float>{values.data(), t.rows(), t.cols()});
      try {
        if (gguf::is_quantized(t.type)) gguf::visit_import(t, file.data(t), [&](auto&& q) { sink = sink + q.bytes(); });
      } catch (const std::invalid_argument&) {    // a scale that is not finite
      }
    }
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
