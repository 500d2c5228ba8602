// Which kernel multiplies, and how it cuts the work: a small table, and the type by which a caller overrides it.
#pragma once

#include <qlite/core/bits.hpp>
#include <qlite/cuda/detail/config.cuh>

QLITE_CUDA_BEGIN_NAMESPACE

enum class kernel_family : std::uint8_t {
  automatic,    ///< the table
  simple,       ///< detail/simple_kernel.cuh: any GPU
  direct,       ///< detail/direct_kernel.cuh: sm_80 and newer, few tokens
  staged,       ///< detail/staged_kernel.cuh and block_kernel.cuh: sm_80 and newer, more tokens
  hopper    ///< detail/hopper_kernel.cuh: sm_90a, more than 16 tokens; weight-only, no offsets; groups of a multiple of
            ///< 32 with float16 scales, or one group
};

/// A kernel and its cut. For a fixed choice a result is a function of the inputs alone; rows of X never influence each
/// other. `direct` with the same `warps` gives a row the same bits whatever the number of rows. A choice that no kernel
/// has, or none that takes the scheme and is in the program for the device, is cudaErrorInvalidValue.
struct kernel_choice {
  kernel_family family = kernel_family::automatic;
  /// 16-row tiles of a warp. direct: 1 or 2; staged: 4, with 16 token tiles, 4 warps and a cluster of 1, is the kernel
  /// of large blocks (for what it does not take: 8 warps of 2 row tiles), all else means 2.
  std::uint8_t row_tiles = 0;
  std::uint8_t token_tiles = 0;    ///< 8-token tiles of a block. direct: 1 or 2; staged: 4, 8 or 16; hopper: 4, 8,
                                   ///< 16 or 32
  std::uint8_t warps = 0;          ///< direct: of a block, 1 to 16. staged: along the rows of W, 1, 2, 4 or 8
  std::uint8_t cluster = 1;    ///< blocks that share K. staged on sm_90 and newer: 1, 2, 4 or 8; hopper: 1 to 8, but 1
                               ///< where token_tiles is 32
  /// Begin while the kernel ahead in the stream still runs, and read W before its writes are seen (programmatic
  /// dependent launch). So that kernel must not be the one that writes W, `pack` and `quantize` included: synchronize
  /// once after packing. On sm_90 and newer; without effect elsewhere and for the simple and the block kernel. Not part
  /// of a choice's text, nor measured by `tune`, which leaves it false.
  bool overlap = false;
};

/// What a choice is made from.
struct product_shape {
  std::size_t n = 0, k = 0, m = 0;
  int bits = 4;
  bool integer = false;    ///< INT8 activations
  int multiprocessors = 132;
  std::size_t shared_bytes = 99 * 1024;    ///< that a block may have
  bool clusters = false;                   ///< whether blocks can form clusters
  bool hopper = false;                     ///< whether the Hopper kernel can be used
  bool blocks = false;                     ///< whether the kernel of large blocks can be used
};

QLITE_CUDA_END_NAMESPACE

QLITE_CUDA_BEGIN_FUNCTIONS

