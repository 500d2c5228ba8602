// The recommendation follows from the figures by the rule that it states.
#include "recommend.hpp"

#include "support/catch.hpp"

using compare::finding;
using compare::study;

namespace {

finding model(const std::string& name, std::size_t bytes, double perplexity, double divergence, double top1,
              bool quantized = true) {
  finding f;
  f.name = name;
  f.total = bytes;
  f.perplexity = perplexity;
  f.divergence = divergence;
  f.top1 = top1;
  f.decode_speed = 1e6 / static_cast<double>(bytes);
  f.quantized = quantized;
  return f;
}

study with(const std::vector<finding>& candidates) {
  study s;
  s.findings = {model("fp32", 4000, 20.0, 0, 1, false), model("bf16", 2000, 20.0, 1e-6, 0.999, false)};
  s.findings.insert(s.findings.end(), candidates.begin(), candidates.end());
  recommend(s);
  return s;
}

}    // namespace

TEST_CASE("the smallest safe candidate is recommended, with its figures") {
  const study s = with({model("int8", 1000, 20.02, 0.001, 0.99), model("int4:rtn", 500, 22.0, 0.1, 0.85),
                        model("int4:gptq", 500, 20.15, 0.02, 0.93)});
  CHECK(s.recommendation == "int4:gptq");
  CHECK_THAT(s.reason, ContainsSubstring("(+0.75 %)"));
  CHECK_THAT(s.reason, ContainsSubstring("93.0 % are the same"));
  CHECK_THAT(s.reason, ContainsSubstring("25 % of the bytes of 16-bit weights and decodes 4.00 times as fast"));
}

TEST_CASE("perplexity alone does not make a candidate safe, nor do first choices") {
  CHECK(with({model("int8", 1000, 20.02, 0.001, 0.99), model("int4", 500, 20.0, 0.2, 0.89)}).recommendation == "int8");
  CHECK(with({model("int8", 1000, 20.02, 0.001, 0.99), model("int4", 500, 20.3, 0.02, 0.95)}).recommendation == "int8");
}

TEST_CASE("of equals in size the one of the least divergence is recommended") {
  CHECK(with({model("a", 500, 20.1, 0.03, 0.92), model("b", 500, 20.15, 0.02, 0.92)}).recommendation == "b");
}

TEST_CASE("where none is safe, 16 bits are recommended and the nearest candidate is named") {
  const study s = with({model("int4:rtn", 500, 25.0, 0.3, 0.7), model("int4:awq", 500, 22.0, 0.1, 0.8)});
  CHECK(s.recommendation == "bf16");
  CHECK_THAT(s.reason, ContainsSubstring("The nearest is int4:awq: perplexity +10.00 %"));
  CHECK_THAT(s.reason, ContainsSubstring("int4:nl4:gptq+refine:qep"));    // none of them makes up for earlier layers
  CHECK(with({}).recommendation == "bf16");
}

TEST_CASE("flattery is mentioned") {
  finding f = model("int4", 500, 20.1, 0.02, 0.95);
  f.flattered = true;
  const study s = with({f});
  CHECK(s.recommendation == "int4");
  CHECK_THAT(s.reason, ContainsSubstring("16 levels"));
}
