// qlite beside other libraries: the same weights and activations, samples interleaved, medians, errors against float64.
//
//   bench_peers --threads 1,2 --json peers.json       then tools/plot.py peers.json draws docs/peers.svg and a table
#include <nlohmann/json.hpp>

#include <qlite/core/executors/thread_pool.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>

#include "machine/peaks.hpp"
#include "machine/sampling.hpp"
#include "peers/peer.hpp"

namespace bench = qlite_bench;

namespace {

struct settings {
  std::size_t n = 4096, k = 4096, rounds = 7;
  double sample = 0.02;
  std::vector<std::size_t> batches;
  std::vector<std::string> only;
};

std::vector<float> gaussian(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// Frobenius norm of y - x W^T over that of x W^T, the latter in double.
double relative_error(const std::vector<float>& y, const std::vector<double>& exact) {
  double difference = 0, whole = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    difference += (y[i] - exact[i]) * (y[i] - exact[i]);
    whole += exact[i] * exact[i];
  }
  return std::sqrt(difference / whole);
}

std::vector<double> exact_product(const std::vector<float>& x, std::size_t m, const std::vector<float>& w,
                                  std::size_t n, std::size_t k) {
  std::vector<double> y(m * n);
  for (std::size_t r = 0; r < m; ++r) {
    for (std::size_t c = 0; c < n; ++c) {
      double sum[8] = {};
      for (std::size_t i = 0; i < k; ++i)
        sum[i % 8] += static_cast<double>(x[r * k + i]) * static_cast<double>(w[c * k + i]);
      for (const double s : sum) y[r * n + c] += s;
    }
  }
  return y;
}

bench::peers all_peers(const bench::problem& problem, const std::vector<std::string>& only,
                       std::vector<std::string>& versions) {
  const auto wanted = [&](const char* library) {
    return only.empty() || std::find(only.begin(), only.end(), library) != only.end();
  };
  bench::peers peers;
  if (wanted("qlite")) bench::add_qlite(peers, problem, versions);
#ifdef QLITE_PEER_OPENBLAS
  if (wanted("openblas")) bench::add_openblas(peers, problem, versions);
#endif
#ifdef QLITE_PEER_ONEDNN
  if (wanted("onednn")) bench::add_onednn(peers, problem, versions);
#endif
#ifdef QLITE_PEER_ONNXRUNTIME
  if (wanted("onnxruntime")) bench::add_onnxruntime(peers, problem, versions);
#endif
#ifdef QLITE_PEER_GGML
  if (wanted("ggml")) bench::add_ggml(peers, problem, versions);
#endif
  return peers;
}

// Seconds of a call. One thread: its time on the core, whatever other processes took from it.
double time_of(bench::peer& p, const float* x, std::size_t m, float* y, std::size_t threads, double at_least) {
  const auto now = [threads] { return threads == 1 ? bench::process_seconds() : bench::wall_seconds(); };
  std::size_t calls = 0;
  for (const double awake = bench::wall_seconds() + 0.003; threads > 1 && bench::wall_seconds() < awake;)
    p.run(x, m, y);    // its threads have slept
  const double start = now();
  double elapsed;
  do {
    p.run(x, m, y);
    ++calls;
    elapsed = now() - start;
  } while (elapsed < at_least);
  return elapsed / static_cast<double>(calls);
}

void compare(const settings& s, std::size_t threads, const std::vector<float>& w, const std::vector<float>& x,
             const std::vector<double>& exact, nlohmann::json& results) {
  const std::size_t n = s.n, k = s.k, most_rows = x.size() / k;
  const bench::problem problem{n, k, most_rows, threads, w.data()};
  std::vector<std::string> versions;
  auto peers = all_peers(problem, s.only, versions);
  results["libraries"] = versions;

  // Errors first, which also starts every library's threads.
  std::vector<double> errors;
  std::vector<float> y(most_rows * n);
  for (auto& p : peers) {
    std::fill(y.begin(), y.end(), NAN);
    p->run(x.data(), exact.size() / n, y.data());
    errors.push_back(relative_error(y, exact));
    bench::spread_threads(threads);
  }
  const qlite::thread_pool pool(threads);
  bench::spread_threads(threads);
  const auto quiet = [threads] {
    if (threads > 1) bench::settle();
  };
  const auto stream = bench::touched_buffer(std::size_t{256} << 20);
  std::printf(
      "W [%zu, %zu], %zu thread%s; of the limit: the larger of its bytes / read bandwidth and its operations / peak\n",
      n, k, threads, threads == 1 ? "" : "s");
  for (const std::size_t m : s.batches) {
    std::vector<std::vector<double>> seconds(peers.size()), shares(peers.size());
    std::vector<double> reads, integers, floats, halves;
    const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    const std::size_t disturbed = bench::undisturbed_rounds(s.rounds, [&](std::size_t round) {
      quiet();
      const double integer_peak = bench::vpdpbusd_rate(pool), float_peak = bench::fma_rate(pool),
                   half_peak = bench::bf16_rate(pool);
      const auto peak_of = [=](bench::family f) {
        if (f == bench::family::bfloat16s && half_peak != 0) return half_peak;
        return f == bench::family::floats || f == bench::family::bfloat16s ? float_peak : integer_peak;
      };
      double read = bench::read_rate(stream.data(), stream.size(), pool);
      std::vector<double> times, read_then;
      for (auto& p : peers) {
        quiet();
        times.push_back(time_of(*p, x.data(), m, y.data(), threads, s.sample));
        if (threads == 1 && !p->caller_works()) bench::settle();    // what its thread does yet counts as the next one's
        if (m <= 4) {    // bound by memory, whose rate changes from one moment to the next
          quiet();
          static_cast<void>(bench::read_rate(stream.data(), stream.size() / 8, pool));    // wakes the pool
          read = bench::read_rate(stream.data(), stream.size(), pool);
        }
        read_then.push_back(read);
      }
      return [&, round, read, integer_peak, float_peak, half_peak, peak_of, times, read_then] {
        if (round == 0) return;    // warmed up
        for (std::size_t i = 0; i < peers.size(); ++i) {
          const double floor = std::max(static_cast<double>(peers[i]->weight_bytes()) / read_then[i],
                                        operations / peak_of(peers[i]->group()));
          seconds[i].push_back(times[i]);
          shares[i].push_back(floor / times[i]);
        }
        reads.push_back(read), integers.push_back(integer_peak), floats.push_back(float_peak);
        halves.push_back(half_peak);
      };
    });
    std::printf(
        "\nM = %zu; %.1f GB/s, %.0f GOP/s vpdpbusd, %.0f GFLOP/s fma, %.0f of bfloat16\n  %-12s %-46s %6s %8s %10s "
        "%8s\n",
        m, 1e-9 * bench::median(reads), 1e-9 * bench::median(integers), 1e-9 * bench::median(floats),
        1e-9 * bench::median(halves), "library", "weights", "bits", "error", "us", "of limit");
    if (disturbed != 0) std::printf("  (%zu rounds were disturbed by others)\n", disturbed);
    std::vector<std::size_t> order(peers.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return peers[a]->group() < peers[b]->group(); });
    const char* heading = "";
    for (const std::size_t i : order) {
      const bench::peer& p = *peers[i];
      if (heading != std::string(bench::name_of(p.group()))) {
        heading = bench::name_of(p.group());
        std::printf(" %s\n", heading);
      }
      const double bits = 8.0 * static_cast<double>(p.weight_bytes()) / static_cast<double>(n * k);
      std::printf("  %-12s %-46s %6.2f %8.4f %10.0f %7.0f%%\n", p.library().c_str(), p.kind().c_str(), bits, errors[i],
                  1e6 * bench::median(seconds[i]), 100 * bench::median(shares[i]));
      results["products"].push_back({{"library", p.library()},
                                     {"kind", p.kind()},
                                     {"family", bench::name_of(p.group())},
                                     {"n", n},
                                     {"k", k},
                                     {"m", m},
                                     {"threads", threads},
                                     {"bits", bits},
                                     {"error", errors[i]},
                                     {"microseconds", 1e6 * bench::median(seconds[i])},
                                     {"share_of_limit", bench::median(shares[i])},
                                     {"quantizes_inside", p.quantizes_inside()}});
    }
    results["peaks"].push_back({{"m", m},
                                {"threads", threads},
                                {"disturbed_rounds", disturbed},
                                {"read", bench::median(reads)},
                                {"vpdpbusd", bench::median(integers)},
                                {"fma", bench::median(floats)},
                                {"vdpbf16ps", bench::median(halves)}});
    std::fflush(stdout);
  }
}

}    // namespace

