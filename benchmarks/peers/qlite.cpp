// qlite itself, with the backend of the processor that built it.
#include <qlite/core/executors/thread_pool.hpp>
#include <qlite/gemm.hpp>

#include "peers/peer.hpp"

namespace ql = qlite;

namespace qlite_bench {
namespace {

// Of X: dynamic<int8>(X), dynamic<int8, per_token>(X), X, and X as bfloat16, which it was before the call
enum class form { groups, token, floats, bfloat16 };

template <class Scheme, form F>
class qlite_peer final : public peer {
 public:
  qlite_peer(const problem& p, std::shared_ptr<ql::thread_pool> pool) : pool_(std::move(pool)), n_(p.n), k_(p.k) {
    const auto q = ql::quantize<Scheme>(ql::matrix_view<const float>{p.w, p.n, p.k}, ql::rtn{});
    do copies_.push_back(ql::pack<backend>(q));
    while (copies_.size() < copies_of(copies_[0].bytes()));
  }
  std::string library() const override { return "qlite"; }
  std::string kind() const override {
    return ql::name<Scheme>() + std::string(F == form::floats     ? ", float activations"
                                            : F == form::bfloat16 ? ", bfloat16 activations"
                                            : F == form::token    ? ", activations per token"
                                                                  : "");
  }
  family group() const override {
    using traits = ql::detail::scheme_traits<Scheme>;
    if (F == form::floats) return family::floats;
    if (F == form::bfloat16) return family::bfloat16s;
    const std::size_t of = ql::detail::static_group_size<typename traits::granularity>;
    if (traits::bits == 8) return of == 0 ? family::int8_channel : family::int8_groups;
    return of == 0 || of > 64 ? family::int4_large_groups : family::int4_small_groups;
  }
  std::size_t weight_bytes() const override { return copies_[0].bytes(); }
  bool quantizes_inside() const override { return F != form::bfloat16; }

  void run(const float* x, std::size_t m, float* y) override {
    const ql::matrix_view<const float> rows{x, m, k_};
    if constexpr (F == form::groups)
      multiply(ql::dynamic<ql::int8>(rows), m, y);
    else if constexpr (F == form::token)
      multiply(ql::dynamic<ql::int8, ql::per_token>(rows), m, y);
    else if constexpr (F == form::floats)
      multiply(rows, m, y);
    else
      multiply(ql::matrix_view<const ql::bfloat16>{converted(x, m), m, k_}, m, y);
  }

 private:
  using backend = ql::cpu::native;

  // The first rows of X are the same in every call.
  const ql::bfloat16* converted(const float* x, std::size_t m) {
    for (std::size_t i = halves_.size(); i < m * k_; ++i) halves_.push_back(ql::bfloat16::from_float(x[i]));
    return halves_.data();
  }

  template <class Form>
  void multiply(const Form& x, std::size_t m, float* y) {
    const auto& w = copies_[next_++ % copies_.size()];
    const std::size_t bytes = ql::gemm_workspace_bytes(x, w, *pool_);
    if (memory_.size() < bytes) memory_ = ql::detail::buffer(bytes);
    ql::gemm(x, w, ql::matrix_view<float>{y, m, n_}, ql::epilogue::none{}, *pool_,
             ql::workspace{memory_.data(), memory_.size()});
  }

  std::shared_ptr<ql::thread_pool> pool_;
  std::size_t n_, k_, next_ = 0;
  std::vector<ql::packed_matrix<Scheme, backend>> copies_;
  ql::detail::buffer memory_;
  std::vector<ql::bfloat16> halves_;
};

}    // namespace

void add_qlite(peers& to, const problem& p, std::vector<std::string>& versions) {
  using ql::int4, ql::int8, ql::per_channel, ql::per_group, ql::scheme;
  versions.push_back(std::string("qlite, backend ") + ql::name<ql::cpu::native>());
  const auto pool = std::make_shared<ql::thread_pool>(p.threads);
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>>, form::token>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>, ql::offset<>>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<128>>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_channel>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_group<32>>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_group<128>>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_channel>, form::groups>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>>, form::floats>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_channel>, form::floats>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int4, per_group<32>>, form::bfloat16>>(p, pool));
  to.push_back(std::make_unique<qlite_peer<scheme<int8, per_channel>, form::bfloat16>>(p, pool));
}

}    // namespace qlite_bench
