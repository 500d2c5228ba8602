// qlite itself, with the backend of the processor that built it.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>

#include "peers/peer.hpp"

namespace ql = qlite;

namespace qlite_bench {
namespace {

template <class Scheme, bool Integer>
class qlite_peer final : public peer {
 public:
  explicit qlite_peer(const problem& p) : pool_(p.threads), n_(p.n), k_(p.k) {
    const auto q = ql::quantize<Scheme>(ql::matrix_view<const float>{p.w, p.n, p.k}, ql::rtn{});
    do copies_.push_back(ql::pack<backend>(q));
    while (copies_.size() < copies_of(copies_[0].bytes()));
  }
  std::string library() const override { return "qlite"; }
  std::string kind() const override { return ql::name<Scheme>() + std::string(Integer ? "" : ", float activations"); }
  std::size_t weight_bytes() const override { return copies_[0].bytes(); }
  bool integer() const override { return Integer; }

  void run(const float* x, std::size_t m, float* y) override {
    const ql::matrix_view<const float> rows{x, m, k_};
    if constexpr (Integer)
      multiply(ql::dynamic<ql::int8>(rows), m, y);
    else
      multiply(rows, m, y);
  }

 private:
  using backend = ql::cpu::native;

  template <class Form>
  void multiply(const Form& x, std::size_t m, float* y) {
    const auto& w = copies_[next_++ % copies_.size()];
    const std::size_t bytes = ql::gemm_workspace_bytes(x, w, pool_);
    if (memory_.size() < bytes) memory_ = ql::detail::buffer(bytes);
    ql::gemm(x, w, ql::matrix_view<float>{y, m, n_}, ql::epilogue::none{}, pool_,
             ql::workspace{memory_.data(), memory_.size()});
  }

  ql::thread_pool pool_;
  std::size_t n_, k_, next_ = 0;
  std::vector<ql::packed_matrix<Scheme, backend>> copies_;
  ql::detail::buffer memory_;
};

}    // namespace

void add_qlite(peers& to, const problem& p) {
  using ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_channel>, true>>(p));
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_group<32>>, true>>(p));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<128>>, true>>(p));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>>, true>>(p));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>>, false>>(p));
}

}    // namespace qlite_bench
