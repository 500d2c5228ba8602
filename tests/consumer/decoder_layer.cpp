// The linear layers of a decoder block as an engine runs them: schemes from a config that differ between layers, one
// quantization of the activations for the query, key and value projections, a SwiGLU in the epilogue, the residual
// added in place, threads of the engine's pool, and no allocation while it serves.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <vector>

namespace ql = qlite;
using backend = ql::cpu::native;
using layer = ql::any_packed<backend>;

static std::atomic<long> allocations{0};

void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes)) return p;
  std::abort();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  ++allocations;
  const auto a = static_cast<std::size_t>(alignment);
  if (void* p = std::aligned_alloc(a, (bytes + a - 1) / a * a)) return p;
  std::abort();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

constexpr std::size_t width = 192, hidden = 320, most_tokens = 40;

struct weights {
  std::vector<float> values;
  std::size_t rows, cols;
  ql::matrix_view<const float> view() const { return {values.data(), rows, cols}; }
};

static weights random_weights(std::mt19937& random, std::size_t rows, std::size_t cols) {
  std::normal_distribution<float> normal(0.0f, 1.0f / std::sqrt(static_cast<float>(cols)));
  weights w{std::vector<float>(rows * cols), rows, cols};
  for (float& v : w.values) v = normal(random);
  return w;
}

// {"bits": ..., "group_size": ..., "symmetric": ...}, as model configs have it.
static layer load(const weights& w, int bits, std::size_t group_size, bool symmetric) {
  ql::scheme_info info;
  info.bits = bits;
  info.group_size = group_size;
  info.symmetric = symmetric;
  if (group_size == 0) info.granularity = ql::granularity_kind::per_channel;
  layer packed;
  ql::visit_scheme(info, [&](auto scheme) { packed = ql::pack<backend>(ql::quantize(scheme, w.view(), ql::rtn{})); });
  return packed;
}

struct block {
  weights wq, wk, wv, wo, up, gate, down;
  layer q, k, v, o, u, g, d;
};

struct state {
  std::vector<float> x, q, k, v, h, g;
};

// One block over m tokens. Attention itself is left out: the values stand for its result.
template <class Executor>
void run(const block& b, state& s, std::size_t m, const Executor& executor, ql::workspace activations,
         ql::workspace scratch) {
  const ql::matrix_view<float> x{s.x.data(), m, width}, q{s.q.data(), m, width}, k{s.k.data(), m, width},
      v{s.v.data(), m, width}, h{s.h.data(), m, hidden}, g{s.g.data(), m, hidden};
  const ql::matrix_view<const float> input = x;
  const auto once = ql::quantize_activations(ql::dynamic<ql::int8>(input), b.q, activations, executor);
  ql::gemm(once, b.q, q, ql::epilogue::none{}, executor, scratch);
  ql::gemm(once, b.k, k, ql::epilogue::none{}, executor, scratch);
  ql::gemm(once, b.v, v, ql::epilogue::none{}, executor, scratch);
  ql::gemm(ql::dynamic<ql::int8>(v), b.o, x, ql::epilogue::residual{x}, executor, scratch);
  ql::gemm(ql::dynamic<ql::int8>(input), b.u, h, ql::epilogue::none{}, executor, scratch);
  ql::gemm(ql::dynamic<ql::int8>(input), b.g, g, ql::epilogue::chain(ql::epilogue::silu{}, ql::epilogue::multiply{h}),
           executor, scratch);
  ql::gemm(ql::dynamic<ql::int8>(g), b.d, x, ql::epilogue::residual{x}, executor, scratch);
}

