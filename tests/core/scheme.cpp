#include <qlite/core/backend.hpp>
#include <qlite/core/scheme.hpp>
#include <string>

#include "support/catch.hpp"

using namespace qlite;

namespace {
template <class Scheme>
using traits = detail::scheme_traits<Scheme>;
}

TEST_CASE("the range of codes and their stored field follow from the scheme") {
  using symmetric4 = traits<scheme<int4, per_group<32>>>;
  static_assert(symmetric4::code_min == -8 && symmetric4::code_max == 7 && symmetric4::stored_bias == 8);
  using asymmetric4 = traits<scheme<int4, per_group<32>, asymmetric>>;
  static_assert(asymmetric4::code_min == 0 && asymmetric4::code_max == 15 && asymmetric4::stored_bias == 0);
  static_assert(asymmetric4::has_zero_point && !asymmetric4::has_offset);
  using offset4 = traits<scheme<int4, per_channel, offset<float>, float>>;
  static_assert(offset4::code_min == 0 && offset4::code_max == 15 && offset4::has_offset && !offset4::has_zero_point);
  static_assert(std::is_same_v<offset4::offset_type, float>);
  using symmetric8 = traits<scheme<int8, per_tensor>>;
  static_assert(symmetric8::code_min == -128 && symmetric8::code_max == 127 && symmetric8::stored_bias == 0);
  static_assert(symmetric8::one_scale && !symmetric8::grouped);
  using asymmetric8 = traits<scheme<int8, per_channel, asymmetric>>;
  static_assert(asymmetric8::code_min == -128 && asymmetric8::code_max == 127);
  SUCCEED();
}

TEST_CASE("the group size comes from the type, the value or the row") {
  CHECK(traits<scheme<int8, per_group<48>>>::group_size({}, 1000) == 48);
  CHECK(traits<scheme<int8, per_group<dynamic_extent>>>::group_size({{40}}, 1000) == 40);
  CHECK(traits<scheme<int8, per_channel>>::group_size({}, 1000) == 1000);
  CHECK(traits<scheme<int8, per_tensor>>::group_size({}, 7) == 7);
  CHECK(traits<scheme<int8, per_channel>>::group_size({}, 0) == 1);    // can be divided by
}

TEST_CASE("schemes and backends have names") {
  CHECK(name<scheme<int4, per_group<128>>>() == std::string("int4 per_group<128>"));
  CHECK(name<scheme<int8, per_channel>>() == std::string("int8 per_channel"));
  CHECK(name<scheme<int8, per_tensor, symmetric, float>>() == std::string("int8 per_tensor float"));
  CHECK(name<scheme<int4, per_group<dynamic_extent>, asymmetric>>() == std::string("int4 per_group asymmetric"));
  CHECK(name<scheme<int4, per_group<32>, offset<float16>>>() == std::string("int4 per_group<32> offset<float16>"));
  CHECK(name<scheme<int4, per_group<32>, offset<float>, float>>() ==
        std::string("int4 per_group<32> offset<float> float"));
  CHECK(name<int4>() == std::string("int4"));
  CHECK(name<cpu::avx512_vnni>() == std::string("avx512_vnni"));
}

TEST_CASE("native is a backend that the flags of this translation unit allow") {
  static_assert(impl::is_compiled<cpu::native>);
  static_assert(impl::is_compiled<cpu::scalar> && impl::is_compiled<cpu::generic>);
  SUCCEED();
}
