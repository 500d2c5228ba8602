// Planned bytes against what is allocated: this program counts what the library asks operator new for.
//
// Backends: scalar, generic, avx512_vnni, neon_i8mm
#include <qlite/evaluate/memory_plan.hpp>
#include <qlite/evaluate/workspace_plan.hpp>

#include <cstdlib>
#include <new>
#include <vector>

#include "gemm/matrices.hpp"
#include "support/property.hpp"
#include "support/refusal.hpp"

namespace ql = qlite;
using namespace qlite_test;
using backend = QLITE_TEST_BACKEND;

// Bytes of all aligned allocations, which is how qlite's buffers are allocated.
static std::size_t aligned_bytes = 0;

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const std::size_t a = static_cast<std::size_t>(alignment);
  if (void* p = std::aligned_alloc(a, (bytes + a - 1) / a * a)) {
    aligned_bytes += bytes;
    return p;
  }
  throw std::bad_alloc{};
}
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

template <class F>
std::size_t bytes_allocated_by(F&& f) {
  const std::size_t before = aligned_bytes;
  f();
  return aligned_bytes - before;
}

struct threads {
  std::size_t count;
  std::size_t concurrency() const { return count; }
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) const {
    for (std::size_t i = 0; i < tasks; ++i) f(i);
  }
};

template <class Scheme>
void check_workspaces(random_source& random, const ql::quantized_matrix<Scheme>& q) {
  const auto packed = ql::pack<backend>(q);
  const std::size_t m = random.extent(0, 200);
  const threads executor{random.integer(1, 6)};
  const std::vector<float> x(m * q.cols()), y(m * q.rows());
  const std::vector<ql::bfloat16> x16(x.size());
  const ql::matrix_view<const float> X{x.data(), m, q.cols()}, shape{nullptr, m, q.cols()};
  const ql::matrix_view<const ql::bfloat16> X16{x16.data(), m, q.cols()}, shape16{nullptr, m, q.cols()};
  std::vector<float> out(y);
  const ql::matrix_view<float> Y{out.data(), m, q.rows()};
  const auto check = [&](const auto& planned_form, const auto& form) {
    const std::size_t planned =
        ql::planned_workspace_bytes<Scheme, backend>(planned_form, q.rows(), q.scheme(), executor);
    REQUIRE(planned == ql::gemm_workspace_bytes(form, packed, executor));
    // The overload without a workspace allocates one of that size, unless there is nothing to compute.
    const std::size_t bytes = bytes_allocated_by([&] { ql::gemm(form, packed, Y, ql::epilogue::none{}, executor); });
    REQUIRE(bytes == planned);
  };
  check(shape, X);
  check(shape16, X16);
  check(ql::dynamic<ql::int8>(shape), ql::dynamic<ql::int8>(X));
  check(ql::dynamic<ql::int8, ql::per_token>(shape16), ql::dynamic<ql::int8, ql::per_token>(X16));
}

}    // namespace

TEMPLATE_TEST_CASE("planned bytes are the allocated ones", "", (ql::scheme<ql::int4, ql::per_group<32>>),
                   (ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>>), (ql::scheme<ql::int8, ql::per_channel>),
                   (ql::scheme<ql::int8, ql::per_tensor, ql::symmetric, float>),
                   (ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::asymmetric>),
                   (ql::scheme<ql::int8, ql::per_group<ql::dynamic_extent>, ql::asymmetric, float>),
                   (ql::scheme<ql::int4, ql::per_tensor, ql::asymmetric>),
                   (ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::offset<>>),
                   (ql::scheme<ql::int8, ql::per_channel, ql::offset<float>>)) {
  using traits = ql::detail::scheme_traits<TestType>;
  for_random_cases(120, [](random_source& random) {
    const std::size_t rows = random.extent(0, 70), cols = random.extent(0, 400);
    const auto scheme = with_group<TestType>(random.pick<std::size_t>({1, 3, 16, 31, 32, 64, 100, 1000}));
    CAPTURE(rows, cols, ql::name<TestType>(), traits::group_size(scheme, cols));

    const auto file = ql::canonical_memory(rows, cols, scheme);
    const ql::canonical_layout<TestType> layout{rows, cols, scheme};
    REQUIRE(file.codes == layout.code_bytes());
    REQUIRE(file.scales == layout.scale_bytes());
    REQUIRE(file.zero_points == layout.zero_bytes());
    REQUIRE(file.offsets == layout.offset_bytes());
    REQUIRE(file.padding == 0);
    REQUIRE(file.total() == layout.bytes());

    const auto owned = ql::canonical_memory(rows, cols, scheme, true);
    ql::quantized_matrix<TestType> q;
    REQUIRE(bytes_allocated_by([&] { q = ql::quantized_matrix<TestType>(rows, cols, scheme); }) == owned.total());
    REQUIRE(owned.total() - owned.padding == file.total());

    q = random_quantized<TestType>(random, rows, cols, scheme);
    const auto planned = ql::packed_memory<TestType, backend>(rows, cols, scheme);
    std::size_t reported = 0;
    REQUIRE(bytes_allocated_by([&] { reported = ql::pack<backend>(q).bytes(); }) == planned.total());
    REQUIRE(reported == planned.total());
    REQUIRE(planned.total() == ql::packed_bytes<TestType, backend>(rows, cols, scheme));
    REQUIRE(planned.codes == layout.code_bytes());
    REQUIRE(planned.padding <= planned.total());    // no wrap-around
    if (!traits::one_scale) REQUIRE(planned.scales == layout.scale_bytes());

    // The run-time twin plans the same.
    const auto by_info = ql::packed_memory<backend>(ql::info_of(scheme), rows, cols);
    REQUIRE(by_info.total() == planned.total());
    REQUIRE(by_info.zero_points == planned.zero_points);

    if (rows != 0 && cols != 0) check_workspaces(random, q);
  });
}

