// Every quantized GGUF type all the way: file, import, pack, product.
#include <cmath>
#include <qlite/gemm.hpp>
#include <qlite/interop/gguf.hpp>
#include <vector>

#include "interop/gguf_bytes.hpp"

namespace ql = qlite;

TEST_CASE("an imported tensor of any type multiplies as its floats do") {
  using ql::gguf::tensor_type;
  struct {
    tensor_type type;
    std::vector<std::size_t> halves;    // where a block holds float16
  } const kinds[] = {{tensor_type::q4_0, {0}},    {tensor_type::q4_1, {0, 2}}, {tensor_type::q5_0, {0}},
                     {tensor_type::q5_1, {0, 2}}, {tensor_type::q8_0, {0}},    {tensor_type::q4_k, {0, 2}},
                     {tensor_type::q5_k, {0, 2}}, {tensor_type::q6_k, {208}}};
  const std::size_t n = 37, k = 512, m = 5;
  qlite_test::random_source random(6);
  for (const auto& kind : kinds) {
    const ql::gguf::block_format format = ql::gguf::format_of(kind.type);
    CAPTURE(format.name);
    auto bytes = qlite_test::random_bytes(random, n * k / format.weights * format.bytes);
    for (std::size_t at = 0; at < bytes.size(); at += format.bytes)
      for (const std::size_t half : kind.halves) {
        const std::uint16_t bits = ql::float16::from_float(random.uniform(-0.02f, 0.02f)).bits();
        std::memcpy(&bytes[at + half], &bits, sizeof bits);
      }
    ql::gguf::writer out;
    out.add_tensor("w", kind.type, {k, n}, {bytes.data(), bytes.size()});
    std::vector<std::uint8_t> file_bytes;
    out.write_to([&](const void* data, std::size_t size) {
      const auto* first = static_cast<const std::uint8_t*>(data);
      file_bytes.insert(file_bytes.end(), first, first + size);
    });
    const ql::gguf::file file(ql::bytes_view{file_bytes.data(), file_bytes.size()});
    const ql::gguf::tensor_info& w = file.tensor("w");

    std::vector<float> dense(n * k), y(m * n), y8(m * n);
    ql::gguf::to_float(w, file.data(w), ql::matrix_view<float>{dense.data(), n, k});
    const std::vector<float> x = random.normal_vector(m * k);
    const ql::matrix_view<const float> X{x.data(), m, k};
    ql::gguf::visit_import(w, file.data(w), [&](auto&& q) {
      const auto packed = ql::pack<ql::cpu::native>(q);
      ql::gemm(X, packed, ql::matrix_view<float>{y.data(), m, n});
      ql::gemm(ql::dynamic<ql::int8>(X), packed, ql::matrix_view<float>{y8.data(), m, n});
    });
    double error = 0, error8 = 0, norm = 0;
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::size_t p = 0; p < k; ++p)
          sum += static_cast<double>(x[i * k + p]) * static_cast<double>(dense[j * k + p]);
        error += std::pow(static_cast<double>(y[i * n + j]) - sum, 2);
        error8 += std::pow(static_cast<double>(y8[i * n + j]) - sum, 2);
        norm += sum * sum;
      }
    // K roundings of the sum, each of up to 2^-24 and as often up as down.
    CHECK(std::sqrt(error / norm) < std::sqrt(static_cast<double>(k)) * 0x1p-24);
    // Activations of 8 bits are off by up to amax / 254, uniformly: amax / 254 / sqrt(3) of normal numbers whose amax
    // in a group is 3 of their standard deviation, at most 4.
    CHECK(std::sqrt(error8 / norm) < 4.0 / 254 / std::sqrt(3.0));
  }
}
