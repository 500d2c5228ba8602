#include "linear.hpp"

#include <stdexcept>
#include <string>

namespace llm {

void layer_input::set(qlite::matrix_view<const float> x) {
  x_ = x;
  has_float_rows_ = has_bfloat16_rows_ = false;
  quantized_.invalidate();
  factors_.reset();
}

layer_input::scaled_input layer_input::scaled(const std::shared_ptr<const std::vector<float>>& factors,
                                              executor& threads) {
  const std::size_t cols = x_.cols();
  scaled_.require(x_.rows() * cols);
  if (factors_ != factors) {
    for_each_slice(threads, x_.rows(), [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r)
        for (std::size_t c = 0; c < cols; ++c) scaled_.data()[r * cols + c] = x_(r, c) * (*factors)[c];
    });
    scaled_quantized_.invalidate();
    factors_ = factors;
  }
  return {{scaled_.data(), x_.rows(), cols}, scaled_quantized_};
}

template <>
const packed_rows& layer_input::packed<float>(executor& threads) {
  if (!has_float_rows_) float_rows_.pack<float>(x_, threads);
  has_float_rows_ = true;
  return float_rows_;
}

template <>
const packed_rows& layer_input::packed<qlite::bfloat16>(executor& threads) {
  if (!has_bfloat16_rows_) bfloat16_rows_.pack<qlite::bfloat16>(x_, threads);
  has_bfloat16_rows_ = true;
  return bfloat16_rows_;
}

linear::linear(std::size_t rows, std::size_t cols, const weight_format& format, const row_reader& read,
               executor& threads) {
  const auto fill = [&](auto&& w) {
    for_each_piece(rows, cols, read, threads,
                   [&](std::size_t first, qlite::matrix_view<const float> piece) { w.set_rows(first, piece); });
    weights_ = std::make_shared<const std::decay_t<decltype(w)>>(std::move(w));
  };
  switch (format.what) {
    case precision::float16:
      throw std::invalid_argument("float16 weights are for GPUs, not for " + std::string(backend_name()));
    case precision::float32:
      fill(panel_matrix<float>(rows, cols));
      break;
    case precision::bfloat16:
      fill(panel_matrix<qlite::bfloat16>(rows, cols));
      break;
    case precision::int8:
    case precision::int4:
      weights_ = std::make_shared<const quantized_matrix>(rows, cols, format, read, threads);
  }
}

std::size_t linear::rows() const {
  return std::visit([](const auto& w) { return w->rows(); }, weights_);
}
std::size_t linear::cols() const {
  return std::visit([](const auto& w) { return w->cols(); }, weights_);
}
std::size_t linear::bytes() const {
  return std::visit([](const auto& w) { return w->bytes(); }, weights_) +
         (factors_ == nullptr ? 0 : factors_->size() * sizeof(float));
}

bool linear::rounds_input() const {
  if (std::holds_alternative<shared<panel_matrix<float>>>(weights_)) return false;
  if (std::holds_alternative<shared<panel_matrix<qlite::bfloat16>>>(weights_)) return has_bf16_dot;
  return !std::get<shared<quantized_matrix>>(weights_)->weight_only();
}

void linear::apply(layer_input& x, qlite::matrix_view<float> y, const after& op, executor& threads) const {
  if (const auto* float32 = std::get_if<shared<panel_matrix<float>>>(&weights_)) {
    (*float32)->multiply(x.packed<float>(threads), y, op, threads);
  } else if (const auto* bfloat16 = std::get_if<shared<panel_matrix<qlite::bfloat16>>>(&weights_)) {
    (*bfloat16)->multiply(x.packed<qlite::bfloat16>(threads), y, op, threads);
  } else {
    const quantized_matrix& quantized = *std::get<shared<quantized_matrix>>(weights_);
    if (factors_ != nullptr) {
      const layer_input::scaled_input scaled = x.scaled(factors_, threads);
      quantized.multiply(scaled.floats, scaled.quantized, y, op, threads);
    } else {
      quantized.multiply(x.floats(), x.quantized(), y, op, threads);
    }
  }
}

}    // namespace llm
