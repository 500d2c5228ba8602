#include <qlite/core/scheme_info.hpp>
#include <string>

#include "support/catch.hpp"
#include "support/refusal.hpp"

using namespace qlite;
using qlite_test::refusal_of;

namespace {

template <class List = default_schemes>
std::string visited(const scheme_info& info) {
  std::string found;
  visit_scheme<List>(info, [&](auto s) { found = name<decltype(s)>(); });
  return found;
}

scheme_info weights(int bits, std::size_t group_size, bool is_symmetric) {
  scheme_info info;
  info.bits = bits;
  info.group_size = group_size;
  info.symmetric = is_symmetric;
  return info;
}

template <class... Schemes>
void check_each_is_found(scheme_list<Schemes...>) {
  const auto check = [](auto s) {
    using type = decltype(s);
    if constexpr (detail::scheme_traits<type>::dynamic_group) s.granularity.size = 40;
    const scheme_info info = info_of(s);
    std::size_t calls = 0;
    visit_scheme(info, [&](auto found) {
      ++calls;
      static_cast<void>(found);
      CHECK(std::is_same_v<decltype(found), type>);
      CHECK(info_of(found) == info);
    });
    CHECK(calls == 1);
  };
  (check(Schemes{}), ...);
}

}    // namespace

TEST_CASE("info_of describes a scheme") {
  const scheme_info info = info_of(scheme<int4, per_group<64>, offset<float>, float>{});
  CHECK(info.bits == 4);
  CHECK(info.group_size == 64);
  CHECK_FALSE(info.symmetric);
  CHECK(info.granularity == granularity_kind::per_group);
  CHECK(info.scale == real_kind::float32);
  CHECK(info.offset == real_kind::float32);
  CHECK(info_of(scheme<int8, per_tensor>{}).granularity == granularity_kind::per_tensor);
  CHECK(info_of(scheme<int8, per_channel, asymmetric>{}).granularity == granularity_kind::per_channel);
  CHECK(info_of(scheme<int8, per_group<dynamic_extent>>{{48}}).group_size == 48);
  CHECK(info_of(scheme<int8, per_group<48>>{}) == info_of(scheme<int8, per_group<dynamic_extent>>{{48}}));
  CHECK(info_of(scheme<int8, per_group<48>>{}) != info_of(scheme<int8, per_group<64>>{}));
}

TEST_CASE("the group size counts only where there are groups") {
  scheme_info a = info_of(scheme<int8, per_channel>{}), b = a;
  b.group_size = 99;
  CHECK(a == b);
  CHECK(visited(b) == "int8 per_channel");
}

TEST_CASE("visit_scheme finds each scheme of its list, and the run-time size for others") {
  check_each_is_found(default_schemes{});
  CHECK(visited(weights(4, 128, true)) == "int4 per_group<128>");
  CHECK(visited(weights(4, 64, false)) == "int4 per_group<64> asymmetric");
  CHECK(visited(weights(8, 17, true)) == "int8 per_group");
  std::size_t size = 0;
  visit_scheme(weights(8, 17, true), [&](auto s) { size = info_of(s).group_size; });
  CHECK(size == 17);
  using own = scheme_list<scheme<int4, per_group<32>, offset<float16>>>;
  CHECK(visited<own>(info_of(scheme<int4, per_group<32>, offset<float16>>{})) == "int4 per_group<32> offset<float16>");
}

TEST_CASE("visit_scheme names what is wrong") {
  CHECK_THAT(refusal_of([] { visited(weights(5, 64, true)); }), ContainsSubstring("bits is 5"));
  CHECK_THAT(refusal_of([] { visited(weights(4, 0, true)); }), ContainsSubstring("group_size is 0"));
  scheme_info info = weights(4, 64, true);
  info.offset = real_kind::float16;
  CHECK_THAT(refusal_of([&] { visited(info); }), ContainsSubstring("symmetric") && ContainsSubstring("offset"));
  info = weights(4, 64, true);
  info.scale = real_kind::none;
  CHECK_THAT(refusal_of([&] { visited(info); }), ContainsSubstring("scale is none"));
  info.scale = real_kind::float32;    // right, but not in the list
  CHECK_THAT(refusal_of([&] { visited(info); }), ContainsSubstring("scheme_list"));
  CHECK_THAT(refusal_of([] { visited<scheme_list<scheme<int8, per_channel>>>(weights(4, 64, true)); }),
             ContainsSubstring("bits 4"));
}
