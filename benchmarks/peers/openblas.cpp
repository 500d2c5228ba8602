// OpenBLAS: float32 weights, what quantized ones are measured against.
#include <cblas.h>

#include <cstring>

#include "machine/peaks.hpp"
#include "peers/peer.hpp"

namespace qlite_bench {
namespace {

class openblas final : public peer {
 public:
  explicit openblas(const problem& p) : n_(p.n), k_(p.k) {
    openblas_set_num_threads(static_cast<int>(p.threads));
    do {
      copies_.emplace_back(weight_bytes());    // on huge pages, as qlite's
      std::memcpy(copies_.back().data(), p.w, weight_bytes());
    } while (copies_.size() < copies_of(weight_bytes()));
  }
  std::string library() const override { return "OpenBLAS"; }
  std::string kind() const override { return "float32"; }
  std::size_t weight_bytes() const override { return n_ * k_ * sizeof(float); }
  family group() const override { return family::floats; }

  void run(const float* x, std::size_t m, float* y) override {
    const auto* w = reinterpret_cast<const float*>(copies_[next_++ % copies_.size()].data());
    const auto n = static_cast<blasint>(n_), k = static_cast<blasint>(k_);
    if (m == 1)
      cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w, k, x, 1, 0.0f, y, 1);
    else
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(m), n, k, 1.0f, x, k, w, k, 0.0f, y, n);
  }

 private:
  std::size_t n_, k_, next_ = 0;
  std::vector<qlite::detail::buffer> copies_;
};

}    // namespace

void add_openblas(peers& to, const problem& p, std::vector<std::string>& versions) {
  versions.push_back(std::string(openblas_get_config()) + ", kernels for " + openblas_get_corename());
  to.push_back(std::make_unique<openblas>(p));
}

}    // namespace qlite_bench
