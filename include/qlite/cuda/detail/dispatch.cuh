// From a choice to a launch.
#pragma once

#include <qlite/cuda/detail/block_kernel.cuh>
#include <qlite/cuda/detail/direct_kernel.cuh>
#include <qlite/cuda/detail/hopper_kernel.cuh>
#include <qlite/cuda/detail/simple_kernel.cuh>
#include <qlite/cuda/detail/staged_kernel.cuh>
#include <qlite/cuda/detail/tensor_map.cuh>
#include <qlite/cuda/kernel_choice.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// Tiles that a warp of the direct kernel has under way. Four were no faster: what is under way in all warps counts.
inline constexpr int direct_depth = 2;

/// The architecture that the code which the device at hand runs for a kernel was compiled for, 10 major + minor. Below
/// 80 the bodies of the tensor-core kernels are empty, below 90 there are no clusters.
template <class Kernel>
inline cudaError_t compiled_for(Kernel kernel, int& architecture) noexcept {
  cudaFuncAttributes attributes{};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel);
  architecture = attributes.ptxVersion;
  return status == cudaErrorInvalidDeviceFunction ? cudaErrorNoKernelImageForDevice : status;
}

template <class Math, int Bits, bool Sums, span_kind Span, bool Plain, class Out>
struct launcher {
  const weights& w;
  inputs x;
  const Out& out;
  cudaStream_t stream;

  cudaError_t simple() const noexcept {
    const std::size_t warps = std::size_t{out.rows} * out.columns;
    return launch(simple_kernel<Math, Bits, Span == span_kind::whole, Out>, blocks_for(32 * warps), 256, 0, stream, w,
                  x, out);
  }

  template <int RowTiles, int TokenTiles>
  cudaError_t direct(unsigned warps) const noexcept {
    constexpr std::uint32_t rows = 16 * RowTiles, tokens = 8 * TokenTiles;
    const std::uint32_t row_blocks = (w.row_tiles + RowTiles - 1) / RowTiles;
    const std::size_t blocks = std::size_t{row_blocks} * ((out.rows + tokens - 1) / tokens);
    return launch_in_form({1, x.late},
                          direct_kernel<Math, Bits, Sums, Span, Plain, RowTiles, TokenTiles, direct_depth, Out>, blocks,
                          32 * warps, warps * tokens * (rows + 4) * sizeof(float), stream, w, x, out, row_blocks);
  }

  template <int TokenTiles, int Depth = 1>
  cudaError_t staged(std::uint32_t warps_n, unsigned cluster, std::size_t shared_limit) const noexcept {
    constexpr int row_tiles = 2;
    constexpr std::uint32_t tokens = 8 * TokenTiles;
    std::size_t shared = staged_bytes<Math, Bits, row_tiles, TokenTiles, Depth>(warps_n);
    while (shared > shared_limit && warps_n < staged_warps)    // fewer warps along K need less
      shared = staged_bytes<Math, Bits, row_tiles, TokenTiles, Depth>(warps_n *= 2);
    if (shared > shared_limit) {
      if constexpr (Depth > 1)
        return staged<TokenTiles>(warps_n, cluster, shared_limit);
      else if constexpr (TokenTiles > 4)
        return staged<TokenTiles / 2>(warps_n, cluster, shared_limit);
      else
        return direct<1, 2>(8);
    }
    const std::uint32_t row_blocks = (w.row_tiles + warps_n * row_tiles - 1) / (warps_n * row_tiles);
    const std::size_t blocks = std::size_t{row_blocks} * ((out.rows + tokens - 1) / tokens);
    return launch_in_form({cluster, x.late},
                          staged_kernel<Math, Bits, Sums, Span, Plain, row_tiles, TokenTiles, Depth, Out>,
                          cluster * blocks, 32 * staged_warps, shared, stream, w, x, out, row_blocks, warps_n, cluster);
  }

