// Door 2 quantizes to the same bytes as door 1, on the backend QLITE_TEST_BACKEND and with several tasks; and both to
// the bytes of the plain loops, which are compiled here with this backend's flags too. One backend of each width of
// vectors is enough: the loops do not depend on more.
//
// Backends: scalar, generic, avx2, avx512_vnni, neon_i8mm
#include <qlite/cpu/quantize.hpp>

#include "quantize/oracle.hpp"
#include "support/catch.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

namespace {

struct tasks_of_three {
  std::size_t concurrency() const { return 3; }
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    for (std::size_t i = 0; i < tasks; ++i) f(i);
  }
};

template <class Scheme, class T, class Method>
void check(random_source& random, Scheme scheme, const Method& method) {
  strided_matrix<T> W(random.extent(1, 6), random.extent(1, 1100), random.integer(0, 2));
  fill(W, random);
  CAPTURE(ql::name<Scheme>(), ql::name<backend>(), W.rows(), W.cols());
  const auto plain = ql::quantize<ql::cpu::scalar>(scheme, W.view(), method);
  CHECK(same_bytes(plain, ql::quantize(scheme, W.view(), method)));
  CHECK(same_bytes(plain, ql::quantize<backend>(scheme, W.view(), method, tasks_of_three{})));
}

template <class Scheme>
Scheme with_size(random_source& random) {
  Scheme scheme{};
  if constexpr (ql::detail::scheme_traits<Scheme>::dynamic_group) scheme.granularity.size = random.extent(1, 700);
  return scheme;
}

}    // namespace

TEMPLATE_TEST_CASE("every backend gives the same bytes", "", (ql::scheme<ql::int4, group<32>>),
                   (ql::scheme<ql::int4, any_group>), (ql::scheme<ql::int4, any_group, ql::asymmetric>),
                   (ql::scheme<ql::int4, group<64>, ql::offset<>>),
                   (ql::scheme<ql::int8, any_group, ql::symmetric, float>),
                   (ql::scheme<ql::int8, ql::per_channel, ql::asymmetric, float>),
                   (ql::scheme<ql::int8, any_group, ql::offset<float>>), (ql::scheme<ql::int8, ql::per_tensor>)) {
  for_random_cases(40, [](random_source& random) {
    const auto scheme = with_size<TestType>(random);
    check<TestType, float>(random, scheme, ql::rtn{});
    check<TestType, ql::float16>(random, scheme, ql::rtn{});
    check<TestType, ql::bfloat16>(random, scheme, ql::rtn{});
    check<TestType, float>(random, scheme, ql::mse_clip{16, 10});
  });
}

TEST_CASE("every rule gives the same bytes") {
  using w4 = ql::scheme<ql::int4, any_group>;
  for_random_cases(40, [](random_source& random) {
    const w4 scheme{{random.extent(1, 200)}};
    check<w4, float>(random, scheme, ql::basic_rtn<ql::scale_rule::absmax, ql::round_rule::half_away>{});
    check<w4, float>(random, scheme, ql::basic_rtn<ql::scale_rule::absmax_wide, ql::round_rule::half_up_truncate>{});
    check<w4, float>(random, scheme, ql::basic_mse_clip<ql::round_rule::half_away>{12, 12});
  });
}

TEST_CASE("a scheme as a template argument or as a value, with a backend") {
  std::vector<float> w(3 * 70, 0.25f);
  const ql::matrix_view<float> W{w.data(), 3, 70};
  using w4 = ql::scheme<ql::int4, group<32>>;
  CHECK(same_bytes(ql::quantize<w4, backend>(W, ql::rtn{}), ql::quantize<w4>(W, ql::rtn{})));
  CHECK(
      same_bytes(ql::quantize<w4, backend>(W, ql::rtn{}, tasks_of_three{}), ql::quantize<backend>(w4{}, W, ql::rtn{})));
}

TEST_CASE("codes and scales are these bytes, on every compiler and target") {
  // A hash of what is stored, taken once: it must not change with compiler, flags, optimization or processor.
  std::uint64_t hash = 1469598103934665603u;    // FNV-1a
  const auto add = [&](const void* data, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) hash = (hash ^ static_cast<const std::uint8_t*>(data)[i]) * 1099511628211u;
  };
  // integers only, so that the weights do not depend on a math library
  random_source random(11);
  std::vector<float> w(24 * 333);
  for (float& x : w) {
    const auto sum = static_cast<int>(random.integer(0, 4095) + random.integer(0, 4095) + random.integer(0, 4095));
    x = static_cast<float>(sum - 6142) * 0x1p-9f;
  }
  const ql::matrix_view<float> W{w.data(), 24, 333};
  const auto run = [&](auto scheme, const auto& method) {
    const auto q = ql::quantize<backend>(scheme, W, method);
    add(q.codes(), q.shape().code_bytes());
    add(q.scales(), q.shape().scale_bytes());
    add(q.zeros(), q.shape().zero_bytes());
    add(q.offsets(), q.shape().offset_bytes());
  };
  const auto all = [&](const auto& method) {
    run(ql::scheme<ql::int4, group<32>>{}, method);
    run(ql::scheme<ql::int4, any_group, ql::asymmetric>{{50}}, method);
    run(ql::scheme<ql::int4, group<64>, ql::offset<>, float>{}, method);
    run(ql::scheme<ql::int8, ql::per_channel, ql::symmetric, float>{}, method);
    run(ql::scheme<ql::int8, ql::per_tensor, ql::offset<float>>{}, method);
  };
  all(ql::rtn{});
  all(ql::basic_rtn<ql::scale_rule::absmax_wide, ql::round_rule::half_away>{});
  all(ql::mse_clip{});
  CHECK(hash == 0x9af2aa50023dbc8au);
}
