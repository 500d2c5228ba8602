// Products as shares of what the machine can do, measured alternately: a product, its peak, the next product. Medians
// over the rounds. On a machine that others use too, such a share says more than any absolute time.
//
//   bench_gemm_ratios_<backend> --quick                            one shape, five batch sizes, one and two threads
//   bench_gemm_ratios_<backend> --json ratios.json                 every shape, and every M from 1 to 64 of the first
//   bench_gemm_ratios_<backend> --kinds int4-g32,int4-g128 --shapes 4100x4000 -m 1-64,128 --threads 2
//
// M = 1: bytes of packed weights read per second against streaming reads; the weights rotate over copies of more than
// 160 MB, so that they come from memory. Larger M: operations per second against vpdpbusd (on AVX2, the shortest exact
// sequence of the kind), or for weight-only against float multiply-adds, on registers alone. Weight-only products also
// against OpenBLAS on the dequantized weights, where it is found.
#include <nlohmann/json.hpp>

#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/cpu/supported.hpp>
#include <qlite/gemm.hpp>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>

#include "gemm/weights.hpp"
#include "machine/peaks.hpp"
#include "machine/sampling.hpp"

#ifdef QLITE_BENCH_OPENBLAS
#include <cblas.h>
#endif

namespace ql = qlite;
namespace bench = qlite_bench;
using backend = QLITE_BENCH_BACKEND;

namespace {

// of X: dynamic<int8>(X), dynamic<int8, per_token>(X), X of float, X of bfloat16
enum class form { groups, token, floats, bfloats };

struct settings {
  std::size_t rounds = 9;
  double sample = 0.008;    // seconds at least
};

// Products of one kind and shape on one executor, for each M.
struct outcome {
  std::string kind, name, unit;
  std::size_t n = 0, k = 0, threads = 1;
  std::size_t disturbed = 0;    // rounds that were measured again
  struct point {
    std::size_t m;
    double microseconds, rate, share;    // rate and share: of bytes at M = 1, of operations beyond
    double over_one = 0;                 // time over that of M = 1
    double over_neighbours = 0;          // time over the mean of M - 1 and M + 1
    double over_more = 0;                // time over that of M + 1
    double of_sgemm = 0;                 // time over that of OpenBLAS
  };
  std::vector<point> points;

  const point* at(std::size_t m) const {
    for (const point& p : points)
      if (p.m == m) return &p;
    return nullptr;
  }
};

constexpr bool is_avx2 = std::is_same_v<backend, ql::cpu::avx2>;
constexpr bool has_pairs = std::is_same_v<backend, ql::cpu::avx512_bf16>;

template <class Scheme, form F, class Executor>
double peak_rate(const Executor& executor) {
  if constexpr (F == form::bfloats && has_pairs)
    return bench::bf16_rate(executor);
  else if constexpr (F == form::floats || F == form::bfloats)
    return is_avx2 ? bench::fma256_rate(executor) : bench::fma_rate(executor);
  else if constexpr (is_avx2)
    return std::is_same_v<typename Scheme::code_type, ql::int4> ? bench::avx2_int4_rate(executor)
                                                                : bench::avx2_int8_rate(executor);
  else
    return bench::vpdpbusd_rate(executor);
}

template <class Scheme, form F>
const char* peak_name() {
  if (F == form::bfloats && has_pairs) return "vdpbf16ps";
  if (F == form::floats || F == form::bfloats) return is_avx2 ? "256-bit fma" : "fma";
  return is_avx2 ? "vpmaddubsw sequence" : "vpdpbusd";
}

template <form F>
auto form_of(ql::matrix_view<const float> x, const std::vector<ql::bfloat16>& rounded) {
  static_cast<void>(rounded);
  if constexpr (F == form::bfloats)
    return ql::matrix_view<const ql::bfloat16>{rounded.data(), x.rows(), x.cols()};
  else if constexpr (F == form::groups)
    return ql::dynamic<ql::int8>(x);
  else if constexpr (F == form::token)
    return ql::dynamic<ql::int8, ql::per_token>(x);
  else
    return x;
}

// Float products of OpenBLAS with the same weights, which rotate like the others.
class sgemm {
 public:
#ifdef QLITE_BENCH_OPENBLAS
  template <class Scheme>
  explicit sgemm(const ql::quantized_matrix<Scheme>& q) : n_(q.rows()), k_(q.cols()) {
    const std::size_t bytes = n_ * k_ * sizeof(float);
    for (std::size_t i = 0; i * bytes < bench::beyond_caches; ++i) {
      copies_.emplace_back(bytes);
      ql::dequantize(q, ql::matrix_view<float>{reinterpret_cast<float*>(copies_.back().data()), n_, k_});
    }
  }
  void run(const float* x, std::size_t m, float* y) {
    const auto* w = reinterpret_cast<const float*>(copies_[next_++ % copies_.size()].data());
    const auto n = static_cast<blasint>(n_), k = static_cast<blasint>(k_);
    if (m == 1)
      cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w, k, x, 1, 0.0f, y, 1);
    else
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(m), n, k, 1.0f, x, k, w, k, 0.0f, y, n);
  }
  static void threads(std::size_t count) { openblas_set_num_threads(static_cast<int>(count)); }
  static const char* core() { return openblas_get_corename(); }

 private:
  std::size_t n_, k_, next_ = 0;
  std::vector<ql::detail::buffer> copies_;