  /// Whether the kernel of large blocks takes this kind of product.
  static constexpr bool for_blocks =
      Plain && !Sums && !Math::has_book && !Math::is_integer && (Span == span_kind::whole || Span == span_kind::tile);
  bool blocks_take(std::size_t shared_limit) const noexcept {
    return for_blocks && w.cols != 0 && block_ring_bytes<Bits> <= shared_limit;
  }
  cudaError_t blocks(std::size_t shared_limit, int multiprocessors) const noexcept {
    constexpr std::size_t with_sums = block_ring_bytes<Bits> + block_sum_bytes;
    block_cut cut{};
    cut.row_blocks = (w.row_tiles + block_row_tiles - 1) / block_row_tiles;
    cut.token_blocks = (out.rows + block_tokens - 1) / block_tokens;
    cut.sums_at = with_sums <= shared_limit ? block_ring_bytes<Bits> : 0;
    const std::size_t pieces = std::size_t{cut.row_blocks} * cut.token_blocks;
    if (pieces > 0x7fffffffu) return cudaErrorInvalidValue;
    const auto at_once = static_cast<std::size_t>(multiprocessors);
    const std::size_t left = pieces_to_halve(pieces, at_once);
    cut.wide = static_cast<std::uint32_t>(pieces - left);
    cut.pieces = static_cast<std::uint32_t>(pieces + left);
    return launch(block_kernel<Math, Bits, Span, Out>, cut.sums_at == 0 || cut.pieces < at_once ? cut.pieces : at_once,
                  block_threads, cut.sums_at == 0 ? block_ring_bytes<Bits> : with_sums, stream, w, x, out, cut);
  }

  /// Whether the Hopper kernel takes this kind of product, wherever it is compiled.
  static constexpr bool for_hopper =
      !Sums && !Math::has_book && (!Math::is_integer || (Bits == 8 && Span == span_kind::whole));
  bool hopper_takes() const noexcept {
    if (!for_hopper || w.cols == 0 || w.groups == 0 || x.row_bytes >> 40 != 0) return false;
    return Span == span_kind::whole || ((w.group % 32 == 0 || w.groups == 1) && !w.wide_scales);
  }

  template <int TokenTiles>
  cudaError_t hopper(unsigned cluster, int multiprocessors) const noexcept {
    const auto kernel = hopper_kernel<Math, Bits, Span, Plain, TokenTiles, Out>;
    constexpr std::uint32_t tile_rows_of_64 = 2 * Bits;    // rows of 64 bytes of a tile
    hopper_cut cut{};
    const std::uint32_t row_blocks = (w.row_tiles + hopper_row_tiles - 1) / hopper_row_tiles;
    cut.share_k = cluster > 1;
    if (cluster < 1 || cluster > hopper_clusters(TokenTiles)) return cudaErrorInvalidValue;
    cut.cluster = cut.share_k ? cluster : row_blocks > 1 ? 2 : 1;
    cut.row_units = cut.share_k ? row_blocks : (row_blocks + cut.cluster - 1) / cut.cluster;
    cut.token_blocks = (out.rows + 8 * TokenTiles - 1) / (8 * TokenTiles);
    const std::size_t pieces = std::size_t{cut.row_units} * cut.token_blocks;
    if (pieces > 0x7fffffffu) return cudaErrorInvalidValue;
    const std::size_t at_once = max_of<std::size_t>(static_cast<std::size_t>(multiprocessors) / cut.cluster, 1);
    const std::size_t clusters = cut.share_k || pieces < at_once ? pieces : at_once;
    constexpr bool halves = hopper_halves<TokenTiles>;
    const std::size_t left = halves ? pieces_to_halve(pieces, clusters) : 0;
    cut.wide = static_cast<std::uint32_t>(pieces - left);
    cut.pieces = static_cast<std::uint32_t>(pieces + left);
    CUtensorMap x_map, x_half_map, code_map;
    using memory = hopper_memory<Math, Bits, TokenTiles>;
    boxed_matrices activations{}, codes{};
    activations.data = x.data;
    activations.type = Math::is_integer ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_UINT16;
    activations.cols = x.cols;
    activations.rows = x.rows;
    activations.matrices = 1;
    activations.row_bytes = x.rows > 1 ? x.row_bytes : std::size_t{x.cols} * sizeof(typename Math::element);
    activations.box_cols = 64;
    activations.box_rows = 8 * TokenTiles / (cut.share_k ? 1 : cut.cluster);
    activations.box_matrices = 1;
    activations.swizzle = Math::row_bytes == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B;
    codes.data = w.codes;
    codes.type = CU_TENSOR_MAP_DATA_TYPE_UINT64;
    codes.cols = codes.box_cols = 8;
    codes.rows = std::size_t{w.col_tiles} * tile_rows_of_64;
    codes.matrices = w.row_tiles;
    codes.row_bytes = 64;
    codes.matrix_bytes = 64 * codes.rows;
    codes.box_rows = tile_rows_of_64;
    codes.box_matrices = hopper_row_tiles;
    codes.swizzle = CU_TENSOR_MAP_SWIZZLE_64B;
    QLITE_CUDA_RETURN_IF_ERROR(make_tensor_map(activations, x_map));
    if (halves) activations.box_rows /= 2;
    QLITE_CUDA_RETURN_IF_ERROR(make_tensor_map(activations, x_half_map));
    QLITE_CUDA_RETURN_IF_ERROR(make_tensor_map(codes, code_map));
    return launch_in_form({cut.cluster, x.late}, kernel, clusters * cut.cluster, hopper_threads, memory::bytes, stream,
                          w, x, out, x_map, x_half_map, code_map, cut);
  }