namespace {

using w4 = ql::scheme<ql::int4, ql::per_group<128>>;
using w8 = ql::scheme<ql::int8, ql::per_channel>;

// A 7B Llama: at compile time.
constexpr ql::memory_plan plan_of(const ql::scheme_info& info) {
  ql::memory_plan plan;
  for (int layer = 0; layer < 32; ++layer) {
    for (int i = 0; i < 4; ++i) plan.add<ql::cpu::scalar>(info, 4096, 4096);
    for (int i = 0; i < 2; ++i) plan.add<ql::cpu::scalar>(info, 11008, 4096);
    plan.add<ql::cpu::scalar>(info, 4096, 11008);
    plan.add_floats(2 * 4096);
  }
  plan.add_floats(2 * 32000 * 4096);
  plan.add_workspace(1000);
  plan.add_workspace(500);
  plan.kv = {32, 32, 128};
  return plan;
}
constexpr auto plan4 = plan_of(ql::info_of<w4>());
constexpr auto plan8 = plan_of(ql::info_of<w8>());

// 128 weights in 64 bytes and a float16: 4.125 bits a weight. 11008 weights are 86 groups, and headers come in fours.
constexpr std::size_t linear_weights = 32 * (4 * 4096ul * 4096 + 3 * 11008ul * 4096);
static_assert(plan4.quantized().codes == linear_weights / 2, "");
static_assert(plan4.quantized().scales == linear_weights / 128 * 2, "");
static_assert(plan4.quantized().padding == 32 * (4096 / 16) * (2 * 16 * sizeof(ql::float16)), "");
static_assert(plan8.quantized().codes == linear_weights, "");
static_assert(plan4.workspace() == 1000, "");
static_assert(plan4.kv.bytes_per_token() == 2 * 32 * 32 * 128 * 2, "");
static_assert(plan4.float16_total(0) == 2 * (linear_weights + 32 * 2 * 4096 + 2 * 32000 * 4096), "");
static_assert(plan4.total(100) == plan4.weight_bytes() + 1000 + 100 * plan4.kv.bytes_per_token(), "");
static_assert(plan4.total(0) < plan8.total(0) && plan8.total(0) < plan8.float16_total(0), "");
// An INT8 cache with a float16 scale for each vector of a head, and a 4-bit one of an odd size.
static_assert(ql::kv_cache_shape(2, 3, 64, 8, 2).bytes_per_token() == 2 * 2 * 3 * (64 + 2), "");
static_assert(ql::kv_cache_shape(1, 1, 5, 4).bytes_per_token() == 2 * 3, "");

}    // namespace

TEST_CASE("a plan for a run-time scheme without a group size is refused where it is used") {
  using any4 = ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>>;
  const ql::matrix_view<const float> X{nullptr, 1, 64};
  CHECK_THAT(refusal_of([&] { static_cast<void>(ql::planned_workspace_bytes<any4, backend>(X, 8)); }),
             ContainsSubstring("the group size of W is 0"));
}
