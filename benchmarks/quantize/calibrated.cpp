// What calibration is worth: errors of the outputs of layers, by method and scheme, on inputs that were not seen.
//
//     bench_quantize_calibrated [all-MiniLM-L6-v2/model.safetensors]
//
// prints sqrt(sum (y - y')^2 / sum y^2) for
//   - a layer [256, 512] of normal weights whose inputs have a common part and outlier channels;
//   - query, key and value of the first layer of a BERT-like model [384, 384 each], whose inputs are made from its own
//     embeddings: words drawn with Zipf's frequencies, positions, and the LayerNorm behind them.
// Calibrated on 4096 rows, measured on 1024 others. No times.
#include <qlite/interop/safetensors.hpp>
#include <qlite/quantize.hpp>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace ql = qlite;

namespace {

struct matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<float> values;
  matrix(std::size_t r, std::size_t c) : rows(r), cols(c), values(r * c) {}
  ql::matrix_view<const float> view() const { return {values.data(), rows, cols}; }
  float& operator()(std::size_t r, std::size_t c) { return values[r * cols + c]; }
};

struct layer {
  std::string name;
  matrix W, calibration, test;
};

std::uint64_t state = 1;
double uniform() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
}
float normal() {    // Box and Muller 1958
  return static_cast<float>(std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform()));
}

layer drawn() {
  layer all{"normal weights, correlated inputs with outlier channels", {256, 512}, {4096, 512}, {1024, 512}};
  for (float& w : all.W.values) w = normal();
  for (matrix* X : {&all.calibration, &all.test})
    for (std::size_t r = 0; r < X->rows; ++r) {
      const float common = normal();
      for (std::size_t c = 0; c < X->cols; ++c)
        (*X)(r, c) = (normal() + 1.5f * common * (c % 5 != 0 ? 1.0f : -1.0f)) * (c % 37 != 0 ? 1.0f : 30.0f);
    }
  return all;
}

matrix read(const ql::safetensors::file& file, const std::string& name) {
  for (const auto& tensor : file.tensors())
    if (tensor.name == name) {
      matrix m(tensor.rows(), tensor.cols());
      ql::safetensors::to_float(tensor, file.data(tensor), ql::matrix_view<float>{m.values.data(), m.rows, m.cols});
      return m;
    }
  throw std::invalid_argument("the model has no tensor " + name);
}

std::vector<layer> first_layer(const char* path) {
  const ql::safetensors::file file(path);
  matrix words = read(file, "embeddings.word_embeddings.weight");
  matrix positions = read(file, "embeddings.position_embeddings.weight");
  matrix types = read(file, "embeddings.token_type_embeddings.weight");
  const matrix gain = read(file, "embeddings.LayerNorm.weight"), bias = read(file, "embeddings.LayerNorm.bias");
  const std::size_t k = words.cols;
  const auto inputs = [&](std::size_t rows) {
    matrix X(rows, k);
    for (std::size_t r = 0; r < rows; ++r) {
      // ids from 1000 on are words, roughly by frequency; Zipf's law through the inverse of its distribution
      const double span = static_cast<double>(words.rows - 1000);
      const auto id = 1000 + static_cast<std::size_t>(std::exp(uniform() * std::log(span)));
      double mean = 0, square = 0;
      for (std::size_t c = 0; c < k; ++c) {
        X(r, c) = words(id < words.rows ? id : words.rows - 1, c) + positions(r % 128, c) + types(0, c);
        mean += static_cast<double>(X(r, c)) / static_cast<double>(k);
      }
      for (std::size_t c = 0; c < k; ++c)
        square += std::pow(static_cast<double>(X(r, c)) - mean, 2) / static_cast<double>(k);
      for (std::size_t c = 0; c < k; ++c)
        X(r, c) =
            static_cast<float>((static_cast<double>(X(r, c)) - mean) / std::sqrt(square + 1e-12)) * gain.values[c] +
            bias.values[c];
    }
    return X;
  };
  std::vector<layer> layers;
  for (const char* name : {"query", "key", "value"})
    layers.push_back({std::string("MiniLM, first layer, ") + name,
                      read(file, std::string("encoder.layer.0.attention.self.") + name + ".weight"), inputs(4096),
                      inputs(1024)});
  return layers;
}

