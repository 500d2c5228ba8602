// Batches that the loops cut into several blocks of rows, because a block of 128 would not fit the cache: the cuts must
// not show. Nor must the number of tasks, in weight-only products too, whose last bits may otherwise differ from
// backend to backend.
//
// Backends: scalar, avx2, avx512_vnni, neon_dotprod
#include "gemm/weight_only_products.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;
using w4 = ql::scheme<ql::int4, ql::per_group<128>>;

namespace {

struct tasks {
  std::size_t count;
  std::size_t concurrency() const { return count; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    for (std::size_t i = n; i-- > 0;) f(i);    // the last one first
  }
};

template <class Form, class Packed>
std::vector<float> product(const Form& x, std::size_t rows, const Packed& packed, std::size_t threads) {
  std::vector<float> y(rows * packed.rows());
  std::vector<std::byte> memory(ql::gemm_workspace_bytes(x, packed, tasks{threads}));
  ql::gemm(x, packed, ql::matrix_view<float>{y.data(), rows, packed.rows()}, ql::epilogue::none{}, tasks{threads},
           ql::workspace{memory.data(), memory.size()});
  return y;
}

}    // namespace

TEST_CASE("rows in several blocks, by any number of tasks, are what they are alone") {
  // 9000 codes a row: 640 KiB hold 64 rows in whole tiles (gemm/kernel_set.hpp), so that 170 rows make three blocks.
  const std::size_t m = 170, n = 70, k = 9000;
  random_source random(5);
  const auto q = random_quantized<w4>(random, n, k, w4{});
  const auto packed = ql::pack<backend>(q);
  const input_matrix<float> x = random_inputs<float>(random, m, k);

  const auto whole = product(ql::dynamic<ql::int8>(x.view()), m, packed, 1);
  for (const std::size_t threads : {2u, 5u})
    CHECK(product(ql::dynamic<ql::int8>(x.view()), m, packed, threads) == whole);
  const exact_weights w(q.view());
  std::size_t wrong = 0;
  for (const std::size_t r : {0u, 55u, 56u, 63u, 64u, 111u, 112u, 143u, 168u, 169u}) {
    const auto alone = product(ql::dynamic<ql::int8>(x.rows_of(r, r + 1)), 1, packed, 1);
    const quantized_row row = quantize_row(x.row(r), 128);
    for (std::size_t c = 0; c < n; ++c) {
      wrong += !same_float(whole[r * n + c], alone[c]);
      wrong += !same_float(alone[c], w.dot(row, c, false));
    }
  }
  CHECK(wrong == 0);

  const auto floats = product(x.view(), m, packed, 1);
  for (const std::size_t threads : {2u, 5u}) CHECK(product(x.view(), m, packed, threads) == floats);
  for (const std::size_t r : {0u, 56u, 169u})
    for (std::size_t c = 0; c < n; ++c) {
      const auto want = w.dot(x.row(r), c);
      const double bound = (gamma_of(k + 2, 0x1p-24) + gamma_of(k + 2, 0x1p-53)) * want.magnitude;
      CHECK(std::abs(static_cast<double>(floats[r * n + c]) - want.value) <= bound);
    }
}
