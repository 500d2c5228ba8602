// What the benchmark asks of a kind of product, without a word of the library, so that each kind is compiled apart.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>

namespace qlite_bench {

struct cut {    // qlite::cuda::kernel_choice
  int family = 0, row_tiles = 0, token_tiles = 0, warps = 0, cluster = 1;
  bool overlap = false;
};

/// Weights of one shape, several copies of them, and activations of up to a number of rows, all in device memory.
class kind {
 public:
  virtual ~kind() = default;
  virtual std::size_t weight_bytes() const = 0;
  virtual int copies() const = 0;
  /// Starts the product of copy i of the weights with the first m rows of X.
  virtual cudaError_t run(std::size_t m, int i, const cut& c, cudaStream_t stream) = 0;
  /// Poisons Y, runs one product, and compares the first and last 16 rows with double; the rest is scanned for NaN.
  /// Returns ||y - exact|| / ||exact||, or NaN.
  virtual double error(std::size_t m, const cut& c, cudaStream_t stream) = 0;
};

using maker = std::unique_ptr<kind> (*)(std::size_t n, std::size_t k, std::size_t most_rows, std::size_t rotate_bytes);

#define QLITE_BENCH_KINDS(apply)                                                                          \
  apply(w4a16_g128) apply(w4a16_g32) apply(w4a16_g128_zero) apply(w4a16_g128_bf16) apply(w4a16_channel)   \
      apply(w8a16_channel) apply(w8a16_g128) apply(w8a16_channel_bf16) apply(w8a8) apply(w8a8_quantizing) \
          apply(w4a8_g128) apply(nf4_g64) apply(nl4_g32)
#define QLITE_BENCH_DECLARE(name) \
  std::unique_ptr<kind> name(std::size_t n, std::size_t k, std::size_t most_rows, std::size_t rotate_bytes);
QLITE_BENCH_KINDS(QLITE_BENCH_DECLARE)
#undef QLITE_BENCH_DECLARE

}    // namespace qlite_bench
