// libFuzzer's entry point for the safetensors reader: any bytes are a file that is read or refused.
#include <qlite/interop/safetensors.hpp>
#include <stdexcept>
#include <vector>

namespace safetensors = qlite::safetensors;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const safetensors::file file(qlite::bytes_view{data, size});
    for (const safetensors::tensor_info& t : file.tensors()) {
      if (file.find(t.name) != &t) __builtin_trap();
      if (!safetensors::is_readable(t.type)) continue;
      std::vector<float> values(t.elements());    // bounded by the file: a readable element takes a byte at least
      safetensors::to_float(t, file.data(t), qlite::matrix_view<float>{values.data(), t.rows(), t.cols()});
    }
    for (const safetensors::metadata_entry& m : file.metadata())
      if (file.find_metadata(m.key) != &m) __builtin_trap();
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
