#include "attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace llm {
namespace {

std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Asks for memory that will be read soon. Any address does.
template <class T>
void prefetch(const T* p, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 64 / sizeof(T)) __builtin_prefetch(p + i);
}

/// Scores become 2^(scale (score - maximum)); returns the sum. `count` is a multiple of the lanes. As weights of
/// bfloat16 values they take the place of the first half.
template <class T>
float exponentiate(float* scores, std::size_t count, float maximum, float scale) {
  vec sum(0.0f);
  for (std::size_t i = 0; i < count; i += lanes) {
    const vec e = exp2_of_negative((load(scores + i) - vec(maximum)) * vec(scale));
    store(e, reinterpret_cast<a_element<T>*>(scores) + i);
    sum += e;
  }
  return sum_of(sum);
}

/// 0, 1, 2 ...
vec lane_numbers() {
  float numbers[lanes];
  for (std::size_t i = 0; i < lanes; ++i) numbers[i] = static_cast<float>(i);
  return load(numbers);
}

}    // namespace

template <class T>
kv_cache<T>::kv_cache(const model_config& config, std::size_t capacity)
    : kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      capacity_(capacity),
      padded_capacity_(round_up(capacity, panel)),
      padded_dim_(round_up(config.head_dim, panel)),
      keys_(config.layers * kv_heads_ * head_dim_ * padded_capacity_),
      values_(config.layers * kv_heads_ * padded_dim_ * padded_capacity_) {
  // Products read whole panels; what they make of the padding is not used, but it should be numbers.
  std::memset(static_cast<void*>(keys_.data()), 0, keys_.size() * sizeof(T));
  std::memset(static_cast<void*>(values_.data()), 0, values_.size() * sizeof(T));
}

template <class T>
void kv_cache<T>::store(std::size_t layer, std::size_t position, const float* key, const float* value) {
  // Rounded a panel at a time, then spread: element d of a key, and of a value, is a step of others away from the next.
  T rounded[panel];
  for (std::size_t h = 0; h < kv_heads_; ++h) {
    T* const k = key_panel_at(layer, h, position / panel) + position % panel * step;
    for (std::size_t d = 0; d < head_dim_; d += panel) {
      const std::size_t count = std::min(panel, head_dim_ - d);
      convert(key + h * head_dim_ + d, count, rounded);
      for (std::size_t i = 0; i < count; i += step) std::copy_n(rounded + i, step, k + (d + i) * panel);
      convert(value + h * head_dim_ + d, count, rounded);
      T* const v = value_panel_at(layer, h, d / panel) + position / step * panel * step + position % step;
      for (std::size_t i = 0; i < count; ++i) v[i * step] = rounded[i];
    }
  }
}

template <class T>
attention<T>::attention(const model_config& config, std::size_t capacity, std::size_t tasks)
    : group_(config.heads / config.kv_heads),
      head_dim_(config.head_dim),
      kv_heads_(config.kv_heads),
      // Not a multiple of 4 KiB, or the rows of a tile would share a few sets of the cache.
      score_stride_(round_up(capacity, panel) + lanes),
      scale_(1.44269504f / std::sqrt(static_cast<float>(config.head_dim))) {
  for (std::size_t t = 0; t < tasks; ++t) scratch_.emplace_back(tile_rows * (head_dim_ + score_stride_));
}

