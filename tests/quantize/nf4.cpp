// NF4: codes by the midpoints, exact round trips, and what methods make of it.
#include <algorithm>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"
#include "support/code_books.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using w4 = ql::scheme<ql::nf4, group<64>, ql::symmetric, float>;

namespace {

// bitsandbytes' thresholds (kernels.cu, dQuantizeNF4), from the lowest
const double limits[15] = {-0.8480964004993439,  -0.6106329262256622,  -0.4599952697753906,   -0.33967943489551544,
                           -0.23460740596055984, -0.13791173323988914, -0.045525018125772476, 0.03979014977812767,
                           0.1202552504837513,   0.2035212516784668,   0.2920137718319893,    0.3893125355243683,
                           0.5016634166240692,   0.6427869200706482,   0.8614784181118011};

int code_of_unit(float x) {    // the tree of comparisons, as a count
  int code = 0;
  for (const double limit : limits) code += x > static_cast<float>(limit);
  return code;
}

}    // namespace

TEST_CASE("the limits are the midpoints of the code book, and a tie has the lower code") {
  strided_matrix<float> W(1, 4, 0);
  for (std::size_t i = 0; i < 15; ++i) {
    CHECK(limits[i] == (nf4_book[i] + nf4_book[i + 1]) / 2);
    const auto limit = static_cast<float>(limits[i]);
    W(0, 0) = 1;    // the scale
    W(0, 1) = limit;
    W(0, 2) = std::nextafter(limit, 2.0f);
    W(0, 3) = std::nextafter(limit, -2.0f);
    const auto q = ql::quantize<w4>(W.view(), ql::rtn{});
    CHECK(q.code(0, 1) == static_cast<int>(i));
    CHECK(q.code(0, 2) == static_cast<int>(i) + 1);
    CHECK(q.code(0, 3) == static_cast<int>(i));
  }
}

TEMPLATE_TEST_CASE("nf4 codes are those of w / absmax, and dequantize gives the code book back", "", w4,
                   (ql::scheme<ql::nf4, any_group>), (ql::scheme<ql::nf4, ql::per_channel>),
                   (ql::scheme<ql::nf4, ql::per_tensor, ql::symmetric, float>)) {
  using traits = ql::detail::scheme_traits<TestType>;
  for_random_cases(40, [](random_source& random) {
    strided_matrix<float> W(random.extent(1, 5), random.extent(1, 500), random.integer(0, 2));
    fill(W, random);
    TestType scheme{};
    if constexpr (traits::dynamic_group) scheme.granularity.size = random.extent(1, 150);
    const auto q = ql::quantize(scheme, W.view(), ql::rtn{});
    strided_matrix<float> back(W.rows(), W.cols(), 1);
    ql::dequantize(q, back.view());
    std::size_t wrong = 0;
    bool subnormal = false;
    for (std::size_t r = 0; r < W.rows(); ++r)
      for (std::size_t c = 0; c < W.cols(); ++c) {
        const std::size_t g = traits::grouped ? c / q.group_size() : 0;
        double amax = 0;
        for (const double w : group_of<TestType>(W, r, c, q.group_size())) amax = std::max(amax, std::abs(w));
        const auto scale = static_cast<float>(stored_scale<typename traits::scale>(amax));
        wrong += q.scale(r, g) != scale;
        subnormal = subnormal || (amax > 0 && scale < 0x1p-14f);
        wrong += q.code(r, c) != code_of_unit(W.value(r, c) / scale);
        wrong += back.value(r, c) != static_cast<float>(nf4_book[q.code(r, c)]) * scale;
      }
    CHECK(wrong == 0);

    // Once more: the same codes and scales. A float16 scale is within 2^-11 of the extreme, which so has the code of 1
    // and comes back as the scale; a subnormal one may be off by a third, and the extreme have another code.
    const auto again = ql::quantize(scheme, back.view(), ql::rtn{});
    if (!subnormal) CHECK(same_bytes(q, again));
    CHECK(same_bytes(again, ql::quantize(scheme, back.view(), ql::rtn{})));
  });
}

TEST_CASE("mse_clip lowers the error of nf4, gptq takes it, and its error on normal weights is what it should be") {
  random_source random(8);
  strided_matrix<float> W(64, 1024, 0);
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t c = 0; c < 1024; ++c) W(r, c) = random.normal();
  const auto error = [&](const auto& q) {
    strided_matrix<float> back(64, 1024, 0);
    ql::dequantize(q, back.view());
    double e = 0, s = 0;
    for (std::size_t r = 0; r < 64; ++r)
      for (std::size_t c = 0; c < 1024; ++c) {
        e += std::pow(static_cast<double>(W.value(r, c)) - static_cast<double>(back.value(r, c)), 2);
        s += std::pow(static_cast<double>(W.value(r, c)), 2);
      }
    return std::sqrt(e / s);
  };
  const auto rtn = ql::quantize<w4>(W.view(), ql::rtn{});
  using int4_64 = ql::scheme<ql::int4, group<64>, ql::symmetric, float>;
  const double plain = error(rtn);
  CHECK(error(ql::quantize<w4>(W.view(), ql::mse_clip{})) < plain);
  CHECK(plain < error(ql::quantize<int4_64>(W.view(), ql::basic_rtn<ql::scale_rule::absmax>{})));
  ql::hessian H(1024);
  for (std::size_t c = 0; c < 1024; ++c) H(c, c) = 1;
  CHECK(same_bytes(ql::quantize<w4>(W.view(), ql::gptq{H}), rtn));
  const auto info = ql::info_of(w4{});
  CHECK(info.codebook == ql::codebook_kind::nf4);
  CHECK(info.bits == 4);
  CHECK(std::string(ql::name<w4>()) == "nf4 per_group<64> float");
}

TEST_CASE("scales are quantized to 8 bits and come back within half a step") {
  for_random_cases(10, [](random_source& random) {
    strided_matrix<float> W(random.extent(1, 20), random.extent(1, 3000), 0);
    fill(W, random);
    auto q = ql::quantize<w4>(W.view(), ql::rtn{});
    const std::size_t count = q.shape().scale_count();
    const std::vector<float> before(q.scales(), q.scales() + count);
    const auto compressed = ql::compress_scales(q);
    CHECK(compressed.cols() == count);
    ql::restore_scales(compressed, q);
    for (std::size_t i = 0; i < count; ++i) {
      const auto begin = before.begin() + static_cast<std::ptrdiff_t>(i / 256 * 256);
      const auto end = before.begin() + static_cast<std::ptrdiff_t>(std::min(count, i / 256 * 256 + 256));
      const double high = *std::max_element(begin, end), low = *std::min_element(begin, end);
      // half a step; range, step, offset and sum are rounded to float, each by 2^-24 of at most `high`, the step 255
      // times
      const double bound = (high - low) / 510 + 300 * 0x1p-24 * high;
      CHECK(std::abs(static_cast<double>(q.scales()[i]) - static_cast<double>(before[i])) <= bound);
    }
  });
}
