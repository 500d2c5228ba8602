#include "recommend.hpp"

#include <algorithm>
#include <cstdio>

namespace compare {
namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[512];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

const finding& find(const study& s, const std::string& name) {
  return *std::find_if(s.findings.begin(), s.findings.end(), [&](const finding& f) { return f.name == name; });
}

double change(double value, double reference) { return 100 * (value / reference - 1); }

/// The share of perplexity that may be lost.
constexpr double tolerance = 0.01;
constexpr double agreement = 0.9;

}    // namespace

bool is_safe(const finding& f, const finding& reference) {
  return f.perplexity <= reference.perplexity * (1 + tolerance) && f.top1 >= agreement;
}

void recommend(study& s) {
  const finding& reference = find(s, "fp32");
  const finding& half = find(s, "bf16");
  const finding* best = nullptr;
  const finding* nearest = nullptr;    // the quantized one of the least divergence
  for (const finding& f : s.findings) {
    if (!f.quantized) continue;
    if (nearest == nullptr || f.divergence < nearest->divergence) nearest = &f;
    if (!is_safe(f, reference)) continue;
    const bool better =
        best == nullptr || f.total < best->total || (f.total == best->total && f.divergence < best->divergence);
    if (better) best = &f;
  }
  if (best == nullptr) {
    s.recommendation = "bf16";
    s.reason =
        nearest == nullptr
            ? std::string("No quantized candidate was given.")
            : print(
                  "No candidate kept the float32 model's perplexity within %.1f %% and its first choices at %.0f %%. "
                  "The nearest is %s: perplexity %+.2f %%, first choices the same at %.1f %%.",
                  100 * tolerance, 100 * agreement, nearest->name.c_str(),
                  change(nearest->perplexity, reference.perplexity), 100 * nearest->top1);
    if (nearest != nullptr && !s.compensated)
      s.reason += " int4:nl4:gptq+refine:qep, with many --calibrate-tokens, is the INT4 that loses least.";
    return;
  }
  s.recommendation = best->name;
  s.reason = print(
      "It is the smallest that keeps perplexity within %.1f %% of float32 (%+.2f %%) and first choices at %.0f %% "
      "(%.1f %% are the same). It takes %.0f %% of the bytes of 16-bit weights and decodes %.2f times as fast.",
      100 * tolerance, change(best->perplexity, reference.perplexity), 100 * agreement, 100 * best->top1,
      100 * static_cast<double>(best->total) / static_cast<double>(half.total), best->decode_speed / half.decode_speed);
  if (best->flattered)
    s.reason += " Mind that the file holds these weights on 16 levels per group already, which flatters INT4.";
}

}    // namespace compare
