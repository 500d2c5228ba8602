#include "transformer.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace llm {

transformer::transformer(std::shared_ptr<const model_file> file, const model_format& format, executor& threads,
                         const load_progress& progress)
    : transformer(
          file,
          [&, source = file.get()](linear_id id) {
            const tensor_shape shape = shape_of(source->config(), id.what);
            return linear(shape.rows, shape.cols, id.what == part::output ? format.output : format.layers,
                          reader_of(*source, id), threads);
          },
          progress) {}

transformer::transformer(std::shared_ptr<const model_file> file, const linear_factory& make,
                         const load_progress& progress)
    : file_(std::move(file)) {
  const std::size_t layers = config().layers;
  const auto report = [&](std::size_t done) {
    if (progress) progress(done, layers + 1);
  };
  report(0);
  for (std::size_t i = 0; i < layers; ++i) {
    layer_weights layer;
    layer.attention_norm = load_vector({role::attention_norm, i});
    layer.qkv = count(make({part::qkv, i}));
    layer.attention_output = count(make({part::attention_output, i}));
    layer.ffn_norm = load_vector({role::ffn_norm, i});
    layer.gate = count(make({part::gate, i}));
    layer.up = count(make({part::up, i}));
    layer.down = count(make({part::down, i}));
    layers_.push_back(std::move(layer));
    report(i + 1);
  }
  output_norm_ = load_vector({role::output_norm, 0});
  output_ = count(make({part::output, 0}));
  report(layers + 1);
}

void transformer::replace(linear_id id, linear weights) {
  layer_weights& layer = layers_.at(id.what == part::output ? 0 : id.layer);
  linear* const all[] = {&layer.qkv, &layer.attention_output, &layer.gate, &layer.up, &layer.down, &output_};
  linear& old = *all[static_cast<std::size_t>(id.what)];
  if (weights.rows() != old.rows() || weights.cols() != old.cols())
    throw std::runtime_error(std::string("weights of another shape for ") + name_of(id.what));
  bytes_ += weights.bytes();
  bytes_ -= old.bytes();
  old = std::move(weights);
}

linear transformer::count(linear layer) {
  weights_ += layer.rows() * layer.cols();
  bytes_ += layer.bytes();
  return layer;
}

std::vector<float> transformer::load_vector(tensor_id id) {
  std::vector<float> values(shape_of(config(), id.what).cols);
  file_->read_rows(id, 0, {values.data(), 1, values.size()});
  weights_ += values.size();
  bytes_ += values.size() * sizeof(float);
  return values;
}

namespace {

using any_attention = std::variant<cached_attention<float>, cached_attention<qlite::bfloat16>>;

template <class T>
any_attention make_attention(const model_config& config, std::size_t capacity, executor& threads) {
  return cached_attention<T>{{config, capacity}, {config, capacity, threads.concurrency()}};
}

any_attention make_attention(const transformer& model, std::size_t capacity, executor& threads, cached_as cached) {
  const auto& layers = model.layers();
  if (cached == cached_as::automatic && !layers.empty() && layers.front().qkv.rounds_input())
    cached = cached_as::bfloat16;
  return cached == cached_as::bfloat16 ? make_attention<qlite::bfloat16>(model.config(), capacity, threads)
                                       : make_attention<float>(model.config(), capacity, threads);
}

}    // namespace

session::session(const transformer& model, std::size_t capacity, std::size_t batch, executor& threads, cached_as cached)
    : model_(model),
      threads_(threads),
      capacity_(capacity),
      batch_(std::max<std::size_t>(1, std::min(batch, capacity))),
      attention_(make_attention(model, capacity, threads, cached)),
      rotary_(model.config(), capacity) {
  const model_config& c = model.config();
  hidden_ = array<float>(batch_ * c.width);
  normalized_ = array<float>(batch_ * c.width);
  qkv_ = array<float>(batch_ * (c.query_width() + 2 * c.kv_width()));
  attended_ = array<float>(batch_ * c.query_width());
  gate_ = array<float>(batch_ * c.ffn_width);
}