#endif
};

#ifdef QLITE_BENCH_OPENBLAS
constexpr bool has_sgemm = true;
#else
constexpr bool has_sgemm = false;
#endif

template <class F>
double sample(double at_least, bool by_thread, F&& call) {
  const auto now = [by_thread] { return by_thread ? bench::thread_seconds() : bench::wall_seconds(); };
  std::size_t calls = 0;
  if (!by_thread) call();    // its threads may have slept
  const double start = now();
  double elapsed;
  do {
    call();
    ++calls;
    elapsed = now() - start;
  } while (elapsed < at_least);
  return elapsed / static_cast<double>(calls);
}

template <class Scheme, form F, class Copies, class Executor>
void measure(outcome& result, const settings& s, const Copies& copies, const std::vector<std::size_t>& batches,
             sgemm* floats, const Executor& executor) {
  static const ql::detail::buffer stream = bench::touched_buffer(std::size_t{256} << 20);
  const std::size_t n = copies[0].rows(), k = copies[0].cols();
  const std::size_t most = *std::max_element(batches.begin(), batches.end());
  static std::vector<float> x;
  if (x.size() < most * k) x = bench::random_floats(most * k);
  std::vector<ql::bfloat16> rounded;
  if (F == form::bfloats)
    for (std::size_t i = 0; i < most * k; ++i) rounded.push_back(ql::bfloat16::from_float(x[i]));
  const ql::detail::buffer results = bench::touched_buffer(most * n * sizeof(float));
  auto* const y = reinterpret_cast<float*>(results.data());
  const auto activations = [&](std::size_t m) {
    return form_of<F>(ql::matrix_view<const float>{x.data(), m, k}, rounded);
  };
  const ql::detail::buffer memory(ql::gemm_workspace_bytes(activations(most), copies[0], executor));
  const bool one = executor.concurrency() == 1;

  struct samples {
    std::vector<double> seconds, rate, share, over_one, over_neighbours, over_more, of_sgemm;
  };
  std::vector<samples> all(batches.size());
  std::size_t next = 0;
  double peak = 0;
  result.disturbed = bench::undisturbed_rounds(s.rounds, [&](std::size_t round) {
    double since_peak = 1;
    std::vector<double> times(batches.size()), sgemm_times(batches.size()), work(batches.size()), limit(batches.size());
    for (std::size_t b = 0; b < batches.size(); ++b) {
      const std::size_t m = batches[b];
      times[b] = sample(s.sample, one, [&] {
        ql::gemm(activations(m), copies[next++ % copies.size()], ql::matrix_view<float>{y, m, n}, ql::epilogue::none{},
                 executor, ql::workspace{memory.data(), memory.size()});
      });
      if (m == 1) {
        work[b] = static_cast<double>(copies[0].bytes());
        limit[b] = bench::read_rate(stream.data(), stream.size(), executor);
      } else {
        work[b] = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        since_peak += std::max(s.sample, times[b]);
        if (since_peak > 2 * s.sample) peak = peak_rate<Scheme, F>(executor), since_peak = 0;
        limit[b] = peak;
      }
#ifdef QLITE_BENCH_OPENBLAS
      if (floats != nullptr) {
        if (!one) bench::settle();
        sgemm_times[b] = sample(s.sample, one, [&] { floats->run(x.data(), m, y); });
        if (!one) bench::settle();
      }
#endif
    }
    return [&, round, times, sgemm_times, work, limit] {
      if (round == 0) return;    // warmed up
      for (std::size_t b = 0; b < batches.size(); ++b) {
        all[b].seconds.push_back(times[b]);
        all[b].rate.push_back(work[b] / times[b]);
        if (limit[b] > 0) all[b].share.push_back(work[b] / times[b] / limit[b]);
        if (batches[0] == 1) all[b].over_one.push_back(times[b] / times[0]);
        if (floats != nullptr) all[b].of_sgemm.push_back(times[b] / sgemm_times[b]);
        if (b == 0 || batches[b] != batches[b - 1] + 1) continue;
        all[b - 1].over_more.push_back(times[b - 1] / times[b]);
        if (b + 1 < batches.size() && batches[b + 1] == batches[b] + 1)
          all[b].over_neighbours.push_back(2 * times[b] / (times[b - 1] + times[b + 1]));
      }
    };
  });
  static_cast<void>(floats);
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const samples& a = all[b];
    result.points.push_back({batches[b], 1e6 * bench::median(a.seconds), bench::median(a.rate), bench::median(a.share),
                             bench::median(a.over_one), bench::median(a.over_neighbours), bench::median(a.over_more),
                             bench::median(a.of_sgemm)});
  }
}