// The same in double with the float weights.
static std::vector<double> reference(const block& b, const std::vector<float>& input, std::size_t m) {
  const auto multiply = [m](const std::vector<double>& x, const weights& w) {
    std::vector<double> y(m * w.rows);
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t r = 0; r < w.rows; ++r)
        for (std::size_t c = 0; c < w.cols; ++c)
          y[i * w.rows + r] += x[i * w.cols + c] * static_cast<double>(w.values[r * w.cols + c]);
    return y;
  };
  std::vector<double> x(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(m * width));
  const auto add = [&](const std::vector<double>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  };
  add(multiply(multiply(x, b.wv), b.wo));
  std::vector<double> g = multiply(x, b.gate);
  const std::vector<double> h = multiply(x, b.up);
  for (std::size_t i = 0; i < g.size(); ++i) g[i] = g[i] / (1.0 + std::exp(-g[i])) * h[i];
  add(multiply(g, b.down));
  return x;
}

int main() {
  std::mt19937 random(1);
  block b{random_weights(random, width, width),
          random_weights(random, width, width),
          random_weights(random, width, width),
          random_weights(random, width, width),
          random_weights(random, hidden, width),
          random_weights(random, hidden, width),
          random_weights(random, width, hidden),
          {},
          {},
          {},
          {},
          {},
          {},
          {}};
  b.q = load(b.wq, 4, 32, false);
  b.k = load(b.wk, 4, 32, true);
  b.v = load(b.wv, 8, 32, true);    // the same group size: one quantization of X serves all three
  b.o = load(b.wo, 8, 0, true);
  b.u = load(b.up, 4, 64, true);
  b.g = load(b.gate, 4, 48, false);    // a size without a type of its own
  b.d = load(b.down, 8, 0, false);

  std::normal_distribution<float> normal;
  std::vector<float> input(most_tokens * width);
  for (float& v : input) v = normal(random);

  // Sizes are asked for once, for the most tokens and the most threads.
  const ql::thread_pool pool(2);
  const ql::matrix_view<const float> most{input.data(), most_tokens, width}, wide{nullptr, most_tokens, hidden};
  std::size_t scratch_bytes = 0;
  for (const layer* l : {&b.q, &b.k, &b.v, &b.o, &b.u, &b.g}) {
    const std::size_t bytes = ql::gemm_workspace_bytes(ql::dynamic<ql::int8>(most), *l, pool);
    scratch_bytes = bytes > scratch_bytes ? bytes : scratch_bytes;
  }
  const std::size_t down_bytes = ql::gemm_workspace_bytes(ql::dynamic<ql::int8>(wide), b.d, pool);
  if (down_bytes > scratch_bytes) scratch_bytes = down_bytes;
  std::vector<std::byte> scratch(scratch_bytes);
  std::vector<std::byte> activations(ql::quantized_activations_bytes(ql::dynamic<ql::int8>(most), b.q));
  state s{
      input, input, input, input, std::vector<float>(most_tokens * hidden), std::vector<float>(most_tokens * hidden)};

  const auto forward = [&](std::size_t first, std::size_t m, const auto& executor) {
    std::memcpy(s.x.data(), input.data() + first * width, m * width * sizeof(float));
    run(b, s, m, executor, {activations.data(), activations.size()}, {scratch.data(), scratch.size()});
  };

  // The prompt at once on two threads, then its tokens one by one on one: the same bits.
  forward(0, most_tokens, pool);
  const std::vector<float> prompt = s.x;
  bool same = true;
  for (std::size_t token = 0; token < most_tokens; ++token) {
    forward(token, 1, ql::serial{});
    same = same && std::memcmp(s.x.data(), prompt.data() + token * width, width * sizeof(float)) == 0;
  }
  const long before = allocations;
  forward(0, most_tokens, pool);
  forward(0, 1, pool);
  const bool quiet = allocations == before;

  const std::vector<double> exact = reference(b, input, most_tokens);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double d = static_cast<double>(prompt[i]) - exact[i];
    difference += d * d;
    norm += exact[i] * exact[i];
  }
  const double error = std::sqrt(difference / norm);
  std::printf("%s: relative error %.4f, batch %s, allocations %s\n", ql::name<backend>(), error,
              same ? "gives the bits of its tokens" : "DIFFERS from its tokens", quiet ? "none" : "SOME");
  return same && quiet && error > 0.0 && error < 0.1 ? 0 : 1;
}