/// x / sqrt(mean(x^2) + epsilon) * weight, row by row (Zhang and Sennrich, 2019).
void session::normalize(qlite::matrix_view<const float> x, const std::vector<float>& weight,
                        qlite::matrix_view<float> out) {
  const auto normalize_rows = [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const float* const row = x.row(r);
      const std::size_t whole = x.cols() / (4 * lanes) * (4 * lanes);
      vec squares[4] = {vec(0.0f), vec(0.0f), vec(0.0f), vec(0.0f)};    // an fma takes as long as four pairs of loads
      for (std::size_t i = 0; i < whole; i += 4 * lanes)
        for (std::size_t v = 0; v < 4; ++v)
          squares[v] = xsimd::fma(load(row + i + v * lanes), load(row + i + v * lanes), squares[v]);
      float sum = sum_of((squares[0] + squares[1]) + (squares[2] + squares[3]));
      for (std::size_t i = whole; i < x.cols(); ++i) sum += row[i] * row[i];
      const float scale = 1.0f / std::sqrt(sum / static_cast<float>(x.cols()) + model_.config().norm_epsilon);
      float* const to = out.row(r);
      for (std::size_t i = 0; i < whole; i += lanes)
        store(load(row + i) * vec(scale) * load(weight.data() + i), to + i);
      for (std::size_t i = whole; i < x.cols(); ++i) to[i] = row[i] * scale * weight[i];
    }
  };
  if (x.rows() * x.cols() < 16384)    // not worth waking the threads
    normalize_rows(0, x.rows());
  else
    for_each_slice(threads_, x.rows(), normalize_rows);
}

void session::attend(std::size_t index, std::size_t rows) {
  const model_config& c = model_.config();
  const layer_weights& layer = model_.layers()[index];
  const auto hidden = rows_of(hidden_, rows, c.width);
  const auto normalized = rows_of(normalized_, rows, c.width);
  const auto qkv = rows_of(qkv_, rows, c.query_width() + 2 * c.kv_width());
  const auto attended = rows_of(attended_, rows, c.query_width());

  normalize(hidden, layer.attention_norm, normalized);
  input_.set(normalized);
  if (observer_) observer_({part::qkv, index}, normalized);
  layer.qkv.apply(input_, qkv, {}, threads_);
  const auto rotate_and_store = [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      float* const query = qkv.row(r);
      float* const key = query + c.query_width();
      rotary_.apply(query, c.heads + c.kv_heads, position_ + r);    // keys follow the queries
      std::visit([&](auto& a) { a.cache.store(index, position_ + r, key, key + c.kv_width()); }, attention_);
    }
  };
  if (rows < 16)
    rotate_and_store(0, rows);
  else
    for_each_slice(threads_, rows, rotate_and_store);
  const qlite::matrix_view<const float> queries{qkv.data(), rows, c.query_width(), qkv.row_stride()};
  std::visit([&](auto& a) { a.attend.apply(a.cache, index, position_, queries, attended, threads_); }, attention_);
  input_.set(attended);
  if (observer_) observer_({part::attention_output, index}, attended);
  layer.attention_output.apply(input_, hidden, {then::add, hidden}, threads_);
}

void session::feed_forward(std::size_t index, std::size_t rows) {
  const model_config& c = model_.config();
  const layer_weights& layer = model_.layers()[index];
  const auto hidden = rows_of(hidden_, rows, c.width);
  const auto normalized = rows_of(normalized_, rows, c.width);
  const auto gate = rows_of(gate_, rows, c.ffn_width);

  normalize(hidden, layer.ffn_norm, normalized);
  input_.set(normalized);
  if (observer_) observer_({part::gate, index}, normalized);
  layer.gate.apply(input_, gate, {then::silu, {}}, threads_);
  layer.up.apply(input_, gate, {then::multiply, gate}, threads_);    // silu(gate) * up, in place
  input_.set(gate);
  if (observer_) observer_({part::down, index}, gate);
  layer.down.apply(input_, hidden, {then::add, hidden}, threads_);
}