template <class Quantized>
double error_of(const layer& all, const Quantized& q) {
  matrix back(all.W.rows, all.W.cols);
  ql::dequantize(q, ql::matrix_view<float>{back.values.data(), back.rows, back.cols});
  double error = 0, size = 0;
  for (std::size_t t = 0; t < all.test.rows; ++t)
    for (std::size_t n = 0; n < all.W.rows; ++n) {
      double y = 0, off = 0;
      for (std::size_t c = 0; c < all.W.cols; ++c) {
        const auto x = static_cast<double>(all.test.values[t * all.W.cols + c]);
        const auto w = static_cast<double>(all.W.values[n * all.W.cols + c]);
        y += x * w;
        off += x * (static_cast<double>(back.values[n * all.W.cols + c]) - w);
      }
      error += off * off;
      size += y * y;
    }
  return std::sqrt(error / size);
}

template <class Scheme>
void print_row(const layer& all, const ql::activation_stats& stats, const ql::hessian& H) {
  const auto W = all.W.view();
  const ql::matrix_view<const float> sample{all.calibration.values.data(), 512, all.W.cols};
  std::printf("| %s |", ql::name<Scheme>());
  const auto print = [](double e) {
    std::printf(" %.4f |", e);
    std::fflush(stdout);
  };
  print(error_of(all, ql::quantize<Scheme>(W, ql::rtn{})));
  print(error_of(all, ql::quantize<Scheme>(W, ql::mse_clip{})));
  if constexpr (ql::detail::scheme_traits<Scheme>::has_offset)
    print(error_of(all, ql::quantize<Scheme>(W, ql::hqq{})));
  else
    std::printf(" |");
  print(error_of(all, ql::quantize<Scheme>(W, ql::importance_clip(stats))));
  const auto awq = ql::quantize<Scheme>(W, ql::awq(stats, sample));
  print(error_of(all, awq));
  ql::gptq gptq(H);
  print(error_of(all, ql::quantize<Scheme>(W, gptq)));
  gptq.groups = ql::gptq_groups::reference;
  print(error_of(all, ql::quantize<Scheme>(W, gptq)));
  gptq.act_order = true;
  print(error_of(all, ql::quantize<Scheme>(W, gptq)));
  ql::gptq clipped(H, ql::mse_clip{});
  clipped.act_order = true;
  print(error_of(all, ql::quantize<Scheme>(W, clipped)));
  ql::gptq weighted(H, ql::importance_clip(stats));
  weighted.act_order = true;
  print(error_of(all, ql::quantize<Scheme>(W, weighted)));
  const ql::hessian divided = ql::divide_inputs(H, awq.input_scale());
  ql::gptq both(divided, ql::mse_clip{});
  both.act_order = true;
  print(error_of(all, ql::quantize<Scheme>(W, ql::scaled_by(awq.input_scale(), both))));
  std::printf("\n");
}

void print_table(const layer& all) {
  ql::activation_stats stats(all.W.cols);
  ql::hessian H(all.W.cols);
  stats.observe(all.calibration.view());
  H.observe(all.calibration.view());
  std::printf(
      "\n%s\n\n| scheme | rtn | mse_clip | hqq | importance_clip | awq | gptq | gptq, reference | gptq, act_order | "
      "gptq, mse_clip, act_order | gptq, importance_clip, act_order | gptq, mse_clip, act_order on awq's scale "
      "|\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
      all.name.c_str());
  using ql::per_group;
  print_row<ql::scheme<ql::int4, per_group<128>>>(all, stats, H);
  print_row<ql::scheme<ql::int4, per_group<32>>>(all, stats, H);
  print_row<ql::scheme<ql::int4, per_group<32>, ql::asymmetric>>(all, stats, H);
  print_row<ql::scheme<ql::int4, per_group<64>, ql::offset<>>>(all, stats, H);
  print_row<ql::scheme<ql::int8, ql::per_channel>>(all, stats, H);
}

}    // namespace

int main(int argc, char** argv) {
  try {
    print_table(drawn());
    for (int i = 1; i < argc; ++i)
      for (const layer& l : first_layer(argv[i])) print_table(l);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
