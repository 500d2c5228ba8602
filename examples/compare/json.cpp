#include <nlohmann/json.hpp>

#include "output.hpp"

namespace compare {

std::string json_of(const study& s) {
  using nlohmann::json;
  json findings = json::array();
  for (const finding& f : s.findings) {
    findings.push_back({{"name", f.name},
                        {"description", f.description},
                        {"quantized", f.quantized},
                        {"flattered", f.flattered},
                        {"bytes",
                         {{"total", f.total},
                          {"codes", f.layers.codes},
                          {"scales", f.layers.scales},
                          {"zero_points", f.layers.zero_points},
                          {"offsets", f.layers.offsets},
                          {"padding", f.layers.padding},
                          {"input_factors", f.factors},
                          {"output_layer", f.output},
                          {"norms", f.norms},
                          {"cache_per_token", f.cache_per_token}}},
                        {"bits_per_weight", f.layer_bits},
                        {"quantize_seconds", f.quantize_seconds},
                        {"prompt_tokens_per_second", f.prompt_speed},
                        {"decode_tokens_per_second", f.decode_speed},
                        {"perplexity", f.perplexity},
                        {"perplexity_change_standard_error", f.change_error},
                        {"kl_divergence", f.divergence},
                        {"top1_agreement", f.top1},
                        {"same_greedy_tokens", f.same_tokens},
                        {"continuation", f.continuation}});
  }
  json layers = json::array();
  for (const layer_finding& l : s.layer_findings) {
    json options = json::array();
    for (const auto& o : l.options) options.push_back({{"bytes", o.bytes}, {"relative_noise", o.error}});
    json layer{{"layer", l.id.layer}, {"part", llm::name_of(l.id.what)}, {"options", options}};
    if (s.mixed_budget != 0) layer["chosen"] = s.layer_candidates[l.chosen];
    layers.push_back(std::move(layer));
  }
  const json all{
      {"model", s.model},
      {"file", s.file},
      {"text", s.text},
      {"calibration", s.calibration},
      {"threads", s.threads},
      {"backend", s.backend},
      {"layers", s.layers},
      {"linear_weights", s.linear_weights},
      {"file_bytes", s.file_bytes},
      {"measured_tokens", s.measured_tokens},
      {"calibrated_tokens", s.calibrated_tokens},
      {"prompt", s.prompt},
      {"timing", {{"rounds", s.rounds}, {"prompt_tokens", s.prompt_tokens}, {"decode_tokens", s.decode_tokens}}},
      {"candidates", findings},
      {"layer_candidates", s.layer_candidates},
      {"layer_errors", layers},
      {"mixed", {{"budget_bytes", s.mixed_budget}, {"error_bound", s.mixed_bound}}},
      {"recommendation", {{"candidate", s.recommendation}, {"reason", s.reason}}}};
  // Generated text may end within a character.
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}    // namespace compare
