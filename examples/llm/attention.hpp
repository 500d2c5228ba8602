// Causal grouped-query attention (Ainslie et al., 2023) over cached keys and values.
#pragma once

#include <qlite/core/view.hpp>
#include <vector>

#include "config.hpp"
#include "executor.hpp"
#include "memory.hpp"
#include "simd.hpp"

namespace llm {

/// Keys and values of the positions seen so far, as float or bfloat16, for all layers.
///
/// Both lie in panels (simd.hpp), so that attention is made of the same products as the linear layers, S being 1 for
/// float and 2 for bfloat16:
/// keys    [layer][kv head][position / panel][head_dim / S][position % panel][S]
/// values  [layer][kv head][element / panel][position / S][element % panel][S]
template <class T>
class kv_cache {
 public:
  kv_cache(const model_config& config, std::size_t capacity);

  std::size_t capacity() const { return capacity_; }
  std::size_t bytes() const { return (keys_.size() + values_.size()) * sizeof(T); }
  /// Stores one position of a layer; key and value are [kv_heads * head_dim].
  void store(std::size_t layer, std::size_t position, const float* key, const float* value);
  const T* keys(std::size_t layer, std::size_t head, std::size_t key_panel) const {
    return key_panel_at(layer, head, key_panel);
  }
  const T* values(std::size_t layer, std::size_t head, std::size_t value_panel) const {
    return value_panel_at(layer, head, value_panel);
  }

 private:
  static constexpr std::size_t step = sizeof(float) / sizeof(T);
  T* key_panel_at(std::size_t layer, std::size_t head, std::size_t index) const {
    return keys_.data() + ((layer * kv_heads_ + head) * padded_capacity_ + index * panel) * head_dim_;
  }
  T* value_panel_at(std::size_t layer, std::size_t head, std::size_t index) const {
    return values_.data() + ((layer * kv_heads_ + head) * padded_dim_ + index * panel) * padded_capacity_;
  }

  std::size_t kv_heads_, head_dim_, capacity_, padded_capacity_, padded_dim_;
  array<T> keys_, values_;
};

/// The softmax(Q K^T / sqrt(head_dim)) V of every query, which sees its own position and those before it. With a cache
/// of bfloat16, queries and weights of positions are rounded too where the processor has products of bfloat16.
template <class T>
class attention {
 public:
  attention(const model_config& config, std::size_t capacity, std::size_t tasks);

  /// queries and out: [m, heads * head_dim] of the positions first ... first + m - 1, whose keys and values are stored.
  void apply(const kv_cache<T>& cache, std::size_t layer, std::size_t first, qlite::matrix_view<const float> queries,
             qlite::matrix_view<float> out, executor& threads);

 private:
  template <std::size_t R>
  void attend_tile(const kv_cache<T>& cache, std::size_t layer, std::size_t head, std::size_t first,
                   std::size_t first_row, qlite::matrix_view<const float> queries, qlite::matrix_view<float> out,
                   float* scratch) const;

  std::size_t group_, head_dim_, kv_heads_, score_stride_;
  float scale_;                          // of scores, as powers of 2
  std::vector<array<float>> scratch_;    // per task: a tile of queries, then its scores
};

/// Rotary position embeddings of the positions 0 ... capacity - 1.
class rotary_embedding {
 public:
  rotary_embedding(const model_config& config, std::size_t capacity);
  /// Turns `heads` consecutive heads at `data` to a position.
  void apply(float* data, std::size_t heads, std::size_t position) const;

 private:
  template <std::size_t Step>
  void turn(float* data, std::size_t heads, std::size_t position, std::size_t between) const;

  rope_pairs pairs_;
  std::size_t head_dim_;
  std::vector<float> cos_, sin_;    // [capacity][head_dim / 2]
};

}    // namespace llm
