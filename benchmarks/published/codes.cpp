// Quantizes a layer from files and writes codes, scales and zero points for compare.py.
//   codes METHOD GROUP N K W.f32 X.f32 OUT       GROUP 0: one scale for a row
#include <qlite/quantize.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace ql = qlite;

namespace {

std::vector<float> load(const char* path) {
  std::vector<float> data;
  std::FILE* const file = std::fopen(path, "rb");
  if (file == nullptr) std::exit(1);
  for (float x; std::fread(&x, sizeof x, 1, file) == 1;) data.push_back(x);
  std::fclose(file);
  return data;
}

// Floats: codes [N, K] counted from 0, scales [N, groups], zero points or offsets [N, groups].
template <class Scheme>
void save(const ql::quantized_matrix<Scheme>& q, const char* path) {
  using traits = ql::detail::scheme_traits<Scheme>;
  std::FILE* const file = std::fopen(path, "wb");
  if (file == nullptr) std::exit(1);
  const auto put = [&](float x) { std::fwrite(&x, sizeof x, 1, file); };
  for (std::size_t r = 0; r < q.rows(); ++r)
    for (std::size_t c = 0; c < q.cols(); ++c) put(static_cast<float>(q.code(r, c) - traits::code_min));
  for (std::size_t r = 0; r < q.rows(); ++r)
    for (std::size_t g = 0; g < q.groups(); ++g) put(q.scale(r, g));
  for (std::size_t r = 0; r < q.rows(); ++r)
    for (std::size_t g = 0; g < q.groups(); ++g)
      put(traits::has_offset ? q.offset(r, g) : static_cast<float>(q.zero_point(r, g) - traits::code_min));
  std::fclose(file);
}

}    // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const std::string name = argv[1];
  const std::size_t group = std::stoul(argv[2]), n = std::stoul(argv[3]), k = std::stoul(argv[4]);
  const std::vector<float> w = load(argv[5]), x = load(argv[6]);
  const ql::matrix_view<const float> W{w.data(), n, k}, X{x.data(), x.size() / k, k};
  using some = ql::per_group<ql::dynamic_extent>;
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  if (has("hqq")) {
    const ql::scheme<ql::int4, some, ql::offset<float>, float> scheme{{group}};
    save(ql::quantize(scheme, W, ql::hqq(has("start") ? 0 : 20)), argv[7]);
    return 0;
  }
  ql::hessian H(k);
  const std::size_t batch = has("rows") ? 1 : X.rows();
  for (std::size_t r = 0; r < X.rows(); r += batch) H.observe(ql::matrix_view<const float>{X.row(r), batch, k});
  ql::gptq<ql::basic_rtn<ql::scale_rule::absmax_wide>> method(H);
  method.groups = ql::gptq_groups::reference;
  method.act_order = has("order");
  const auto run = [&](auto zero) {
    using Z = decltype(zero);
    if (group == 0)
      save(ql::quantize<ql::scheme<ql::int4, ql::per_channel, Z, float>>(W, method), argv[7]);
    else
      save(ql::quantize(ql::scheme<ql::int4, some, Z, float>{{group}}, W, method), argv[7]);
  };
  has("asym") ? run(ql::asymmetric{}) : run(ql::symmetric{});
}