namespace kernels {

/// What a cut of the staged kernel costs, in microseconds of an H100. A block takes its tiles of K one after the other,
/// each for its tokens and for work that does not depend on them (decoding, filling a stage), in units of what a warp
/// takes for one tile of W by 8 tokens; blocks come in waves. The constants fit sweeps on an H100 within about 15 %.
inline double staged_cost(const product_shape& s, const kernel_choice& c) noexcept {
  const std::size_t row_tiles = ceil_div(s.n, 16), col_tiles = ceil_div(s.k, 64), tokens = 8u * c.token_tiles;
  const std::size_t blocks = ceil_div(row_tiles, 2u * c.warps) * ceil_div(s.m, tokens) * c.cluster;
  const std::size_t along_k = 8u / c.warps;
  const std::size_t stage =
      along_k * (tokens * (s.integer ? 64 : 128) + 256u * c.warps * static_cast<unsigned>(s.bits));
  const std::size_t ring = c.token_tiles < 16 ? 4 : c.warps == 8 ? 6 : 3;
  if (ring * stage > s.shared_bytes) return 1e30;
  // Two blocks share an SM if their registers and stages fit.
  const std::size_t together = c.token_tiles == 4 && 2 * ring * stage <= s.shared_bytes ? 2 : 1;
  const auto sms = static_cast<std::size_t>(s.multiprocessors);
  if (c.cluster > 1 && blocks > sms * together) return 1e30;    // more waves need no cluster
  const std::size_t waves = ceil_div(blocks, sms * together), on_sm = blocks > sms ? together : 1;
  double tile = (s.integer ? 0.7 : 1.0) * c.token_tiles + 4.5;
  if (c.token_tiles == 16 && c.warps == 8) tile *= 0.87;    // two tiles to a barrier
  if (c.token_tiles == 4 && on_sm == 1) tile *= 1.2;        // nothing else to do while a stage is on its way
  const double tiles = static_cast<double>(ceil_div(col_tiles, along_k * c.cluster));
  const double adding = c.cluster == 1 ? 0.0 : s.integer && c.token_tiles == 16 ? 66.0 : 16.0;
  return 2.5 + 0.097 * (static_cast<double>(waves * on_sm) * tiles * tile + adding);
}

/// Of the pieces of a persistent kernel, `at_once` of which are under way at a time, those left for a last round that
/// are cut in halves instead: all that are left, if their halves fit into one round.
QLITE_INLINE std::size_t pieces_to_halve(std::size_t pieces, std::size_t at_once) noexcept {
  const std::size_t left = pieces % at_once;
  return 2 * left <= at_once ? left : 0;
}
/// Rounds that pieces take; a last one of halves counts 0.6, as measured.
inline double rounds_of(std::size_t pieces, std::size_t at_once, bool halves) noexcept {
  const auto rounds = static_cast<double>(ceil_div(pieces, at_once));
  return halves && pieces_to_halve(pieces, at_once) != 0 ? rounds - 0.4 : rounds;
}

/// The cut of the staged family that stands for the kernel of large blocks.
inline constexpr kernel_choice block_choice{kernel_family::staged, 4, 16, 4, 1};

/// What the kernel of large blocks costs: pieces of 256 rows by 128 tokens, one at a time on a multiprocessor.
inline double block_cost(const product_shape& s) noexcept {
  const std::size_t pieces = ceil_div(s.n, 256) * ceil_div(s.m, 128);
  const double tiles = static_cast<double>(ceil_div(s.k, 64));
  return 4.0 + rounds_of(pieces, static_cast<std::size_t>(s.multiprocessors), true) * (1.05 * tiles + 2.0);
}

inline constexpr unsigned hopper_token_tiles[] = {4, 8, 16, 32};
/// Blocks of a cluster that can share K. Where each has 256 tokens, that pays for no shape.
constexpr unsigned hopper_clusters(unsigned token_tiles) noexcept { return token_tiles < 32 ? 8 : 1; }

/// What a cut of the Hopper kernel costs, in the same unit: a start, and for each round of blocks its tiles of K and an
/// end, which is longer where blocks share K. INT8 activations leave so little to compute that a tile takes longer the
/// more blocks ask the memory for theirs. The constants fit sweeps on an H200 within about 8 %, and 15 % for INT8.
inline double hopper_cost(const product_shape& s, const kernel_choice& c) noexcept {
  struct costs {
    double start, end, sharing_end;    // of the launch, of a round
    double alone, busy;                // a tile, with up to half of the multiprocessors at work and with nearly all
  };
  static constexpr costs of[2][4] = {{{4.4, 0.5, 5.5, 0.24, 0.24},
                                      {4.5, 0.5, 5.5, 0.29, 0.29},
                                      {3.3, 1.7, 8.6, 0.385, 0.385},
                                      {3.4, 1.5, 1.5, 0.68, 0.68}},
                                     {{3.5, 0.5, 5.5, 0.135, 0.225},
                                      {3.5, 0.5, 5.5, 0.155, 0.25},
                                      {3.0, 1.0, 10.0, 0.19, 0.295},
                                      {3.0, 1.5, 1.5, 0.305, 0.385}}};
  // Clusters that are under way at once on the 132 multiprocessors of an H100 or H200, whose groups of 16 or 18 each
  // hold whole ones only.
  constexpr std::size_t fitting[8] = {132, 66, 39, 30, 22, 17, 15, 15};
  const auto sms = static_cast<std::size_t>(s.multiprocessors);
  std::size_t size = 0;
  while (hopper_token_tiles[size] < c.token_tiles) ++size;
  const costs& cost = of[s.integer ? 1 : 0][size];
  const std::size_t row_blocks = ceil_div(s.n, 128), token_blocks = ceil_div(s.m, 8u * c.token_tiles);
  const bool share_k = c.cluster > 1;
  const std::size_t cluster = share_k ? c.cluster : row_blocks > 1 ? 2 : 1;    // else they share tokens
  const std::size_t pieces = (share_k ? row_blocks : ceil_div(row_blocks, cluster)) * token_blocks;
  const std::size_t fit = max_of<std::size_t>(fitting[cluster - 1] * sms / 132, 1);
  const double rounds = rounds_of(pieces, fit, c.token_tiles == 32 && pieces > fit);
  const double at_work = static_cast<double>((pieces < fit ? pieces : fit) * cluster) / static_cast<double>(sms);
  const double busy = at_work <= 0.5 ? 0.0 : at_work >= 0.9 ? 1.0 : (at_work - 0.5) / 0.4;
  const double tiles = 2.0 * static_cast<double>(ceil_div(ceil_div(s.k, 128), share_k ? cluster : 1));
  const double tile = cost.alone + busy * (cost.busy - cost.alone);
  return cost.start - (share_k ? 3.0 : 0.0) + rounds * (tiles * tile + (share_k ? cost.sharing_end : cost.end));
}

}    // namespace kernels