void print(const outcome& r) {
  std::printf("%s, [%zu, %zu], %zu thread%s", r.name.c_str(), r.n, r.k, r.threads, r.threads == 1 ? "" : "s");
  if (r.disturbed != 0) std::printf(" (%zu rounds were disturbed by others)", r.disturbed);
  std::printf("\n");
  for (const outcome::point& p : r.points) {
    std::printf("  m %4zu %10.0f us %8.1f %s %6.1f %% of %-20s", p.m, p.microseconds, 1e-9 * p.rate,
                p.m == 1 ? "GB/s " : "GOP/s", 100 * p.share, p.m == 1 ? "streaming reads" : r.unit.c_str());
    if (p.over_one > 0 && p.m > 1 && p.m <= 16) std::printf("  %5.2f x m 1", p.over_one);
    if (p.of_sgemm > 0) std::printf("  %5.2f x sgemm", p.of_sgemm);
    std::printf("\n");
  }
  const auto largest = [&](double outcome::point::*of) {
    const outcome::point* worst = nullptr;
    for (const outcome::point& p : r.points)
      if (p.*of > 0 && (worst == nullptr || p.*of > worst->*of)) worst = &p;
    return worst;
  };
  if (const auto* p = largest(&outcome::point::over_neighbours))
    std::printf("  worst M beside its neighbours: %zu takes %.2f times the mean of both\n", p->m, p->over_neighbours);
  if (const auto* p = largest(&outcome::point::over_more))
    std::printf("  worst M beside the next: %zu takes %.2f times as long as %zu\n", p->m, p->over_more, p->m + 1);
  std::fflush(stdout);
}

// A row a kind, one and two threads beside each other.
void print_table(const std::vector<outcome>& results, std::size_t n, std::size_t k,
                 const std::vector<std::size_t>& ms) {
  std::printf("\n[%zu, %zu], percent, threads beside each other; at M = 4 the time over that of M = 1\n\n| kind |", n,
              k);
  for (const std::size_t m : ms) std::printf(" M = %zu |", m);
  std::printf("\n|---|");
  for (std::size_t i = 0; i < ms.size(); ++i) std::printf("--:|");
  std::vector<std::string> done;
  for (const outcome& r : results) {
    if (r.n != n || r.k != k || std::find(done.begin(), done.end(), r.kind) != done.end()) continue;
    done.push_back(r.kind);
    std::printf("\n| %s |", r.name.c_str());
    for (const std::size_t m : ms) {
      const char* separator = " ";
      for (const outcome& other : results) {
        if (other.kind != r.kind || other.n != n || other.k != k) continue;
        if (const auto* p = other.at(m)) {
          if (m == 4 && p->over_one > 0)
            std::printf("%s%.2f", separator, p->over_one);
          else
            std::printf("%s%.0f", separator, 100 * p->share);
          separator = " / ";
        }
      }
      std::printf(" |");
    }
  }
  std::printf("\n");
}

