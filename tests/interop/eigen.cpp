#include <cstring>
#include <qlite/interop/eigen.hpp>
#include <qlite/quantize.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/property.hpp"
#include "support/refusal.hpp"

using qlite_test::refusal_of;

namespace {

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T, class M>
void check_same_elements(qlite::matrix_view<T> view, const M& m) {
  REQUIRE(view.rows() == static_cast<std::size_t>(m.rows()));
  REQUIRE(view.cols() == static_cast<std::size_t>(m.cols()));
  for (Eigen::Index r = 0; r < m.rows(); ++r)
    for (Eigen::Index c = 0; c < m.cols(); ++c)
      CHECK(&view(static_cast<std::size_t>(r), static_cast<std::size_t>(c)) == &m.coeffRef(r, c));
}

}    // namespace

TEST_CASE("a view of an Eigen matrix is its memory") {
  matrix m = matrix::Random(5, 7);
  const matrix& constant = m;
  static_assert(std::is_same_v<decltype(qlite::view(m)), qlite::matrix_view<float>>);
  static_assert(std::is_same_v<decltype(qlite::view(constant)), qlite::matrix_view<const float>>);
  check_same_elements(qlite::view(m), m);
  check_same_elements(qlite::view(constant), constant);
  qlite::view(m)(4, 6) = 42.0f;
  CHECK(m(4, 6) == 42.0f);

  Eigen::Matrix<double, 2, 3, Eigen::RowMajor> fixed;
  check_same_elements(qlite::view(fixed), fixed);
  Eigen::Array<float, 4, 3, Eigen::RowMajor> array;
  check_same_elements(qlite::view(array), array);
  matrix empty(0, 3);
  CHECK(qlite::view(empty).empty());
}

TEST_CASE("blocks, maps and references keep their strides") {
  matrix m = matrix::Random(6, 8);
  auto block = m.block(1, 2, 4, 5);
  check_same_elements(qlite::view(block), block);
  CHECK(qlite::view(block).row_stride() == 8);
  check_same_elements(qlite::view(m.middleRows(2, 3)), m.middleRows(2, 3));    // a temporary block of a living matrix

  std::vector<float> memory(60);
  const Eigen::Map<matrix, 0, Eigen::OuterStride<>> map(memory.data(), 4, 5, Eigen::OuterStride<>(15));
  const auto mapped = qlite::view(map);
  CHECK(mapped.row_stride() == 15);
  CHECK(&mapped(3, 4) == &memory[3 * 15 + 4]);
  const Eigen::Map<const matrix> constant(memory.data(), 6, 10);
  static_assert(std::is_same_v<decltype(qlite::view(constant)), qlite::matrix_view<const float>>);
  CHECK(&qlite::view(constant)(5, 9) == &memory[59]);

  Eigen::Ref<matrix, 0, Eigen::OuterStride<>> ref(block);
  check_same_elements(qlite::view(ref), ref);
  CHECK(qlite::view(ref).row_stride() == 8);
}

TEST_CASE("vectors keep Eigen's shape") {
  Eigen::RowVectorXf row = Eigen::RowVectorXf::Random(9);
  check_same_elements(qlite::view(row), row);
  Eigen::VectorXf column = Eigen::VectorXf::Random(9);
  check_same_elements(qlite::view(column), column);
  CHECK(qlite::view(column).cols() == 1);
  matrix m = matrix::Random(4, 5);
  auto inner = m.col(2);    // five elements apart
  check_same_elements(qlite::view(inner), inner);
}

TEST_CASE("strides that no view has are refused with their value") {
  std::vector<float> memory(100);
  using strided = Eigen::Map<matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  const strided every_second(memory.data(), 4, 5, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(10, 2));
  CHECK_THAT(refusal_of([&] { qlite::view(every_second); }), ContainsSubstring("stride of an Eigen matrix is 2"));
  const strided backwards(memory.data() + 90, 4, 5, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(-10, 1));
  CHECK_THAT(refusal_of([&] { qlite::view(backwards); }), ContainsSubstring("-10"));
  const strided plain(memory.data(), 4, 5, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(10, 1));
  CHECK(qlite::view(plain).row_stride() == 10);
}

// The factors differ in their last bits, so a code may differ where its weight lies within about 1e-6 of a tie; of the
// few hundred codes of each of these cases none does.
TEST_CASE("gptq takes Eigen's Cholesky factorization") {
  qlite_test::for_random_cases(20, [](qlite_test::random_source& random) {
    const std::size_t k = random.extent(1, 40), n = random.extent(1, 12), rows = 60;
    const std::vector<float> w = random.normal_vector(n * k), x = random.normal_vector(rows * k);
    qlite::hessian H(k);
    H.observe(qlite::matrix_view<const float>{x.data(), rows, k});
    H(0, k - 1) += k > 1 ? 0.5 * H(0, 0) : 0;
    const qlite::matrix_view<const float> W{w.data(), n, k};
    using w4 = qlite::scheme<qlite::int4, qlite::per_group<8>>;
    const auto own = qlite::quantize<w4>(W, qlite::gptq{H});
    const auto theirs = qlite::quantize<w4>(W, qlite::gptq(H, qlite::rtn{}, qlite::eigen_cholesky{}));
    CHECK(std::memcmp(own.codes(), theirs.codes(), own.shape().code_bytes()) == 0);
    CHECK(std::memcmp(own.scales(), theirs.scales(), own.shape().scale_bytes()) == 0);

    if (k < 2) return;
    H(0, 1) = 3 * H(0, 0) + 3 * H(1, 1);    // indefinite: Eigen says so, damping grows
    qlite::gptq method(H, qlite::rtn{}, qlite::eigen_cholesky{});
    qlite::gptq_report report;
    method.report = &report;
    (void)qlite::quantize<w4>(W, method);
    CHECK(report.attempts > 1);
  });
}