/// The table: a fixed cut for m <= 16, so that the order of sums depends on n, k and bits alone; beyond, the cheapest
/// of a few cuts of the staged, the block and the Hopper kernel.
inline kernel_choice choose_kernel(const product_shape& s) noexcept {
  kernel_choice best;
  const std::size_t row_tiles = s.n / 16 + (s.n % 16 != 0);
  const auto sms = static_cast<std::size_t>(s.multiprocessors);
  if (s.m <= 16) {
    // Warps share K while there are too few blocks to fill the device; rows share loads of X once there are enough.
    best.family = kernel_family::direct;
    best.token_tiles = s.m <= 8 ? 1 : 2;
    best.warps = row_tiles < 3 * sms ? 16 : row_tiles < 6 * sms ? 8 : 4;
    best.row_tiles = row_tiles * 3 < 4 * sms || (s.integer && s.m <= 8) ? 1 : 2;
    return best;
  }
  double least = 1e30;
  for (const unsigned tokens : {4u, 8u, 16u})
    for (const unsigned warps : {8u, 4u, 2u, 1u})
      for (const unsigned cluster : {1u, 2u}) {
        if (cluster > 1 && !s.clusters) continue;
        kernel_choice c;
        c.family = kernel_family::staged;
        c.token_tiles = static_cast<std::uint8_t>(tokens);
        c.warps = static_cast<std::uint8_t>(warps);
        c.cluster = static_cast<std::uint8_t>(cluster);
        const double cost = kernels::staged_cost(s, c);
        if (cost < least) least = cost, best = c;
      }
  if (s.blocks && kernels::block_cost(s) < least) least = kernels::block_cost(s), best = kernels::block_choice;
  for (const unsigned tokens : kernels::hopper_token_tiles)
    for (unsigned cluster = 1; s.hopper && cluster <= kernels::hopper_clusters(tokens); ++cluster) {
      kernel_choice c;
      c.family = kernel_family::hopper;
      c.token_tiles = static_cast<std::uint8_t>(tokens);
      c.cluster = static_cast<std::uint8_t>(cluster);
      const double cost = kernels::hopper_cost(s, c);
      if (cost < least) least = cost, best = c;
    }
  if (best.family == kernel_family::automatic) {    // too little shared memory for any: few tokens at a time
    best.family = kernel_family::direct;
    best.row_tiles = 1;
    best.token_tiles = 2;
    best.warps = 8;
  }
  return best;
}

QLITE_CUDA_END_FUNCTIONS