struct run {
  settings s;
  std::vector<std::size_t> threads{1, 2};
  std::map<std::size_t, std::unique_ptr<ql::thread_pool>> pools;
  bool with_sgemm = has_sgemm;
  std::vector<outcome> results;

  template <class Scheme, form F>
  void kind(const char* key, std::size_t n, std::size_t k, const std::vector<std::size_t>& batches) {
    const auto copies = bench::packed_copies<Scheme, backend>(n, k, bench::beyond_caches);
    std::unique_ptr<sgemm> floats;
#ifdef QLITE_BENCH_OPENBLAS
    if (with_sgemm && F == form::floats) floats = std::make_unique<sgemm>(ql::unpack(copies[0]));
#endif
    for (const std::size_t t : threads) {
      outcome r;
      r.kind = key;
      r.name = ql::name<Scheme>() + std::string(F == form::groups   ? " × INT8"
                                                : F == form::token  ? " × INT8 per token"
                                                : F == form::floats ? " × float"
                                                                    : " × bfloat16");
      r.unit = peak_name<Scheme, F>();
      r.n = n, r.k = k, r.threads = t;
#ifdef QLITE_BENCH_OPENBLAS
      if (floats) sgemm::threads(t), bench::spread_threads(t);
#endif
      if (t == 1) {
        measure<Scheme, F>(r, s, copies, batches, floats.get(), ql::serial{});
      } else {
        auto& pool = pools[t];
        if (!pool) pool = std::make_unique<ql::thread_pool>(t);
        bench::spread_threads(t);
        measure<Scheme, F>(r, s, copies, batches, floats.get(), *pool);
      }
      print(r);
      results.push_back(std::move(r));
    }
  }
};

struct kind {
  const char* key;
  void (run::*measure)(const char*, std::size_t, std::size_t, const std::vector<std::size_t>&);
};

template <class Code, class Group, form F, class Zero = ql::symmetric>
constexpr kind a_kind(const char* key) {
  return {key, &run::kind<ql::scheme<Code, Group, Zero>, F>};
}

using ql::int4, ql::int8, ql::per_channel, ql::per_group;
constexpr kind kinds[] = {
    a_kind<int4, per_group<128>, form::groups>("int4-g128"),
    a_kind<int4, per_group<32>, form::groups>("int4-g32"),
    a_kind<int4, per_group<32>, form::token>("int4-g32-token"),
    a_kind<int4, per_group<64>, form::groups, ql::asymmetric>("int4-g64-zero"),
    a_kind<int8, per_channel, form::groups>("int8-channel"),
    a_kind<int8, per_group<128>, form::groups>("int8-g128"),
    a_kind<int4, per_channel, form::groups>("int4-channel"),
    a_kind<ql::nl4, per_group<32>, form::groups>("nl4-g32"),
    a_kind<int4, per_group<32>, form::floats>("int4-g32-float"),
    a_kind<int4, per_group<128>, form::floats>("int4-g128-float"),
    a_kind<int8, per_channel, form::floats>("int8-channel-float"),
    a_kind<int4, per_group<32>, form::bfloats>("int4-g32-bfloat16"),
    a_kind<int4, per_group<128>, form::bfloats>("int4-g128-bfloat16"),
    a_kind<int8, per_channel, form::bfloats>("int8-channel-bfloat16"),
};

nlohmann::json to_json(const std::vector<outcome>& results, const settings& s) {
  nlohmann::json all;
  all["backend"] = ql::name<backend>();
  all["rounds"] = s.rounds;
#ifdef QLITE_BENCH_OPENBLAS
  all["openblas_core"] = sgemm::core();
#endif
  for (const outcome& r : results) {
    nlohmann::json points = nlohmann::json::array();
    for (const outcome::point& p : r.points) {
      nlohmann::json point{{"m", p.m}, {"microseconds", p.microseconds}, {"rate", p.rate}, {"share", p.share}};
      if (p.over_one > 0) point["time_over_m1"] = p.over_one;
      if (p.over_neighbours > 0) point["time_over_neighbours"] = p.over_neighbours;
      if (p.over_more > 0) point["time_over_next"] = p.over_more;
      if (p.of_sgemm > 0) point["time_over_sgemm"] = p.of_sgemm;
      points.push_back(point);
    }
    all["products"].push_back({{"kind", r.kind},
                               {"name", r.name},
                               {"n", r.n},
                               {"k", r.k},
                               {"threads", r.threads},
                               {"peak", r.unit},
                               {"disturbed_rounds", r.disturbed},
                               {"points", points}});
  }
  return all;
}

}    // namespace

