// What a model will take in memory, before anything is allocated: by part, exact to the byte, beside 16-bit floats.
#pragma once

#include <qlite/core/scheme_info.hpp>
#include <qlite/pack/layout.hpp>

QLITE_BEGIN_NAMESPACE

/// Bytes of a weight matrix, or of several, by part.
struct weight_memory {
  std::size_t codes = 0;
  std::size_t scales = 0;
  std::size_t zero_points = 0;
  std::size_t offsets = 0;
  std::size_t padding = 0;    ///< rows, groups and headers filled up to what the layout asks for

  QLITE_INLINE constexpr weight_memory() noexcept = default;
  QLITE_INLINE constexpr std::size_t total() const noexcept { return codes + scales + zero_points + offsets + padding; }
  QLITE_INLINE constexpr weight_memory& operator+=(const weight_memory& other) noexcept {
    codes += other.codes;
    scales += other.scales;
    zero_points += other.zero_points;
    offsets += other.offsets;
    padding += other.padding;
    return *this;
  }
};

namespace detail {

QLITE_INLINE constexpr std::size_t bytes_of(real_kind kind) noexcept {
  return kind == real_kind::float32 ? 4 : kind == real_kind::float16 ? 2 : 0;
}

/// The numbers of a scheme that sizes depend on.
struct scheme_sizes {
  std::size_t group, groups, scale_bytes, offset_bytes;
  bool nibbles, zeros;

  QLITE_INLINE constexpr scheme_sizes(const scheme_info& info, std::size_t cols) noexcept
      : group(info.granularity == granularity_kind::per_group ? info.group_size : max_of<std::size_t>(cols, 1)),
        groups(cols == 0 || group == 0 ? 0 : ceil_div(cols, group)),
        scale_bytes(bytes_of(info.scale)),
        offset_bytes(bytes_of(info.offset)),
        nibbles(info.bits == 4),
        zeros(!info.symmetric && info.offset == real_kind::none) {}
};

}    // namespace detail

/// A [rows, cols] matrix in the canonical form: what a file holds (without padding), or a `quantized_matrix` allocates
/// (with it: each of its arrays begins on a cache line). The group size of `info` is at least 1.
QLITE_INLINE constexpr weight_memory canonical_memory(const scheme_info& info, std::size_t rows, std::size_t cols,
                                                      bool allocated = false) noexcept {
  const detail::scheme_sizes s(info, cols);
  const std::size_t scale_rows = info.granularity == granularity_kind::per_tensor ? 1 : rows;
  weight_memory m;
  m.codes = rows * (s.nibbles ? cols / 2 + cols % 2 : cols);
  m.scales = scale_rows * s.groups * s.scale_bytes;
  m.offsets = scale_rows * s.groups * s.offset_bytes;
  if (s.zeros) m.zero_points = scale_rows * (s.nibbles ? s.groups / 2 + s.groups % 2 : s.groups);
  if (allocated && m.total() != 0) {
    const std::size_t arrays[] = {m.codes, m.scales, m.zero_points, m.offsets};
    for (const std::size_t bytes : arrays) m.padding += detail::round_up(bytes, detail::cache_line) - bytes;
    m.padding += detail::cache_line - 1;    // the carver's allowance for an allocation of any alignment
  }
  return m;
}

/// The same matrix packed for `Backend`: what `pack` allocates and a product reads. Scales are counted once for each
/// row (as they are stored, per_tensor too), zero points as a byte each.
template <class Backend>
QLITE_INLINE constexpr weight_memory packed_memory(const scheme_info& info, std::size_t rows,
                                                   std::size_t cols) noexcept {
  const detail::scheme_sizes s(info, cols);
  const detail::strip_shape shape =
      detail::make_strip_shape(rows, cols, s.group, info.bits, Backend::k_unit, s.scale_bytes, s.zeros, s.offset_bytes);
  weight_memory m;
  m.codes = rows * (s.nibbles ? cols / 2 + cols % 2 : cols);
  m.scales = rows * s.groups * s.scale_bytes;
  m.offsets = rows * s.groups * s.offset_bytes;
  if (s.zeros) m.zero_points = rows * s.groups;
  m.padding = shape.bytes() - m.total();
  return m;
}

