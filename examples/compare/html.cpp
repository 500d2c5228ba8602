#include <algorithm>
#include <cmath>
#include <cstdio>

#include "output.hpp"
#include "recommend.hpp"
#include "svg.hpp"

namespace compare {
namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[512];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

/// Colours after Okabe and Ito (2008), which colour-blind readers can tell apart; lighter on a dark page.
const char* const style = R"css(
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1d2127; --dim: #5c6570; --rule: #e2e4e8;
  --accent: #0b6bcb; --good: #e8f3ec; --c0: #6b7280; --c1: #0072b2; --c2: #d55e00; --c3: #009e73; --c4: #cc79a7;
  --c5: #b8860b; --c6: #56b4e9; --c7: #7c5cd6; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1c2026; --ink: #e8eaed; --dim: #9aa4b0;
  --rule: #323840; --accent: #6cb2ff; --good: #1d3127; --c0: #9ca3af; --c1: #4aa8e0; --c2: #ff8a4a; --c3: #3ecf9f;
  --c4: #e59ac6; --c5: #e6b93c; --c6: #8fd0ff; --c7: #ab93f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 36px 24px 60px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 38px 0 12px; }
p { margin: 6px 0; } .dim, footer { color: var(--dim); font-size: 13.5px; }
.answer { background: var(--card); border: 1px solid var(--rule); border-left: 5px solid var(--accent);
  border-radius: 8px; padding: 16px 20px; margin: 22px 0 8px; }
.answer b { font-size: 20px; } .answer p { margin: 6px 0 0; max-width: 85ch; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 18px; }
figure { margin: 0 0 18px; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px; }
figcaption { font-weight: 600; margin-bottom: 6px; } svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--rule); } .tick { fill: var(--dim); font-size: 11.5px; } .axis { fill: var(--dim); font-size: 12.5px; }
.label { fill: var(--ink); font-size: 12.5px; } .leader { stroke: var(--dim); stroke-width: .7; }
.ring { fill: none; stroke: var(--accent); stroke-width: 2; } path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; margin-top: 8px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 8px 12px; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; font-size: 13px; color: var(--dim); } th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; white-space: normal; } tr:last-child td { border-bottom: 0; }
tr.chosen td { background: var(--good); } td small { color: var(--dim); display: block; font-size: 12px; }
)css";

std::string colors() {
  std::string css;
  for (int i = 0; i < 8; ++i)
    css += print(".f%d{fill:var(--c%d)}.s%d{stroke:var(--c%d)}.b%d{background:var(--c%d)}", i, i, i, i, i, i);
  return css;
}

double megabytes(std::size_t bytes) { return static_cast<double>(bytes) * 1e-6; }

