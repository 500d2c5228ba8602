// nl4: the nearest number of the table, exact round trips, and errors below int4's.
#include <algorithm>
#include <cmath>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/code_books.hpp"

namespace ql = qlite;
using namespace qlite_test;
using w4 = ql::scheme<ql::nl4, group<32>>;

namespace {

template <class Scheme, class Method>
double error_of(strided_matrix<float>& W, const Method& method) {
  strided_matrix<float> back(W.rows(), W.cols(), 0);
  ql::dequantize(ql::quantize<Scheme>(W.view(), method), back.view());
  double e = 0, s = 0;
  for (std::size_t r = 0; r < W.rows(); ++r)
    for (std::size_t c = 0; c < W.cols(); ++c) {
      const auto w = static_cast<double>(W.value(r, c));
      e += std::pow(w - static_cast<double>(back.value(r, c)), 2);
      s += w * w;
    }
  return std::sqrt(e / s);
}

// The code by comparing all distances; a tie has the lower code.
int nearest(double x) {
  int best = 0;
  for (int i = 1; i < 16; ++i)
    if (std::abs(nl4_book[i] - x) < std::abs(nl4_book[best] - x)) best = i;
  return best;
}

}    // namespace

TEMPLATE_TEST_CASE("nl4 codes are the nearest numbers of the table, and dequantize gives them back", "", w4,
                   (ql::scheme<ql::nl4, any_group>), (ql::scheme<ql::nl4, ql::per_channel, ql::symmetric, float>),
                   (ql::scheme<ql::nl4, ql::per_tensor>)) {
  using traits = ql::detail::scheme_traits<TestType>;
  for_random_cases(40, [](random_source& random) {
    const std::size_t rows = random.extent(1, 5), cols = random.extent(1, 500), gap = random.integer(0, 2);
    strided_matrix<float> W(rows, cols, gap);
    fill(W, random);
    TestType scheme{};
    if constexpr (traits::dynamic_group) scheme.granularity.size = random.extent(1, 150);
    const auto q = ql::quantize(scheme, W.view(), ql::rtn{});
    strided_matrix<float> back(W.rows(), W.cols(), 1);
    ql::dequantize(q, back.view());
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < W.rows(); ++r)
      for (std::size_t c = 0; c < W.cols(); ++c) {
        const std::size_t g = traits::grouped ? c / q.group_size() : 0;
        double extreme = 0;    // the first of the largest, with its sign
        for (const double w : group_of<TestType>(W, r, c, q.group_size()))
          if (std::abs(w) > std::abs(extreme)) extreme = w;
        const auto scale = static_cast<float>(
            stored_scale<typename traits::scale>(static_cast<double>(static_cast<float>(extreme) / -127.0f)));
        wrong += q.scale(r, g) != scale;
        wrong += q.code(r, c) != nearest(static_cast<double>(W.value(r, c) / scale));
        wrong += back.value(r, c) != static_cast<float>(nl4_book[q.code(r, c)]) * scale;
      }
    CHECK(wrong == 0);
  });
}

TEST_CASE("the table's errors on normal weights are below those of evenly spaced codes") {
  random_source random(8);
  strided_matrix<float> W(64, 1024, 0);
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t c = 0; c < 1024; ++c) W(r, c) = random.normal();
  using int4_32 = ql::scheme<ql::int4, group<32>>;
  const double rtn = error_of<w4>(W, ql::rtn{}), clip = error_of<w4>(W, ql::mse_clip{});
  CHECK(rtn < 0.95 * error_of<int4_32>(W, ql::rtn{}));
  CHECK(clip < 0.95 * error_of<int4_32>(W, ql::mse_clip{}));
  CHECK(clip < rtn);
  CHECK(clip <= error_of<w4>(W, ql::basic_rtn<ql::scale_rule::absmax>{}));
}

TEST_CASE("on an identity Hessian gptq gives what rtn gives") {
  random_source random(3);
  strided_matrix<float> W(7, 160, 1);
  fill(W, random);
  ql::hessian H(160);
  for (std::size_t c = 0; c < 160; ++c) H(c, c) = 1;
  CHECK(same_bytes(ql::quantize<w4>(W.view(), ql::gptq{H}), ql::quantize<w4>(W.view(), ql::rtn{})));
}

TEST_CASE("its name and description") {
  CHECK(std::string(ql::name<w4>()) == "nl4 per_group<32>");
  const ql::scheme_info info = ql::info_of(w4{});
  CHECK(info.codebook == ql::codebook_kind::nl4);
  CHECK(info.bits == 4);
  bool visited = false;
  ql::visit_scheme<ql::scheme_list<ql::scheme<ql::nf4, group<32>>, w4>>(
      info, [&](auto scheme) { visited = std::is_same_v<decltype(scheme), w4>; });
  CHECK(visited);
}
