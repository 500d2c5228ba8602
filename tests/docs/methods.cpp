// The examples of docs/methods.md.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>

#include <vector>

#include "support/catch.hpp"
#include "support/property.hpp"

namespace ql = qlite;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;

TEST_CASE("the examples of docs/methods.md") {
  const std::size_t rows = 128, k = 96, n = 24;
  qlite_test::random_source random(1);
  const std::vector<float> x = random.normal_vector(rows * k), w = random.normal_vector(n * k),
                           w2 = random.normal_vector(n * k);
  std::vector<float> gain(k, 1.0f);
  const ql::matrix_view<const float> X{x.data(), rows, k}, W{w.data(), n, k}, W2{w2.data(), n, k};
  const ql::thread_pool executor(2);
#include "snippets/calibrate.inc"
  CHECK(scale > 0.01f);
  CHECK(scale < 0.1f);
#include "snippets/gptq.inc"
  CHECK(ql::output_error(W, q, X) < ql::output_error(W, ql::quantize<w4>(W, ql::rtn{}), X));
#include "snippets/refine.inc"
  CHECK(ql::output_error(W, better, X) < ql::output_error(W, q, X));
  std::vector<float> xq = x;
  for (float& v : xq) v = 0.8f * v;    // what an earlier layer made of it
  const ql::matrix_view<const float> Xq{xq.data(), rows, k};
#include "snippets/compensate.inc"
  std::vector<float> grown = w;
  for (float& v : grown) v = 1.25f * v;
  const ql::matrix_view<const float> target{grown.data(), n, k};
  CHECK(ql::output_error(target, closer, Xq) < ql::output_error(target, better, Xq));
#include "snippets/fold.inc"
  CHECK(gain[3] == 1.0f / scaled.input_scale()[3]);
  CHECK(packed.rows() == n);
  CHECK(ql::output_error(W2, other, X) < ql::output_error(W2, ql::quantize<w4>(W2, ql::rtn{}), X));
}
