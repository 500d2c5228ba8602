#include "cuda_text.hpp"

#include <algorithm>
#include <qlite/quantize.hpp>

#include "cuda/decoder.hpp"
#include "linear_weights.hpp"
#include "quantize_rows.hpp"

namespace llm {
namespace {

std::unique_ptr<gpu::linear> load_half(std::size_t rows, std::size_t cols, const row_reader& read, executor& threads) {
  auto layer = gpu::make_half_linear(rows, cols);
  std::vector<qlite::float16> narrow;
  for_each_piece(rows, cols, read, threads, [&](std::size_t first, qlite::matrix_view<const float> piece) {
    narrow.resize(piece.rows() * cols);
    for (std::size_t r = 0; r < piece.rows(); ++r)
      for (std::size_t c = 0; c < cols; ++c) narrow[r * cols + c] = qlite::float16::from_float(piece(r, c));
    layer->set_rows(first, narrow.data(), piece.rows());
  });
  return layer;
}

std::unique_ptr<gpu::linear> load_linear(const model_file& file, linear_id id, const weight_format& format,
                                         executor& threads) {
  const tensor_shape shape = shape_of(file.config(), id.what);
  const row_reader read = reader_of(file, id);
  if (format.what == precision::float16) return load_half(shape.rows, shape.cols, read, threads);
  std::unique_ptr<gpu::linear> layer;
  qlite::visit_scheme<gpu::schemes>(format.scheme, [&](auto scheme) {
    layer = gpu::make_quantized_linear<decltype(scheme)>(
        quantize_rows(shape.rows, shape.cols, scheme, format.method, read, threads).view());
  });
  return layer;
}

class text_on_gpu final : public cuda_text {
 public:
  text_on_gpu(std::shared_ptr<const model_file> file, const model_format& format, std::size_t capacity,
              std::size_t batch, executor& threads, const load_progress& progress)
      : file_(std::move(file)),
        capacity_(capacity),
        decoder_(config(), 1, capacity, std::max<std::size_t>(1, std::min(batch, capacity))) {
    const auto report = [&](std::size_t done) {
      if (progress) progress(done, config().layers + 1);
    };
    const auto load = [&](part what, std::size_t layer) {
      const tensor_shape shape = shape_of(config(), what);
      weights_ += shape.rows * shape.cols;
      return load_linear(*file_, {what, layer}, what == part::output ? format.output : format.layers, threads);
    };
    report(0);
    for (std::size_t i = 0; i < config().layers; ++i) {
      gpu::decoder_layer layer;
      layer.attention_norm = load_vector({role::attention_norm, i});
      layer.qkv = load(part::qkv, i);
      layer.attention_output = load(part::attention_output, i);
      layer.ffn_norm = load_vector({role::ffn_norm, i});
      layer.gate = load(part::gate, i);
      layer.up = load(part::up, i);
      layer.down = load(part::down, i);
      decoder_.add(std::move(layer));
      report(i + 1);
    }
    decoder_.set_output(load_vector({role::output_norm, 0}), load(part::output, 0));
    report(config().layers + 1);
  }

  std::size_t weights() const override { return weights_; }
  std::size_t bytes() const override { return decoder_.weight_bytes(); }
  std::size_t capacity() const override { return capacity_; }
  std::size_t batch() const override { return decoder_.batch(); }
  std::size_t position() const override { return position_; }
  void reset() override { position_ = 0; }

  qlite::matrix_view<const float> forward(const token* tokens, std::size_t count) override {
    prepare(tokens, count);
    decoder_.run(count);
    const qlite::float16* const normalized = decoder_.normalized(count);
    hidden_.resize(count * config().width);
    for (std::size_t i = 0; i < hidden_.size(); ++i) hidden_[i] = normalized[i].to_float();
    return {hidden_.data(), count, config().width};
  }

  void logits(qlite::matrix_view<const float> hidden, qlite::matrix_view<float> out) override {
    const std::size_t width = config().width;
    narrow_.resize(hidden.rows() * width);
    for (std::size_t r = 0; r < hidden.rows(); ++r)    // exact: they came from float16
      for (std::size_t c = 0; c < width; ++c) narrow_[r * width + c] = qlite::float16::from_float(hidden(r, c));
    decoder_.logits(narrow_.data(), hidden.rows(), out.data());
  }

  const float* prompt(const token* tokens, std::size_t count) override { return decoder_.logits(run(tokens, count)); }

  token next(const token* tokens, std::size_t count, sampler& choose) override {
    if (!choose.greedy()) return choose.next(prompt(tokens, count), config().vocabulary);
    if (count > 1) return decoder_.likeliest(run(tokens, count));
    check_not_empty(count);
    prepare(tokens, 1);
    return decoder_.step(1)[0];
  }

 private:
  const model_config& config() const { return file_->config(); }

  std::vector<float> load_vector(tensor_id id) {
    std::vector<float> values(shape_of(config(), id.what).cols);
    file_->read_rows(id, 0, {values.data(), 1, values.size()});
    weights_ += values.size();
    return values;
  }

  /// Hands the embeddings and places of the next tokens to the decoder.
  void prepare(const token* tokens, std::size_t count) {
    check_room(*this, count);
    read_embeddings(*file_, tokens, {decoder_.hidden(), count, config().width});
    for (std::size_t i = 0; i < count; ++i) decoder_.places()[i] = {0, static_cast<std::uint32_t>(position_ + i)};
    position_ += count;
  }

  /// Appends any number of tokens; the row of the last one in the decoder's last step.
  std::size_t run(const token* tokens, std::size_t count) {
    check_not_empty(count);
    std::size_t rows = 0;
    for (std::size_t done = 0; done < count; done += rows) {
      rows = std::min(batch(), count - done);
      // A step has read what it was given before the next may be prepared.
      if (done != 0) decoder_.wait();
      prepare(tokens + done, rows);
      decoder_.run(rows);
    }
    return rows - 1;
  }

  std::shared_ptr<const model_file> file_;
  std::size_t capacity_, position_ = 0, weights_ = 0;
  gpu::decoder decoder_;
  std::vector<float> hidden_;
  std::vector<qlite::float16> narrow_;
};

}    // namespace

std::unique_ptr<cuda_text> make_cuda_text(std::shared_ptr<const model_file> file, const model_format& format,
                                          std::size_t capacity, std::size_t batch, executor& threads,
                                          const load_progress& progress) {
  return std::make_unique<text_on_gpu>(std::move(file), format, capacity, batch, threads, progress);
}

std::string cuda_device() { return gpu::device_name(); }
std::function<double()> cuda_bandwidth_probe() { return gpu::bandwidth_probe(); }

}    // namespace llm
