#include "attention.hpp"

#include <algorithm>
#include <cmath>

namespace llm {
namespace {

std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// scores[0 ... valid) become exp(score - maximum), the rest up to `end` zero; returns the sum. `end` is a multiple of
/// `panel`.
float exponentiate(float* scores, std::size_t valid, std::size_t end) {
  const float lowest = -3.0e38f;
  std::fill(scores + valid, scores + end, lowest);
  vec largest(lowest);
  for (std::size_t i = 0; i < end; i += lanes) largest = xsimd::max(largest, load(scores + i));
  float maxima[lanes];
  largest.store_unaligned(maxima);
  const vec maximum(*std::max_element(maxima, maxima + lanes));
  vec sum(0.0f);
  for (std::size_t i = 0; i < end; i += lanes) {
    const vec e = xsimd::exp(load(scores + i) - maximum);    // exp(lowest - maximum) is zero
    e.store_unaligned(scores + i);
    sum += e;
  }
  return sum_of(sum);
}

}    // namespace

kv_cache::kv_cache(const model_config& config, std::size_t capacity)
    : kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      capacity_(capacity),
      padded_capacity_(round_up(capacity, panel)),
      padded_dim_(round_up(config.head_dim, panel)),
      keys_(config.layers * kv_heads_ * head_dim_ * padded_capacity_),
      values_(config.layers * kv_heads_ * padded_dim_ * capacity_) {
  // Products read whole panels; what they make of the padding is not used, but it should be numbers.
  std::fill_n(keys_.data(), keys_.size(), 0.0f);
  std::fill_n(values_.data(), values_.size(), 0.0f);
}

void kv_cache::store(std::size_t layer, std::size_t position, const float* key, const float* value) {
  for (std::size_t h = 0; h < kv_heads_; ++h) {
    float* const k = key_panel_at(layer, h, position / panel) + position % panel;
    for (std::size_t d = 0; d < head_dim_; ++d) k[d * panel] = key[h * head_dim_ + d];
    for (std::size_t d = 0; d < head_dim_; d += panel) {
      float* const v = value_panel_at(layer, h, d / panel) + position * panel;
      std::copy_n(value + h * head_dim_ + d, std::min(panel, head_dim_ - d), v);
    }
  }
}

attention::attention(const model_config& config, std::size_t capacity, std::size_t tasks)
    : group_(config.heads / config.kv_heads),
      head_dim_(config.head_dim),
      kv_heads_(config.kv_heads),
      padded_capacity_(round_up(capacity, panel)),
      scale_(1.0f / std::sqrt(static_cast<float>(config.head_dim))) {
  for (std::size_t t = 0; t < tasks; ++t) scratch_.emplace_back(tile_rows * (head_dim_ + padded_capacity_));
}

template <std::size_t R>
void attention::attend_tile(const kv_cache& cache, std::size_t layer, std::size_t head, std::size_t first,
                            std::size_t first_row, qlite::matrix_view<const float> queries,
                            qlite::matrix_view<float> out, float* scratch) const {
  // Rows of a tile are the queries that share this key-value head: all of one token, then those of the next.
  const auto token_of = [&](std::size_t r) { return (first_row + r) / group_; };
  const auto column_of = [&](std::size_t r) { return (head * group_ + (first_row + r) % group_) * head_dim_; };
  const std::size_t positions = first + token_of(R - 1) + 1;
  const std::size_t padded = round_up(positions, panel);

  float* const q = scratch;    // [head_dim][R]
  float* const scores = scratch + tile_rows * head_dim_;
  for (std::size_t r = 0; r < R; ++r) {
    const float* const query = queries.row(token_of(r)) + column_of(r);
    for (std::size_t d = 0; d < head_dim_; ++d) q[d * R + r] = query[d] * scale_;
  }
  for (std::size_t p = 0; p < padded; p += panel) {
    tile_sums<R> sums;
    multiply_add<R>(sums, q, 1, R, cache.keys(layer, head, p / panel), panel, head_dim_);
    for (std::size_t r = 0; r < R; ++r) {
      sums.v[r][0].store_unaligned(scores + r * padded_capacity_ + p);
      sums.v[r][1].store_unaligned(scores + r * padded_capacity_ + p + lanes);
    }
  }
  float weight[R];
  for (std::size_t r = 0; r < R; ++r)
    weight[r] = 1.0f / exponentiate(scores + r * padded_capacity_, first + token_of(r) + 1, padded);
  for (std::size_t d = 0; d < head_dim_; d += panel) {
    tile_sums<R> sums;
    multiply_add<R>(sums, scores, padded_capacity_, 1, cache.values(layer, head, d / panel), panel, positions);
    for (std::size_t r = 0; r < R; ++r) {
      float row[panel];
      (sums.v[r][0] * vec(weight[r])).store_unaligned(row);
      (sums.v[r][1] * vec(weight[r])).store_unaligned(row + lanes);
      std::copy_n(row, std::min(panel, head_dim_ - d), out.row(token_of(r)) + column_of(r) + d);
    }
  }
}

void attention::apply(const kv_cache& cache, std::size_t layer, std::size_t first,
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
void rotary_embedding::turn(float* data, std::size_t heads, std::size_t position, std::size_t between) const {
  const std::size_t half = head_dim_ / 2;
  const float* const c = cos_.data() + position * half;
  const float* const s = sin_.data() + position * half;
  for (std::size_t h = 0; h < heads; ++h) {
    float* const x = data + h * head_dim_;
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
