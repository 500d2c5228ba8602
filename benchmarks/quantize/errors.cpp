// The error of quantizing, by scale rule and method: the tables of docs/numerics.md.
//
//     bench_quantize_errors [model.safetensors]...
//
// prints sqrt(sum (w - w')^2 / sum w^2) over 2^22 normal and 2^22 Laplacian weights in rows of 4096, and over all
// matrices of at least 32 columns of each model. No times: they are in the other benchmark.
#include <qlite/interop/safetensors.hpp>
#include <qlite/quantize.hpp>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace ql = qlite;

namespace {

struct matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<float> values;
  ql::matrix_view<const float> view() const { return {values.data(), rows, cols}; }
};
struct weights {
  std::string name;
  std::vector<matrix> matrices;
};

// Draws 2^22 weights through the inverse of their distribution, the same on every machine up to the math library.
template <class Draw>
weights drawn(const char* name, Draw draw) {
  matrix m{1024, 4096, std::vector<float>(1024 * 4096)};
  std::uint64_t state = 1;
  const auto uniform = [&state] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
  };
  for (float& w : m.values) w = static_cast<float>(draw(uniform));
  weights all;
  all.name = name;
  all.matrices.push_back(std::move(m));
  return all;
}

weights read(const char* path) {
  const ql::safetensors::file file(path);
  weights all;
  all.name = path;
  for (const auto& tensor : file.tensors()) {
    if (tensor.rows() < 2 || tensor.cols() < 32 || !ql::safetensors::is_readable(tensor.type)) continue;
    matrix m{tensor.rows(), tensor.cols(), std::vector<float>(tensor.rows() * tensor.cols())};
    ql::safetensors::to_float(tensor, file.data(tensor), ql::matrix_view<float>{m.values.data(), m.rows, m.cols});
    all.matrices.push_back(std::move(m));
  }
  return all;
}

template <class Scheme, class Method>
double error_of(const weights& all, const Method& method) {
  double error = 0, size = 0;
  for (const matrix& m : all.matrices) {
    std::vector<float> back(m.values.size());
    ql::dequantize(ql::quantize<Scheme>(m.view(), method), ql::matrix_view<float>{back.data(), m.rows, m.cols});
    for (std::size_t i = 0; i < back.size(); ++i) {
      const auto w = static_cast<double>(m.values[i]);
      error += (w - static_cast<double>(back[i])) * (w - static_cast<double>(back[i]));
      size += w * w;
    }
  }
  return std::sqrt(error / size);
}

template <class Scheme>
void print_row(const weights& all) {
  std::printf("| %s |", ql::name<Scheme>());
  if (ql::detail::scheme_traits<Scheme>::is_symmetric)
    std::printf(" %.5f | %.5f |", error_of<Scheme>(all, ql::basic_rtn<ql::scale_rule::absmax>{}),
                error_of<Scheme>(all, ql::basic_rtn<ql::scale_rule::absmax_wide>{}));
  else
    std::printf(" | |");
  std::printf(" %.5f | %.5f |", error_of<Scheme>(all, ql::rtn{}), error_of<Scheme>(all, ql::mse_clip{}));
  if constexpr (ql::detail::scheme_traits<Scheme>::has_offset)
    std::printf(" %.5f |\n", error_of<Scheme>(all, ql::hqq{}));
  else
    std::printf(" |\n");
  std::fflush(stdout);
}

void print_table(const weights& all) {
  std::size_t count = 0;
  for (const matrix& m : all.matrices) count += m.values.size();
  std::printf(
      "\n%s, %zu weights\n\n| scheme | absmax | absmax_wide | rtn (signed_max) | mse_clip | hqq "
      "|\n|---|---|---|---|---|---|\n",
      all.name.c_str(), count);
  using ql::per_group;
  print_row<ql::scheme<ql::int4, per_group<32>>>(all);
  print_row<ql::scheme<ql::int4, per_group<64>>>(all);
  print_row<ql::scheme<ql::int4, per_group<128>>>(all);
  print_row<ql::scheme<ql::int4, ql::per_channel>>(all);
  print_row<ql::scheme<ql::int4, per_group<32>, ql::asymmetric>>(all);
  print_row<ql::scheme<ql::int4, per_group<128>, ql::asymmetric>>(all);
  print_row<ql::scheme<ql::int4, per_group<32>, ql::offset<>>>(all);
  print_row<ql::scheme<ql::int4, per_group<128>, ql::offset<>>>(all);
  print_row<ql::scheme<ql::nl4, per_group<32>>>(all);
  print_row<ql::scheme<ql::nl4, per_group<128>>>(all);
  print_row<ql::scheme<ql::int8, per_group<32>>>(all);
  print_row<ql::scheme<ql::int8, per_group<128>>>(all);
  print_row<ql::scheme<ql::int8, ql::per_channel>>(all);
}

// What a coarser or a shorter search of mse_clip costs.
template <class Scheme>
void print_grid_row(const weights& all) {
  std::printf("| %s |", ql::name<Scheme>());
  for (const ql::mse_clip& method : {ql::mse_clip{}, ql::mse_clip{100, 50}, ql::mse_clip{50, 25}, ql::mse_clip{32, 12}})
    std::printf(" %.5f |", error_of<Scheme>(all, method));
  std::printf("\n");
}
void print_grids(const weights& all) {
  std::printf(
      "\n%s, mse_clip{grid, steps}\n\n| scheme | {100, 80} | {100, 50} | {50, 25} | {32, 12} "
      "|\n|---|---|---|---|---|\n",
      all.name.c_str());
  print_grid_row<ql::scheme<ql::int4, ql::per_group<32>>>(all);
  print_grid_row<ql::scheme<ql::int4, ql::per_group<128>>>(all);
  print_grid_row<ql::scheme<ql::int4, ql::per_channel>>(all);
}

}    // namespace

int main(int argc, char** argv) {
  try {
    const weights normal = drawn("normal", [](const auto& uniform) {    // Box and Muller 1958
      return std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
    });
    const weights laplacian = drawn("Laplacian", [](const auto& uniform) {
      const double x = 2 * uniform() - 1;
      return x < 0 ? std::log(1 + x) : -std::log(1 - x);
    });
    print_table(normal);
    print_table(laplacian);
    print_grids(normal);
    print_grids(laplacian);
    for (int i = 1; i < argc; ++i) print_table(read(argv[i]));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