/// The same for schemes that are types.
template <class Scheme>
QLITE_INLINE constexpr weight_memory canonical_memory(std::size_t rows, std::size_t cols, Scheme scheme = {},
                                                      bool allocated = false) noexcept {
  return canonical_memory(info_of(scheme), rows, cols, allocated);
}
/// The same for schemes that are types.
template <class Scheme, class Backend>
QLITE_INLINE constexpr weight_memory packed_memory(std::size_t rows, std::size_t cols, Scheme scheme = {}) noexcept {
  return packed_memory<Backend>(info_of(scheme), rows, cols);
}

/// The keys and values that attention keeps of each position of a text.
struct kv_cache_shape {
  std::size_t layers = 0;
  std::size_t kv_heads = 0;    ///< of each layer
  std::size_t head_dim = 0;
  std::size_t element_bits = 16;          ///< of a stored number: 32, 16, 8 or 4
  std::size_t head_overhead_bytes = 0;    ///< for each stored vector of a head: its scale, say

  QLITE_INLINE constexpr kv_cache_shape() noexcept = default;
  QLITE_INLINE constexpr kv_cache_shape(std::size_t layer_count, std::size_t heads, std::size_t dim,
                                        std::size_t bits = 16, std::size_t overhead = 0) noexcept
      : layers(layer_count), kv_heads(heads), head_dim(dim), element_bits(bits), head_overhead_bytes(overhead) {}

  /// A key and a value of every head of every layer.
  QLITE_INLINE constexpr std::size_t bytes_per_token() const noexcept {
    return 2 * layers * kv_heads * (detail::ceil_div(head_dim * element_bits, 8) + head_overhead_bytes);
  }
};

/// The memory of a model: add its matrices, then read the parts. constexpr throughout.
///
///     constexpr auto plan = [] {
///       memory_plan p;
///       for (int layer = 0; layer < 32; ++layer) p.add<cpu::avx2>(w4, 4096, 4096);
///       p.kv = {32, 8, 128};
///       return p;
///     }();
///     static_assert(plan.total(4096) < plan.float16_total(4096));
class memory_plan {
 public:
  QLITE_INLINE constexpr memory_plan() noexcept = default;

  /// A matrix packed for Backend.
  template <class Backend>
  QLITE_INLINE constexpr void add(const scheme_info& info, std::size_t rows, std::size_t cols) noexcept {
    quantized_ += packed_memory<Backend>(info, rows, cols);
    quantized_weights_ += rows * cols;
  }
  /// Numbers that stay floats of `bytes` each: norms, biases, embeddings, layers that are not quantized.
  QLITE_INLINE constexpr void add_floats(std::size_t count, std::size_t bytes = 2) noexcept {
    floats_ += count * bytes;
    float_weights_ += count;
  }
  /// Scratch of a product (gemm_workspace_bytes, planned_workspace_bytes). Products that follow each other share it, so
  /// the largest counts.
  QLITE_INLINE constexpr void add_workspace(std::size_t bytes) noexcept {
    workspace_ = detail::max_of(workspace_, bytes);
  }

  kv_cache_shape kv;    ///< of the texts that run at once: the same for every precision of the weights, unless said

  /// Quantized matrices, by part.
  QLITE_INLINE constexpr const weight_memory& quantized() const noexcept { return quantized_; }
  QLITE_INLINE constexpr std::size_t floats() const noexcept { return floats_; }
  QLITE_INLINE constexpr std::size_t workspace() const noexcept { return workspace_; }
  /// All weights, quantized or not; and how many there are.
  QLITE_INLINE constexpr std::size_t weight_bytes() const noexcept { return quantized_.total() + floats_; }
  QLITE_INLINE constexpr std::size_t weight_count() const noexcept { return quantized_weights_ + float_weights_; }
  /// Weights, workspace and the cache of `tokens` positions.
  QLITE_INLINE constexpr std::size_t total(std::size_t tokens) const noexcept {
    return weight_bytes() + workspace_ + tokens * kv.bytes_per_token();
  }
  /// The same model with every weight and cached number as float16, without a workspace.
  QLITE_INLINE constexpr std::size_t float16_total(std::size_t tokens) const noexcept {
    return 2 * weight_count() + tokens * kv_cache_shape(kv.layers, kv.kv_heads, kv.head_dim).bytes_per_token();
  }

 private:
  weight_memory quantized_;
  std::size_t quantized_weights_ = 0, float_weights_ = 0, floats_ = 0, workspace_ = 0;
};

QLITE_END_NAMESPACE
