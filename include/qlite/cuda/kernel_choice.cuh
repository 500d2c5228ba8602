// Which kernel multiplies, and how it cuts the work: a small table, and the type by which a caller overrides it.
#pragma once

#include <qlite/cuda/detail/config.cuh>

QLITE_CUDA_BEGIN_NAMESPACE

enum class kernel_family : std::uint8_t {
  automatic,    ///< the table
  simple,       ///< detail/simple_kernel.cuh: any GPU
  direct,       ///< detail/direct_kernel.cuh: sm_80 and newer, few tokens
  staged        ///< detail/staged_kernel.cuh: sm_80 and newer, more tokens
};

/// A kernel and its cut. For a fixed choice a result is a function of the inputs alone; rows of X never influence each
/// other. `direct` with the same `warps` gives a row the same bits whatever the number of rows.
struct kernel_choice {
  kernel_family family = kernel_family::automatic;
  std::uint8_t row_tiles = 0;      ///< direct: 16-row tiles of a warp, 1 or 2
  std::uint8_t token_tiles = 0;    ///< 8-token tiles of a block. direct: 1 or 2; staged: 4, 8 or 16
  std::uint8_t warps = 0;          ///< direct: of a block, 1 to 16. staged: along the rows of W, 1, 2, 4 or 8
  std::uint8_t cluster = 1;        ///< staged, sm_90 and newer: blocks that share K, 1, 2, 4 or 8
};

/// What a choice is made from.
struct product_shape {
  std::size_t n = 0, k = 0, m = 0;
  int bits = 4;
  bool integer = false;    ///< INT8 activations
  int multiprocessors = 132;
  std::size_t shared_bytes = 99 * 1024;    ///< that a block may have
  bool clusters = false;                   ///< whether blocks can form clusters
};

QLITE_CUDA_END_NAMESPACE

QLITE_CUDA_BEGIN_FUNCTIONS

/// The table. docs/cuda.md says what it was measured on. For m <= 16 the order of sums depends on n, k and bits alone.
inline kernel_choice choose_kernel(const product_shape& s) noexcept {
  kernel_choice c;
  const std::size_t row_tiles = s.n / 16 + (s.n % 16 != 0);
  const auto blocks_of = [&](std::size_t warps, std::size_t tokens) {
    return (row_tiles + 2 * warps - 1) / (2 * warps) * ((s.m + tokens - 1) / tokens);
  };
  const auto sms = static_cast<std::size_t>(s.multiprocessors);
  if (s.m <= 16) {
    // Warps share K while there are too few blocks to fill the device; rows share loads of X once there are enough.
    c.family = kernel_family::direct;
    c.token_tiles = s.m <= 8 ? 1 : 2;
    c.warps = row_tiles < 3 * sms ? 16 : row_tiles < 6 * sms ? 8 : 4;
    c.row_tiles = row_tiles * 3 < 4 * sms ? 1 : 2;
    if (s.integer && c.token_tiles == 1) c.row_tiles = 1;
    if (c.token_tiles == 2 && c.warps <= 8 && s.bits == 4 && !s.integer) c.row_tiles = 4;
    return c;
  }
  c.family = kernel_family::staged;
  c.token_tiles = s.m <= 32 ? 4 : s.m <= 64 ? 8 : 16;
  if (s.m <= 128 && blocks_of(8, 128) * 2 < sms && c.token_tiles == 16) c.token_tiles = 8;
  const std::size_t tokens = 8u * c.token_tiles;
  // Tall blocks, each in a cluster of two along K if that still fits the device once; else fewer rows a block.
  c.warps = 8;
  while (c.warps > 1 && blocks_of(c.warps, tokens) * (s.clusters ? 2 : 1) * 10 < 8 * sms)
    c.warps = static_cast<std::uint8_t>(c.warps / 2);
  if (s.clusters && blocks_of(c.warps, tokens) * 2 <= sms + sms / 8) c.cluster = 2;
  return c;
}

QLITE_CUDA_END_FUNCTIONS
