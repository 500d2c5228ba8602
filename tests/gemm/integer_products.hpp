// Products with INT8 activations against the oracle, bit for bit: every form of X, any batch, any executor, scratch of
// exactly the size that was asked for. integer_<code>.cpp list the schemes.
#pragma once

#include <functional>
#include <qlite/gemm/any_packed.hpp>

#include "gemm/executors.hpp"
#include "gemm/oracle.hpp"

namespace qlite_test {

// Checks rows [begin, end) of a product, written with `run(y, executor, workspace)`, which asks for `bytes(executor)`.
template <class TY>
void check_rows(random_source& random, std::size_t n, std::size_t begin, std::size_t end,
                const std::vector<float>& expected, const std::function<std::size_t(const any_executor&)>& bytes,
                const std::function<void(qlite::matrix_view<TY>, const any_executor&, qlite::workspace)>& run) {
  awkward_matrix<TY> y(end - begin, n, random.integer(0, 3));
  const any_executor executor = random_executor(random);
  guarded_memory scratch(bytes(executor));
  run(y.view(), executor, scratch.workspace());
  REQUIRE_FALSE(executor.was_asked_for_too_many());
  REQUIRE(scratch.guards_are_intact());
  REQUIRE(y.guards_are_intact());
  for (std::size_t r = begin; r < end; ++r) {
    for (std::size_t c = 0; c < n; ++c) {
      const float want = to_float(from_float<TY>(expected[r * n + c])), got = to_float(y(r - begin, c));
      if (!same_float(got, want)) {
        INFO("Y(" << r << ", " << c << ") in rows " << begin << " to " << end);
        REQUIRE(got == want);
      }
    }
  }
}
template <class TY, class Form, class Packed>
void check_rows(random_source& random, const Form& x, const Packed& packed, std::size_t begin, std::size_t end,
                const std::vector<float>& expected) {
  check_rows<TY>(
      random, packed.rows(), begin, end, expected,
      [&](const any_executor& executor) { return qlite::gemm_workspace_bytes(x, packed, executor); },
      [&](qlite::matrix_view<TY> y, const any_executor& executor, qlite::workspace scratch) {
        qlite::gemm(x, packed, y, qlite::epilogue::none{}, executor, scratch);
      });
}

// A product of `x` with weights whose scheme is a value, in all forms. (That a scheme as a type gives the same is the
// test gemm/any_packed; this way the loops around the kernels are compiled once for all schemes.)
template <class TY, class TX, class Backend>
void check_forms(random_source& random, const input_matrix<TX>& x, const qlite::any_packed<Backend>& packed,
                 const exact_weights& w) {
  namespace ql = qlite;
  const std::size_t m = x.rows(), n = packed.rows(), k = x.cols(), whole = std::max<std::size_t>(k, 1);
  const auto expect = [&](const std::function<quantized_row(std::size_t)>& row_of, bool token) {
    std::vector<float> y(m * n);
    for (std::size_t r = 0; r < m; ++r) {
      const quantized_row row = row_of(r);
      for (std::size_t c = 0; c < n; ++c) y[r * n + c] = w.dot(row, c, token);
    }
    return y;
  };
  const std::size_t first = random.integer(0, m), last = random.integer(first, m);    // a part of the batch

  {
    INFO("dynamic<int8>");
    const auto want =
        expect([&](std::size_t r) { return quantize_row(x.row(r), w.grouped() ? w.group() : whole); }, !w.grouped());
    check_rows<TY>(random, ql::dynamic<ql::int8>(x.view()), packed, 0, m, want);
    check_rows<TY>(random, ql::dynamic<ql::int8>(x.rows_of(first, last)), packed, first, last, want);

    INFO("quantized once");
    const auto form = ql::dynamic<ql::int8>(x.view());
    guarded_memory memory(ql::quantized_activations_bytes(form, packed));
    const auto once = ql::quantize_activations(form, packed, memory.workspace(), random_executor(random));
    REQUIRE(memory.guards_are_intact());
    check_rows<TY>(random, once, packed, 0, m, want);
  }
  {
    INFO("dynamic<int8, per_token>");
    const auto want = expect([&](std::size_t r) { return quantize_row(x.row(r), whole); }, true);
    check_rows<TY>(random, ql::dynamic<ql::int8, ql::per_token>(x.rows_of(first, last)), packed, first, last, want);

    INFO("quantized once");
    const auto form = ql::dynamic<ql::int8, ql::per_token>(x.view());
    guarded_memory memory(ql::quantized_activations_bytes(form, packed));
    const auto once = ql::quantize_activations(form, packed, memory.workspace(), random_executor(random));
    REQUIRE(memory.guards_are_intact());
    check_rows<TY>(random, once, packed, 0, m, want);
  }
  {
    INFO("dynamic<int8, per_tensor>");
    float amax = 0.0f;
    bool finite = true;
    for (std::size_t r = 0; r < m; ++r) amax = std::max(amax, largest_magnitude(x.row(r), 0, k, finite));
    const float inverse = 127.0f / amax, scale = amax == 0.0f ? 0.0f : amax / 127.0f;
    const auto want = expect([&](std::size_t r) { return quantize_row(x.row(r), scale, inverse); }, true);
    check_rows<TY>(random, ql::dynamic<ql::int8, ql::per_tensor>(x.view()), packed, 0, m, want);
  }
  {
    INFO("fixed<int8>");
    const float scale = random.uniform(0.001f, 0.1f);    // the smaller ones clamp
    const auto want = expect([&](std::size_t r) { return quantize_row(x.row(r), scale, 1.0f / scale); }, true);
    check_rows<TY>(random, ql::fixed<ql::int8>(x.rows_of(first, last), scale), packed, first, last, want);
  }
}

// Random products with weights of this scheme.
template <class Backend, class Scheme, class TX = float, class TY = float>
void check_integer_products(std::uint64_t cases) {
  for_random_cases(cases, [](random_source& random) {
    const case_shape shape = random_shape(random);
    INFO(qlite::name<Scheme>() << ", m " << shape.m << ", n " << shape.n << ", k " << shape.k << ", group "
                               << shape.group);
    const auto q = random_quantized<Scheme>(random, shape.n, shape.k, with_group<Scheme>(shape.group));
    check_forms<TY>(random, random_inputs<TX>(random, shape.m, shape.k),
                    qlite::any_packed<Backend>(qlite::pack<Backend>(q)), exact_weights(q.view()));
  });
}

}    // namespace qlite_test