int main(int argc, char** argv) {
  settings s;
  std::string json, batches = "1,2,4,8,16,32,64,128,512";
  std::vector<std::size_t> threads{1, 2};
  CLI::App app{"Products of quantized weights [N, K] with M rows of activations: qlite and the libraries found"};
  app.add_option("-n", s.n, "Rows of W")->capture_default_str();
  app.add_option("-k", s.k, "Columns of W, a multiple of 256")->capture_default_str();
  app.add_option("-m", batches, "Rows of X: 1,4,16-18")->capture_default_str();
  app.add_option("--threads", threads, "Threads")->capture_default_str()->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--rounds", s.rounds, "Samples of each product, one a round")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--sample", s.sample, "Seconds that a sample takes at least")->capture_default_str();
  app.add_option("--only", s.only, "Libraries: qlite, openblas, onednn, onnxruntime, ggml")->delimiter(',');
  app.add_option("--json", json, "File to write the results to");
  CLI11_PARSE(app, argc, argv);
  s.batches = bench::numbers(batches);
  if (s.n == 0 || s.k == 0 || s.k % 256 != 0 || s.batches.empty()) {
    std::fprintf(stderr, "N and M are positive, K a positive multiple of 256\n");
    return 1;
  }

  const std::size_t most_rows = std::max<std::size_t>(8, *std::max_element(s.batches.begin(), s.batches.end()));
  const auto w = gaussian(s.n * s.k, 1), x = gaussian(most_rows * s.k, 2);
  const auto exact = exact_product(x, 8, w, s.n, s.k);
  nlohmann::json results;
  try {
    for (const std::size_t t : threads) compare(s, t, w, x, exact, results);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  for (const auto& version : results["libraries"]) std::printf("%s\n", version.get<std::string>().c_str());
  if (!json.empty()) {
    std::ofstream file(json);
    file << results.dump(1) << '\n';
    if (!file) {
      std::fprintf(stderr, "cannot write %s\n", json.c_str());
      return 1;
    }
  }
}
