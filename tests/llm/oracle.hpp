// The Llama forward pass in double precision and in the plainest form: no cache, no blocks, one loop per sum. Written
// from the definitions (RMSNorm, rotary embeddings on halves, grouped-query attention, SwiGLU), not from the engine.
#pragma once

#include <cmath>
#include <vector>

#include "fixture.hpp"

namespace llm_test {

using numbers = std::vector<double>;

inline numbers product(const matrix& w, const numbers& x) {
  numbers y(w.rows);
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t c = 0; c < w.cols; ++c) y[r] += static_cast<double>(w.row(r)[c]) * x[c];
  return y;
}

inline numbers normalized(const numbers& x, const matrix& weight, double epsilon) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  numbers y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * static_cast<double>(weight.values[i]);
  return y;
}

// Element i of a head turns with element i + head_dim / 2 by position * theta^(-2 i / head_dim).
inline void rotate(numbers& x, std::size_t head_dim, std::size_t position, double theta) {
  const std::size_t half = head_dim / 2;
  for (std::size_t head = 0; head < x.size(); head += head_dim) {
    for (std::size_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(position) * std::pow(theta, -2 * static_cast<double>(i) / static_cast<double>(head_dim));
      const double a = x[head + i];
      const double b = x[head + i + half];
      x[head + i] = a * std::cos(angle) - b * std::sin(angle);
      x[head + i + half] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
}

// Logits after each token of a text.
inline std::vector<numbers> oracle_logits(const tiny_model& model, const std::vector<llm::token>& text) {
  const llm::model_config& c = model.config;
  const double epsilon = static_cast<double>(c.norm_epsilon);
  std::vector<numbers> hidden;
  for (const llm::token t : text) {
    const float* const row = model.at(llm::role::embedding).row(static_cast<std::size_t>(t));
    hidden.emplace_back(row, row + c.width);
  }
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    std::vector<numbers> queries, keys, values;
    for (std::size_t p = 0; p < text.size(); ++p) {
      const numbers x = normalized(hidden[p], model.at(llm::role::attention_norm, layer), epsilon);
      queries.push_back(product(model.at(llm::role::query, layer), x));
      keys.push_back(product(model.at(llm::role::key, layer), x));
      values.push_back(product(model.at(llm::role::value, layer), x));
      rotate(queries.back(), c.head_dim, p, static_cast<double>(c.rope_theta));
      rotate(keys.back(), c.head_dim, p, static_cast<double>(c.rope_theta));
    }
    for (std::size_t p = 0; p < text.size(); ++p) {
      numbers attended(c.heads * c.head_dim);
      for (std::size_t h = 0; h < c.heads; ++h) {
        const std::size_t kv = h / (c.heads / c.kv_heads);
        numbers weight(p + 1);
        double sum = 0;
        for (std::size_t other = 0; other <= p; ++other) {
          double dot = 0;
          for (std::size_t d = 0; d < c.head_dim; ++d)
            dot += queries[p][h * c.head_dim + d] * keys[other][kv * c.head_dim + d];
          weight[other] = std::exp(dot / std::sqrt(static_cast<double>(c.head_dim)));
          sum += weight[other];
        }
        for (std::size_t other = 0; other <= p; ++other)
          for (std::size_t d = 0; d < c.head_dim; ++d)
            attended[h * c.head_dim + d] += weight[other] / sum * values[other][kv * c.head_dim + d];
      }
      const numbers out = product(model.at(llm::role::attention_output, layer), attended);
      for (std::size_t i = 0; i < c.width; ++i) hidden[p][i] += out[i];
    }
    for (numbers& h : hidden) {
      const numbers x = normalized(h, model.at(llm::role::ffn_norm, layer), epsilon);
      numbers gate = product(model.at(llm::role::gate, layer), x);
      const numbers up = product(model.at(llm::role::up, layer), x);
      for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      const numbers out = product(model.at(llm::role::down, layer), gate);
      for (std::size_t i = 0; i < c.width; ++i) h[i] += out[i];
    }
  }
  std::vector<numbers> logits;
  for (const numbers& h : hidden)
    logits.push_back(product(model.output(), normalized(h, model.at(llm::role::output_norm), epsilon)));
  return logits;
}

// Root of the mean square of a - b over that of b.
inline double relative_error(const std::vector<std::vector<float>>& a, const std::vector<numbers>& b) {
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    for (std::size_t j = 0; j < b[i].size(); ++j) {
      difference += std::pow(static_cast<double>(a[i][j]) - b[i][j], 2);
      norm += b[i][j] * b[i][j];
    }
  }
  return std::sqrt(difference / norm);
}

}    // namespace llm_test
