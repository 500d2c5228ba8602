// A library that multiplies activations with quantized weights, as the comparison sees it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace qlite_bench {

// W [n, k] and the most rows of X that are asked for.
struct problem {
  std::size_t n, k, most_rows, threads;
  const float* w;
};

// What is compared with what: bits a weight, and how many of them share a scale. INT8 activations unless it says else.
enum class family { int4_small_groups, int4_large_groups, int8_groups, int8_channel, floats, bfloat16s };

inline const char* name_of(family f) {
  switch (f) {
    case family::int4_small_groups:
      return "4 bits, a scale for 16 to 32 weights";
    case family::int4_large_groups:
      return "4 bits, a scale for 128 weights or a row";
    case family::int8_groups:
      return "8 bits, a scale for 32 to 128 weights";
    case family::int8_channel:
      return "8 bits, a scale for a row";
    case family::floats:
      return "float activations";
    case family::bfloat16s:
      break;
  }
  return "bfloat16 activations";
}

// One way of one library to hold W. It prepares as many copies of the weights as hold `beyond_the_caches` bytes, and
// takes them in turn.
class peer {
 public:
  virtual ~peer() = default;
  virtual std::string library() const = 0;    // "ggml"
  virtual std::string kind() const = 0;       // "q4_0, repacked"
  virtual family group() const = 0;
  virtual std::size_t weight_bytes() const = 0;             // of one copy
  virtual bool quantizes_inside() const { return true; }    // whether run() includes the conversion of X
  // y [m, n] = x [m, k] times the next copy, transposed. Called once before it is measured.
  virtual void run(const float* x, std::size_t m, float* y) = 0;

  // Whether the calling thread is one of those that work; if not, as many others do, and look for more work after a
  // call.
  virtual bool caller_works() const { return true; }
};

using peers = std::vector<std::unique_ptr<peer>>;

// Bytes of weights that no cache of one virtual machine holds.
inline constexpr std::size_t beyond_the_caches = std::size_t{176} << 20;
inline std::size_t copies_of(std::size_t bytes) { return beyond_the_caches / bytes + 1; }

// One a source file; `versions` is told what was found. Those of absent libraries are not called (CMakeLists.txt).
void add_qlite(peers& to, const problem& p, std::vector<std::string>& versions);
void add_openblas(peers& to, const problem& p, std::vector<std::string>& versions);
void add_onednn(peers& to, const problem& p, std::vector<std::string>& versions);
void add_onnxruntime(peers& to, const problem& p, std::vector<std::string>& versions);
void add_ggml(peers& to, const problem& p, std::vector<std::string>& versions);

}    // namespace qlite_bench