  cudaError_t run(kernel_choice c) noexcept {
    // Longer integer sums would overflow; they are rare enough to be left to the simple kernel.
    if (Math::is_integer && Span == span_kind::whole && w.cols > 65536) return simple();
    if (c.family == kernel_family::simple) return simple();
    int architecture = 0;
    QLITE_CUDA_RETURN_IF_ERROR(
        compiled_for(direct_kernel<Math, Bits, Sums, Span, Plain, 1, 1, direct_depth, Out>, architecture));
    x.late = x.late && architecture >= 90;    // in code that can wait
    const bool tensor = architecture >= 80;
    int device = 0, multiprocessors = 0, shared = 0;
    QLITE_CUDA_RETURN_IF_ERROR(cudaGetDevice(&device));
    QLITE_CUDA_RETURN_IF_ERROR(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    QLITE_CUDA_RETURN_IF_ERROR(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    bool on_hopper = false;
    if constexpr (for_hopper) {
      if (hopper_takes() && architecture >= 90) {
        cudaFuncAttributes attributes{};
        QLITE_CUDA_RETURN_IF_ERROR(cudaFuncGetAttributes(&attributes, hopper_kernel<Math, Bits, Span, Plain, 16, Out>));
        on_hopper = attributes.maxThreadsPerBlock >= static_cast<int>(hopper_threads);
      }
    }
    if (c.family == kernel_family::automatic) {
      if (!tensor) return simple();
      product_shape shape;
      shape.n = w.rows;
      shape.k = w.cols;
      shape.m = out.rows;
      shape.bits = Bits;
      shape.integer = Math::is_integer;
      shape.multiprocessors = multiprocessors;
      shape.shared_bytes = static_cast<std::size_t>(shared);
      shape.clusters = architecture >= 90;
      shape.hopper = on_hopper;
      shape.blocks = blocks_take(static_cast<std::size_t>(shared));
      c = choose_kernel(shape);
    } else if (!tensor) {
      return cudaErrorNoKernelImageForDevice;
    }
    if (c.family == kernel_family::direct) {
      if (c.warps < 1 || c.warps > 16) return cudaErrorInvalidValue;
      switch (10 * c.row_tiles + c.token_tiles) {
        case 11:
          return direct<1, 1>(c.warps);
        case 12:
          return direct<1, 2>(c.warps);
        case 21:
          return direct<2, 1>(c.warps);
        case 22:
          return direct<2, 2>(c.warps);
        default:
          return cudaErrorInvalidValue;
      }
    }
    if constexpr (for_hopper) {
      if (c.family == kernel_family::hopper) {
        if (!on_hopper) return cudaErrorInvalidValue;
        switch (c.token_tiles) {
          case 4:
            return hopper<4>(c.cluster, multiprocessors);
          case 8:
            return hopper<8>(c.cluster, multiprocessors);
          case 16:
            return hopper<16>(c.cluster, multiprocessors);
          case 32:
            return hopper<32>(c.cluster, multiprocessors);
          default:
            return cudaErrorInvalidValue;
        }
      }
    }
    if (c.family != kernel_family::staged) return cudaErrorInvalidValue;
    if (c.row_tiles == 4) {
      if (c.token_tiles != 16 || c.warps != 4 || c.cluster != 1) return cudaErrorInvalidValue;
      if constexpr (for_blocks)
        if (blocks_take(static_cast<std::size_t>(shared)))
          return blocks(static_cast<std::size_t>(shared), multiprocessors);
      c.warps = 8;
    }
    if (c.cluster != 1 && (architecture < 90 || (c.cluster != 2 && c.cluster != 4 && c.cluster != 8)))
      return cudaErrorInvalidValue;
    if (c.warps != 1 && c.warps != 2 && c.warps != 4 && c.warps != 8) return cudaErrorInvalidValue;
    switch (c.token_tiles) {
      case 4:
        return staged<4>(c.warps, c.cluster, static_cast<std::size_t>(shared));
      case 8:
        return staged<8>(c.warps, c.cluster, static_cast<std::size_t>(shared));
      case 16:
        return c.warps == 8 ? staged<16, 2>(c.warps, c.cluster, static_cast<std::size_t>(shared))
                            : staged<16>(c.warps, c.cluster, static_cast<std::size_t>(shared));
      default:
        return cudaErrorInvalidValue;
    }
  }
};

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