qlite::matrix_view<const float> session::forward(const token* tokens, std::size_t count) {
  const model_config& c = model_.config();
  check_room(*this, count);
  embed(tokens, rows_of(hidden_, count, c.width));
  for (std::size_t i = 0; i < c.layers; ++i) {
    attend(i, count);
    feed_forward(i, count);
  }
  position_ += count;
  normalize(rows_of(hidden_, count, c.width), model_.output_norm(), rows_of(normalized_, count, c.width));
  return rows_of(normalized_, count, c.width);
}

void session::embed(const token* tokens, qlite::matrix_view<float> hidden) const {
  read_embeddings(model_.file(), tokens, hidden);
}

void session::products(std::size_t rows) {
  const model_config& c = model_.config();
  const auto hidden = rows_of(hidden_, rows, c.width);
  const auto gate = rows_of(gate_, rows, c.ffn_width);
  for (const layer_weights& layer : model_.layers()) {
    input_.set(rows_of(normalized_, rows, c.width));
    layer.qkv.apply(input_, rows_of(qkv_, rows, c.query_width() + 2 * c.kv_width()), {}, threads_);
    input_.set(rows_of(attended_, rows, c.query_width()));
    layer.attention_output.apply(input_, hidden, {then::add, hidden}, threads_);
    input_.set(rows_of(normalized_, rows, c.width));
    layer.gate.apply(input_, gate, {then::silu, {}}, threads_);
    layer.up.apply(input_, gate, {then::multiply, gate}, threads_);
    input_.set(gate);
    layer.down.apply(input_, hidden, {then::add, hidden}, threads_);
  }
  logits_.require(c.vocabulary);
  logits(rows_of(normalized_, 1, c.width), {logits_.data(), 1, c.vocabulary});
}

void session::take(qlite::matrix_view<const float> hidden) {
  if (hidden.rows() > batch_)
    throw std::runtime_error("a text of " + std::to_string(hidden.rows()) + " tokens, expected at most " +
                             std::to_string(batch_));
  position_ = 0;
  for (std::size_t r = 0; r < hidden.rows(); ++r)
    std::copy_n(hidden.row(r), hidden.cols(), hidden_.data() + r * hidden.cols());
}

void session::give(qlite::matrix_view<const float> from, qlite::matrix_view<float> hidden) const {
  for (std::size_t r = 0; r < hidden.rows(); ++r) std::copy_n(from.row(r), hidden.cols(), hidden.row(r));
}

void session::attend(std::size_t layer, qlite::matrix_view<float> hidden) {
  take(hidden);
  attend(layer, hidden.rows());
  give(rows_of(hidden_, hidden.rows(), hidden.cols()), hidden);
}

void session::feed_forward(std::size_t layer, qlite::matrix_view<float> hidden) {
  take(hidden);
  feed_forward(layer, hidden.rows());
  give(rows_of(hidden_, hidden.rows(), hidden.cols()), hidden);
}

void session::finish(qlite::matrix_view<float> hidden) {
  take(hidden);
  const auto normalized = rows_of(normalized_, hidden.rows(), hidden.cols());
  normalize(rows_of(hidden_, hidden.rows(), hidden.cols()), model_.output_norm(), normalized);
  give(normalized, hidden);
}

void session::logits(qlite::matrix_view<const float> hidden, qlite::matrix_view<float> out) {
  input_.set(hidden);
  model_.output().apply(input_, out, {}, threads_);
}

const float* session::prompt(const token* tokens, std::size_t count) {
  const model_config& c = model_.config();
  check_not_empty(count);
  qlite::matrix_view<const float> hidden;
  for (std::size_t done = 0; done < count;) {
    const std::size_t n = std::min(batch_, count - done);
    hidden = forward(tokens + done, n);
    done += n;
  }
  logits_.require(c.vocabulary);
  logits({hidden.row(hidden.rows() - 1), 1, c.width}, {logits_.data(), 1, c.vocabulary});
  return logits_.data();
}

token session::next(const token* tokens, std::size_t count, sampler& choose) {
  return choose.next(prompt(tokens, count), model_.config().vocabulary);
}

}    // namespace llm
