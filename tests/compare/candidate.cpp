// Names of candidates, and what they stand for.
#include "candidate.hpp"

#include <stdexcept>

#include "support/catch.hpp"

using compare::method;
using compare::parse_candidate;

namespace {

std::string complaint(const std::string& name) {
  try {
    parse_candidate(name);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return {};
}

}    // namespace

TEST_CASE("a name says precision, groups, zeros and method, in any order behind the precision") {
  CHECK(parse_candidate("fp32").how == method::none);
  CHECK_FALSE(parse_candidate("bf16").quantized());
  const auto plain = parse_candidate("int4");
  CHECK(plain.how == method::rtn);
  CHECK(plain.format.scheme.group_size == 32);
  CHECK(plain.format.scheme.symmetric);
  const auto gptq = parse_candidate("int4:gptq:g128");
  CHECK(gptq.how == method::gptq);
  CHECK(gptq.format.scheme.group_size == 128);
  CHECK(gptq.calibrated());
  CHECK(gptq.name == "int4:gptq:g128");
  const auto row = parse_candidate("int8:g0:mse:weight-only");
  CHECK(row.how == method::mse);
  CHECK(row.format.scheme.granularity == qlite::granularity_kind::per_channel);
  CHECK(row.format.weight_only);
  CHECK_FALSE(row.calibrated());
  CHECK(parse_candidate("int4:awq:asymmetric").format.scheme.symmetric == false);
  const auto best = parse_candidate("int4:nl4:gptq+refine:qep");
  CHECK(best.how == method::gptq_refine);
  CHECK(best.compensated);
  CHECK(best.by_hessian());
  CHECK_FALSE(gptq.compensated);
  CHECK(parse_candidate("int4:qep").how == method::rtn);
  CHECK(parse_candidate("int4:qep").calibrated());
  CHECK_FALSE(complaint("bf16:qep").empty());
}

TEST_CASE("hqq has offsets, said or not") {
  for (const char* name : {"int4:hqq", "int4:hqq:offset"}) {
    const auto c = parse_candidate(name);
    CHECK(c.how == method::hqq);
    CHECK(c.format.scheme.offset == qlite::real_kind::float16);
  }
  CHECK_THAT(complaint("int4:hqq:asymmetric"), ContainsSubstring("offset"));
}

TEST_CASE("names that mean nothing are refused") {
  for (const char* name : {"", "int5", "int4:", "int4:best", "int4:g", "gptq", "fp32:g32", "int4::gptq"}) {
    CAPTURE(name);
    CHECK_THAT(complaint(name), ContainsSubstring("unknown candidate \"" + std::string(name) + "\""));
  }
  CHECK_THAT(complaint("int4:awq:gptq"), ContainsSubstring("two methods"));
  CHECK_THAT(complaint("bf16:rtn"), ContainsSubstring("floats are not quantized"));
}
