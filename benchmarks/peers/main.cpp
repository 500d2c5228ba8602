// qlite beside other libraries: the same weights and activations, samples interleaved, medians, errors against float64.
#include <nlohmann/json.hpp>

#include <qlite/core/executors/thread_pool.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>

#include "machine/peaks.hpp"
#include "peers/peer.hpp"

namespace bench = qlite_bench;

static std::vector<float> gaussian(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Frobenius norm of y - x W^T over that of x W^T, the latter in double.
static double relative_error(const std::vector<float>& y, const std::vector<double>& exact) {
  double difference = 0, whole = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    difference += (y[i] - exact[i]) * (y[i] - exact[i]);
    whole += exact[i] * exact[i];
  }
  return std::sqrt(difference / whole);
}

static std::vector<double> exact_product(const std::vector<float>& x, std::size_t m, const std::vector<float>& w,
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

int main(int argc, char** argv) {
  std::size_t n = 4096, k = 4096, threads = 1, rounds = 7;
  std::vector<std::size_t> batches{1, 4, 8, 16, 32, 128};
  std::string json;
  CLI::App app{"Products of quantized weights [N, K] with M rows of activations: qlite and the libraries found"};
  app.add_option("-n", n, "Rows of W")->capture_default_str();
  app.add_option("-k", k, "Columns of W, a multiple of 256")->capture_default_str();
  app.add_option("-m", batches, "Rows of X")->capture_default_str()->delimiter(',');
  app.add_option("--threads", threads, "Threads")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--rounds", rounds, "Samples of each product, one a round")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--json", json, "File to write the results to");
  CLI11_PARSE(app, argc, argv);
  if (n == 0 || k == 0 || k % 256 != 0 || batches.empty() || *std::min_element(batches.begin(), batches.end()) == 0) {
    std::fprintf(stderr, "N and M are positive, K a positive multiple of 256\n");
    return 1;
  }

  const std::size_t most_rows = *std::max_element(batches.begin(), batches.end());
  const auto w = gaussian(n * k, 1), x = gaussian(most_rows * k, 2);
  const bench::problem problem{n, k, most_rows, threads, w.data()};
  bench::peers peers;
  bench::add_qlite(peers, problem);
#ifdef QLITE_PEER_OPENBLAS
  bench::add_openblas(peers, problem);
#endif
#ifdef QLITE_PEER_ONEDNN
  bench::add_onednn(peers, problem);
#endif
#ifdef QLITE_PEER_GGML
  bench::add_ggml(peers, problem);
#endif

  // Errors first, which also warms everything up.
  const std::size_t checked = std::min<std::size_t>(most_rows, 8);
  const auto exact = exact_product(x, checked, w, n, k);
  nlohmann::json results;
  results["n"] = n, results["k"] = k, results["threads"] = threads;
  std::vector<double> errors;
  std::vector<float> y(most_rows * n);
  for (auto& p : peers) {
    std::fill(y.begin(), y.end(), NAN);
    p->run(x.data(), checked, y.data());
    errors.push_back(relative_error(y, exact));
  }

  const qlite::thread_pool pool(threads);
  const auto stream = bench::touched_buffer(std::size_t{256} << 20);
  std::printf(
      "W [%zu, %zu], %zu thread%s; of the limit: the larger of its bytes / read bandwidth and its operations / peak\n",
      n, k, threads, threads == 1 ? "" : "s");
  for (const std::size_t m : batches) {
    std::vector<std::vector<double>> microseconds(peers.size()), shares(peers.size());
    const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    for (std::size_t round = 0; round <= rounds; ++round) {
      const double read = bench::read_rate(stream.data(), stream.size(), pool);
      const double integer_peak = bench::vpdpbusd_rate(pool), float_peak = bench::fma_rate(pool);
      for (std::size_t i = 0; i < peers.size(); ++i) {
        std::size_t calls = 0;
        const double start = bench::wall_seconds();
        double elapsed = 0;
        do {
          peers[i]->run(x.data(), m, y.data());
          ++calls;
          elapsed = bench::wall_seconds() - start;
        } while (elapsed < 0.03);
        if (round == 0) continue;
        const double seconds = elapsed / static_cast<double>(calls);
        const double floor = std::max(static_cast<double>(peers[i]->weight_bytes()) / read,
                                      operations / (peers[i]->integer() ? integer_peak : float_peak));
        microseconds[i].push_back(1e6 * seconds);
        shares[i].push_back(floor / seconds);
      }
    }
    std::printf("\nM = %zu\n  %-10s %-52s %6s %8s %10s %8s\n", m, "library", "weights", "bits", "error", "us",
                "of limit");
    for (std::size_t i = 0; i < peers.size(); ++i) {
      const double bits = 8.0 * static_cast<double>(peers[i]->weight_bytes()) / static_cast<double>(n * k);
      std::printf("  %-10s %-52s %6.2f %8.4f %10.0f %7.0f%%\n", peers[i]->library().c_str(), peers[i]->kind().c_str(),
                  bits, errors[i], median(microseconds[i]), 100 * median(shares[i]));
      results["products"].push_back({{"library", peers[i]->library()},
                                     {"kind", peers[i]->kind()},
                                     {"m", m},
                                     {"bits", bits},
                                     {"error", errors[i]},
                                     {"microseconds", median(microseconds[i])},
                                     {"share_of_limit", median(shares[i])},
                                     {"quantizes_inside", peers[i]->quantizes_inside()}});
    }
    std::fflush(stdout);
  }
  if (!json.empty()) {
    std::ofstream file(json);
    file << results.dump(1) << '\n';
    if (!file) {
      std::fprintf(stderr, "cannot write %s\n", json.c_str());
      return 1;
    }
  }
}