template <class T>
template <std::size_t R>
void attention<T>::attend_tile(const kv_cache<T>& cache, std::size_t layer, std::size_t head, std::size_t first,
                               std::size_t first_row, qlite::matrix_view<const float> queries,
                               qlite::matrix_view<float> out, float* scratch) const {
  // Rows of a tile are the queries that share this key-value head: all of one token, then those of the next.
  std::size_t token[R], column[R];
  for (std::size_t r = 0; r < R; ++r) {
    token[r] = (first_row + r) / group_;
    column[r] = (head * group_ + (first_row + r) % group_) * head_dim_;
  }
  const std::size_t positions = first + token[R - 1] + 1;
  const std::size_t padded = round_up(positions, panel);

  auto* const q = reinterpret_cast<a_element<T>*>(scratch);    // [R][head_dim]
  float* const scores = scratch + tile_rows * head_dim_;
  for (std::size_t r = 0; r < R; ++r) convert(queries.row(token[r]) + column[r], head_dim_, q + r * head_dim_);
  const vec lowest(-3.0e38f);    // its weight is 0
  const vec lane = lane_numbers();
  vec largest[R];
  for (vec& v : largest) v = lowest;
  for (std::size_t p = 0; p < padded; p += panel) {
    if constexpr (R < tile_rows) {    // a few rows only read once what has left the caches since the last token
      prefetch(cache.keys(layer, head, p / panel + 1), panel * head_dim_);
      for (std::size_t d = 0; d < head_dim_; d += panel)
        prefetch(cache.values(layer, head, d / panel) + p * panel, panel * panel);
    }
    tile_sums<R> sums;
    multiply_add<R>(sums, q, head_dim_, 1, cache.keys(layer, head, p / panel), head_dim_);
    const bool all_see_all = p + panel <= first + token[0] + 1;
    for (std::size_t r = 0; r < R; ++r) {
      for (std::size_t v = 0; v < 2; ++v) {
        const std::size_t position = p + v * lanes;
        vec score = sums.v[r][v];
        if (!all_see_all) {
          const vec seen(static_cast<float>(first + token[r] + 1) - static_cast<float>(position));
          score = xsimd::select(lane < seen, score, lowest);
        }
        largest[r] = xsimd::max(largest[r], score);
        store(score, scores + r * score_stride_ + position);
      }
    }
  }
  float weight[R];
  for (std::size_t r = 0; r < R; ++r)
    weight[r] = 1.0f / exponentiate<T>(scores + r * score_stride_, padded, largest_of(largest[r]), scale_);
  const auto* const weights = reinterpret_cast<const a_element<T>*>(scores);
  for (std::size_t d = 0; d < head_dim_; d += panel) {
    tile_sums<R> sums;
    multiply_add<R>(sums, weights, score_stride_ * (sizeof(float) / sizeof(a_element<T>)), 1,
                    cache.values(layer, head, d / panel), positions);
    for (std::size_t r = 0; r < R; ++r) {
      float* const to = out.row(token[r]) + column[r] + d;
      float row[panel];
      const bool whole = head_dim_ - d >= panel;
      store(sums.v[r][0] * vec(weight[r]), whole ? to : row);
      store(sums.v[r][1] * vec(weight[r]), (whole ? to : row) + lanes);
      if (!whole) std::copy_n(row, head_dim_ - d, to);
    }
  }
}

template <class T>
void attention<T>::apply(const kv_cache<T>& cache, std::size_t layer, std::size_t first,
                         qlite::matrix_view<const float> queries, qlite::matrix_view<float> out, executor& threads) {
  const std::size_t rows = queries.rows() * group_;
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows;
  for_each_interleaved(threads, tiles * kv_heads_, [&](std::size_t i, std::size_t task) {
    const std::size_t row = i / kv_heads_ * tile_rows;
    with_rows(std::min(tile_rows, rows - row), [&](auto r) {
      this->template attend_tile<decltype(r)::value>(cache, layer, i % kv_heads_, first, row, queries, out,
                                                     scratch_[task].data());
    });
  });
}

template class kv_cache<float>;
template class kv_cache<qlite::bfloat16>;
template class attention<float>;
template class attention<qlite::bfloat16>;

rotary_embedding::rotary_embedding(const model_config& config, std::size_t capacity)
    : pairs_(config.pairs), head_dim_(config.head_dim) {
  const std::size_t half = head_dim_ / 2;
  cos_.resize(capacity * half);
  sin_.resize(capacity * half);
  for (std::size_t i = 0; i < half; ++i) {
    const double frequency = rotary_frequency(config, i);
    for (std::size_t p = 0; p < capacity; ++p) {
      cos_[p * half + i] = static_cast<float>(std::cos(static_cast<double>(p) * frequency));
      sin_[p * half + i] = static_cast<float>(std::sin(static_cast<double>(p) * frequency));
    }
  }
}

template <std::size_t Step>
void rotary_embedding::turn(float* __restrict data, std::size_t heads, std::size_t position,
                            std::size_t between) const {
  const std::size_t half = head_dim_ / 2;
  const float* const c = cos_.data() + position * half;
  const float* const s = sin_.data() + position * half;
  for (std::size_t h = 0; h < heads; ++h) {
    float* __restrict const x = data + h * head_dim_;
    for (std::size_t i = 0; i < half; ++i) {
      const float a = x[i * Step];
      const float b = x[i * Step + between];
      x[i * Step] = a * c[i] - b * s[i];
      x[i * Step + between] = a * s[i] + b * c[i];
    }
  }
}

void rotary_embedding::apply(float* data, std::size_t heads, std::size_t position) const {
  if (pairs_ == rope_pairs::adjacent)
    turn<2>(data, heads, position, 1);
  else
    turn<1>(data, heads, position, head_dim_ / 2);
}

}    // namespace llm