std::string figures_table(const study& s) {
  const finding& fp32 = s.findings[0];
  const finding& bf16 = s.findings[1];
  std::string out =
      "<div class=\"scroll\"><table><tr><th>candidate</th><th>MB</th><th>bits a weight</th><th>prompt tok/s</th>"
      "<th>decode tok/s</th><th>perplexity</th><th>KL, nats</th><th>top-1</th><th>same tokens</th></tr>\n";
  for (const finding& f : s.findings) {
    const bool self = &f == &fp32, half = &f == &bf16;
    const auto ratio = [&](double value, double reference) {
      return half ? std::string() : print("<small>%.2f&times;</small>", value / reference);
    };
    out += f.name == s.recommendation ? "<tr class=\"chosen\">" : "<tr>";
    out += "<td title=\"" + escaped(f.description) + "\">" + escaped(f.name) + (f.flattered ? " *" : "") + "</td>";
    out += print(f.total < 10000000 ? "<td>%.2f" : "<td>%.1f", megabytes(f.total)) +
           ratio(static_cast<double>(f.total), static_cast<double>(bf16.total)) + "</td>";
    out += print("<td>%.2f</td>", f.layer_bits);
    out += print("<td>%.0f", f.prompt_speed) + ratio(f.prompt_speed, bf16.prompt_speed) + "</td>";
    out += print("<td>%.1f", f.decode_speed) + ratio(f.decode_speed, bf16.decode_speed) + "</td>";
    out += print("<td>%.3f", f.perplexity) +
           (self ? ""
                 : print("<small>%+.2f &plusmn; %.2f %%</small>", 100 * (f.perplexity / fp32.perplexity - 1),
                         100 * f.change_error)) +
           "</td>";
    out += self ? std::string("<td>&ndash;</td><td>&ndash;</td><td>&ndash;</td>")
                : print("<td>%.5f</td><td>%.1f %%</td><td>%zu of %zu</td>", f.divergence, 100 * f.top1, f.same_tokens,
                        s.generated_tokens);
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string charts(const study& s) {
  std::vector<chart_point> accuracy, speed;
  std::vector<chart_bar> memory;
  for (std::size_t i = 0; i < s.findings.size(); ++i) {
    const finding& f = s.findings[i];
    const bool chosen = f.name == s.recommendation;
    if (i != 0) accuracy.push_back({f.name, megabytes(f.total), f.divergence, i, chosen});
    speed.push_back({f.name, megabytes(f.total), f.decode_speed, i, chosen});
    memory.push_back(
        {f.name,
         {megabytes(f.layers.codes), megabytes(f.layers.scales), megabytes(f.layers.zero_points + f.layers.offsets),
          megabytes(f.layers.padding + f.factors), megabytes(f.output), megabytes(f.norms)}});
  }
  std::string out = "<h2>Accuracy and speed against memory</h2><div class=\"charts\">\n";
  out += scatter_chart("Divergence from float32: lower is better", {"weights, MB", true},
                       {"mean KL divergence, nats", true}, accuracy);
  out += scatter_chart("Decoding speed: higher is better", {"weights, MB", true}, {"tokens a second", false}, speed);
  out += "</div>\n<h2>Memory by part</h2>\n";
  out +=
      bar_chart("Weights held in memory", "MB",
                {"codes", "scales", "zero points, offsets", "padding, input factors", "output layer", "norms"}, memory);
  const double per_token = static_cast<double>(s.findings[0].cache_per_token);
  out += print(
      "<p class=\"dim\">Keys and values take %.1f kB a token for every candidate (float32 in this engine). "
      "Embedding rows are read from the file and not counted.</p>\n",
      per_token * 1e-3);
  return out;
}

std::string layer_charts(const study& s) {
  if (s.layer_candidates.empty()) return {};
  std::vector<chart_line> lines;
  for (std::size_t k = 0; k < s.layer_candidates.size(); ++k) {
    chart_line line;
    line.name = s.layer_candidates[k];
    line.color = k + 2;    // as in the other charts, behind fp32 and bf16
    for (std::size_t i = 0; i < s.layers; ++i) {
      double sum = 0;
      for (std::size_t p = 0; p < 5; ++p) sum += s.layer_findings[5 * i + p].options[k].error;
      line.values.push_back(std::sqrt(sum / 5));
    }
    lines.push_back(std::move(line));
  }
  std::string out = "<h2>Error per layer</h2>\n";
  out += line_chart("Relative error of the outputs of a layer's products, root mean square of the five",
                    {"layer", false, true}, {"relative error", true}, lines);
  if (s.mixed_budget != 0) {
    const std::vector<std::string> rows{"qkv", "attention output", "gate", "up", "down"};
    std::vector<std::vector<std::size_t>> cells(5);
    std::vector<std::string> chosen;    // only what was chosen has a colour: there are few of those
    std::vector<std::size_t> own_colors;
    for (std::size_t i = 0; i < s.layer_findings.size(); ++i) {
      const std::string& name = s.layer_candidates[s.layer_findings[i].chosen];
      const auto at = std::find(chosen.begin(), chosen.end(), name) - chosen.begin();
      if (static_cast<std::size_t>(at) == chosen.size()) {
        own_colors.push_back(chosen.size());
        chosen.push_back(name);
      }
      cells[i % 5].push_back(static_cast<std::size_t>(at));
    }
    out += choice_chart("What the mixed model chose, layer by layer", rows, cells, chosen, own_colors);
  }
  return out;
}

std::string words_table(const study& s) {
  std::string out = "<h2>Greedy continuations</h2><p class=\"dim\">of &ldquo;" + escaped(s.prompt) +
                    "&rdquo;</p><div class=\"scroll\"><table>\n";
  for (const finding& f : s.findings)
    out += "<tr><td>" + escaped(f.name) + "</td><td class=\"words\">" + escaped(f.continuation) + "</td></tr>\n";
  return out + "</table></div>\n";
}

}    // namespace

std::string html_of(const study& s) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>" +
      escaped(s.model) + ": INT8 or INT4?</title><style>" + style + colors() + "</style></head><body><main>\n";
  out += "<h1>" + escaped(s.model) + ": INT8 or INT4?</h1>\n";
  out += print(
      "<p class=\"dim\">%zu layers, %.1f million weights in linear layers; %zu threads, %s. Calibrated on %zu tokens, "
      "measured on %zu.</p>\n",
      s.layers, static_cast<double>(s.linear_weights) * 1e-6, s.threads, s.backend.c_str(), s.calibrated_tokens,
      s.measured_tokens);
  out += "<div class=\"answer\"><b>" + escaped(s.recommendation) + "</b><p>" + escaped(s.reason) + "</p></div>\n";
  out += "<h2>Figures</h2>\n" + figures_table(s);
  out += print(
      "<p class=\"dim\">Small figures compare with bf16, those of perplexity with fp32. Changes of perplexity have "
      "the standard error of %zu tokens&rsquo; differences. KL divergence and equal first choices (top-1) are against "
      "fp32; same tokens: "
      "greedy text before it first differs from fp32&rsquo;s. Speeds: medians of %zu rounds in turn, a prompt of %zu "
      "tokens, %zu tokens decoded.</p>\n",
      s.measured_tokens, s.rounds, s.prompt_tokens, s.decode_tokens);
  if (std::any_of(s.findings.begin(), s.findings.end(), [](const finding& f) { return f.flattered; }))
    out +=
        "<p class=\"dim\">* flattered: the file holds these weights on 16 levels per group already, so another 4 bits "
        "lose "
        "less than they would of the original weights.</p>\n";
  out += charts(s) + layer_charts(s) + words_table(s);
  out +=
      "<h2>Candidates</h2><div class=\"scroll\"><table><tr><th>name</th><th>bits</th><th>seconds to "
      "quantize</th><th></th>"
      "</tr>\n";
  for (const finding& f : s.findings)
    out += "<tr><td>" + escaped(f.name) +
           print("</td><td>%.2f</td><td>%.1f</td><td class=\"words\">", f.layer_bits, f.quantize_seconds) +
           escaped(f.description) + "</td></tr>\n";
  out += "</table></div>\n<footer><p>Model: " + escaped(s.file) + ". Text: " + escaped(s.text) +
         ". Calibration: " + escaped(s.calibration) + ".</p></footer></main></body></html>\n";
  return out;
}

}    // namespace compare