int main(int argc, char** argv) {
  run todo;
  std::string json, batches;
  std::vector<std::string> shapes, chosen;
  bool quick = false, no_sgemm = false;
  CLI::App app{"Products as shares of what the machine can do"};
  app.add_flag("--quick", quick, "4096x4096, M = 1, 4, 16, 128, 512, five rounds: a minute");
  app.add_option("--kinds", chosen, "Kinds to measure; all if none is named")->delimiter(',');
  app.add_option("--shapes", shapes, "NxK of W; if none is named 4096x4096, 11008x4096, 4096x11008, 4100x4000")
      ->delimiter(',');
  app.add_option("-m", batches, "Rows of X: 1-64,128; if none, 1,4,16,128,512, and 1-64 too for the first shape");
  app.add_option("--threads", todo.threads, "Threads")->delimiter(',')->capture_default_str();
  auto* const rounds = app.add_option("--rounds", todo.s.rounds, "Samples of each product")->capture_default_str();
  app.add_option("--sample", todo.s.sample, "Seconds that a sample takes at least")->capture_default_str();
  app.add_flag("--no-sgemm", no_sgemm, "Without OpenBLAS beside the weight-only products");
  app.add_option("--json", json, "File to write the results to");
  CLI11_PARSE(app, argc, argv);
  if (!ql::supported<backend>()) {
    std::printf("this CPU does not support %s\n", ql::name<backend>());
    return 0;
  }
  if (quick) {
    if (shapes.empty()) shapes = {"4096x4096"};
    if (batches.empty()) batches = "1,4,16,128,512";
    if (rounds->count() == 0) todo.s.rounds = 5;
  }
  if (shapes.empty()) shapes = {"4096x4096", "11008x4096", "4096x11008", "4100x4000"};
  if (no_sgemm) todo.with_sgemm = false;
  for (const std::string& name : chosen) {
    if (std::none_of(std::begin(kinds), std::end(kinds), [&](const kind& k) { return name == k.key; })) {
      std::fprintf(stderr, "there is no kind '%s', only", name.c_str());
      for (const kind& k : kinds) std::fprintf(stderr, " %s", k.key);
      std::fprintf(stderr, "\n");
      return 1;
    }
  }
#ifdef QLITE_BENCH_OPENBLAS
  if (todo.with_sgemm) std::printf("OpenBLAS takes its kernels for %s\n", sgemm::core());
#endif
  std::vector<std::pair<std::size_t, std::size_t>> measured;
  std::vector<std::size_t> columns;
  for (const std::string& text : shapes) {
    std::size_t n = 0, k = 0;
    char rest = 0;
    const bool first = measured.empty();
    auto ms = bench::numbers(!batches.empty() ? batches : first ? "1-64,128,512" : "1,4,16,128,512");
    std::sort(ms.begin(), ms.end());
    ms.erase(std::unique(ms.begin(), ms.end()), ms.end());
    if (std::sscanf(text.c_str(), "%zux%zu%c", &n, &k, &rest) != 2 || n == 0 || k == 0 || ms.empty()) {
      std::fprintf(stderr, "expected shapes such as 4096x4096 and rows such as 1,4,16-32, got '%s' and '%s'\n",
                   text.c_str(), batches.c_str());
      return 1;
    }
    measured.emplace_back(n, k);
    for (const kind& one : kinds)
      if (chosen.empty() || std::find(chosen.begin(), chosen.end(), one.key) != chosen.end())
        (todo.*one.measure)(one.key, n, k, ms);
    for (const std::size_t m : ms)
      if ((m == 1 || m == 4 || m == 16 || m == 128 || m == 512) &&
          std::find(columns.begin(), columns.end(), m) == columns.end())
        columns.push_back(m);
  }
  for (const auto& [n, k] : measured) print_table(todo.results, n, k, columns);
  if (!json.empty()) {
    std::ofstream file(json);
    file << to_json(todo.results, todo.s).dump(1) << '\n';
    if (!file) {
      std::fprintf(stderr, "cannot write %s\n", json.c_str());
      return 1;
    }
  }
}
