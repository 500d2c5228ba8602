#include "candidate.hpp"

#include <algorithm>
#include <stdexcept>

namespace compare {
namespace {

struct named_method {
  const char* name;
  method how;
};

constexpr named_method methods[] = {{"rtn", method::rtn},
                                    {"mse", method::mse},
                                    {"hqq", method::hqq},
                                    {"awq", method::awq},
                                    {"gptq", method::gptq},
                                    {"awq+gptq", method::awq_gptq},
                                    {"gptq+refine", method::gptq_refine}};

}    // namespace

candidate parse_candidate(const std::string& name) {
  candidate c;
  c.name = name;
  std::string rest;    // what the engine's own parser knows
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find(':', at), name.size());
    const std::string part = name.substr(at, end - at);
    bool known = at != 0 && part == "qep";
    c.compensated = c.compensated || known;
    for (const named_method& m : methods)
      if (at != 0 && part == m.name) {
        if (c.how != method::none) throw std::runtime_error("\"" + name + "\" names two methods, expected one");
        c.how = m.how;
        known = true;
      }
    if (!known) rest += (rest.empty() ? "" : ":") + part;
    at = end + 1;
  }
  try {
    c.format = llm::parse_format(rest, {});
  } catch (const std::runtime_error& e) {
    throw std::runtime_error("unknown candidate \"" + name + "\" (" + e.what() +
                             "), expected fp32, bf16, int8 or int4, the last two also with a group size, a kind of "
                             "zero, a table (nl4) and a method (rtn, mse, hqq, awq, gptq, awq+gptq, gptq+refine), and "
                             "qep, as int4:g128:gptq");
  }
  if (!c.quantized() && (c.how != method::none || c.compensated))
    throw std::runtime_error("\"" + name + "\" names a method, but floats are not quantized");
  if (c.quantized() && c.how == method::none) c.how = method::rtn;
  if (c.how == method::hqq) {    // what it optimizes is an offset
    qlite::scheme_info& scheme = c.format.scheme;
    if (scheme.codebook != qlite::codebook_kind::none)
      throw std::runtime_error("\"" + name + "\": hqq is for groups with an offset, not for the numbers of a table");
    if (!scheme.symmetric && scheme.offset == qlite::real_kind::none)
      throw std::runtime_error("\"" + name + "\": hqq is for groups with an offset, not with an integer zero point");
    scheme.symmetric = false;
    scheme.offset = qlite::real_kind::float16;
  }
  return c;
}

const char* name_of(method how) {
  for (const named_method& m : methods)
    if (m.how == how) return m.name;
  return "";
}

}    // namespace compare
