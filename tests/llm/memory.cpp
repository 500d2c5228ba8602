// Loading must not need more memory than the file, the weights that it makes, and a little.
#include <sys/resource.h>

#include <fstream>

#include "oracle.hpp"
#include "transformer.hpp"

using namespace llm_test;

namespace {

// A figure of /proc/self/status in bytes; 0 where there is none.
std::size_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.compare(0, key.size(), key) == 0) return std::stoul(line.substr(key.size())) * 1024;
  return 0;
}

// Sets the peak to what is in use now; false where Linux does not let us.
bool reset_peak() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5";
  clear.close();
  return !clear.fail() && status_bytes("VmHWM:") != 0;
}

}    // namespace

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LLM_TEST_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LLM_TEST_SANITIZED
#endif

TEST_CASE("peak memory of loading stays below the file, the packed weights and 20 MB") {
#if defined(LLM_TEST_SANITIZED)
  WARN("skipped: the address sanitizer keeps freed memory and shadows all of it");
  return;
#endif
  // 100 MB is what a real model may take; here everything is smaller, and so is the allowance.
  llm::model_config c = tiny_config();
  c.layers = 4;
  c.width = 512;
  c.ffn_width = 1536;
  c.heads = 8;
  c.head_dim = 64;
  c.vocabulary = 50000;    // the embedding alone is 102 MB as floats, 26 MB as INT8 codes
  const temporary_folder folder;
  {
    gguf_options options;
    options.tokenizer = false;
    write_gguf(make_tiny_model(1, c), folder / "model.gguf", options);
  }
  llm::executor threads(2);
  for (const char* precision : {"int4", "int8", "bf16", "fp32"}) {
    if (!reset_peak()) {
      WARN("skipped: the peak cannot be reset here");
      return;
    }
    const std::size_t before = status_bytes("VmRSS:");
    const auto file = llm::open_model(folder / "model.gguf");
    std::size_t steps = 0;
    const llm::transformer engine(file, {llm::parse_format(precision, {}), llm::parse_format(precision, {})}, threads,
                                  [&](std::size_t done, std::size_t total) {
                                    CHECK(done == steps++);
                                    CHECK(total == c.layers + 1);
                                  });
    const std::size_t peak = status_bytes("VmHWM:") - before;
    CAPTURE(precision, before, peak, file->bytes(), engine.bytes());
    CHECK(steps == c.layers + 2);
    CHECK(peak < file->bytes() + engine.bytes() + (std::size_t{20} << 20));
    CHECK(peak > engine.bytes() / 2);    // it was measured
  }
}
