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

// One way of one library to hold W. It prepares as many copies of the weights as hold `beyond_caches` bytes, and takes
// them in turn.
class peer {
 public:
  virtual ~peer() = default;
  virtual std::string library() const = 0;                  // "ggml"
  virtual std::string kind() const = 0;                     // "q4_0, repacked"
  virtual std::size_t weight_bytes() const = 0;             // of one copy
  virtual bool quantizes_inside() const { return true; }    // whether run() includes the quantization of X
  virtual bool integer() const { return true; }             // multiplies integers, not floats
  // y [m, n] = x [m, k] times the next copy, transposed. Called once before it is measured.
  virtual void run(const float* x, std::size_t m, float* y) = 0;
};

using peers = std::vector<std::unique_ptr<peer>>;

// Bytes of weights that no cache of one virtual machine holds.
inline constexpr std::size_t beyond_the_caches = std::size_t{176} << 20;
inline std::size_t copies_of(std::size_t bytes) { return beyond_the_caches / bytes + 1; }

// One a source file. Those of libraries that were not found are not called (CMakeLists.txt).
void add_qlite(peers& to, const problem& p);
void add_openblas(peers& to, const problem& p);
void add_onednn(peers& to, const problem& p);
void add_ggml(peers& to, const problem& p);

}    // namespace qlite_bench
