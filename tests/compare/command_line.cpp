// The program as a user meets it: its table, its report and figures, and how it fails.
#include <cmath>
#include <nlohmann/json.hpp>

#include "../llm/run_program.hpp"
#include "support/catch.hpp"

using namespace llm_test;

namespace {

outcome run_compare(const std::string& arguments) { return run_program(COMPARE_PROGRAM, arguments); }

// Blocks of about a thousand characters, so that calibration and measurement get several each.
std::string long_text() {
  std::string text;
  for (int paragraph = 0; paragraph < 12; ++paragraph) {
    for (int i = 0; i < 20; ++i)
      text += "the newest of them was lower than number " + std::to_string(paragraph * i) + " ";
    text += "\n\n";
  }
  return text;
}

const std::string quick =
    " --rounds 1 --prompt-tokens 16 --decode-tokens 3 --words 8 --calibrate-tokens 300 --text-tokens 400 ";

void check_refused(const outcome& result, const std::string& because) {
  llm_test::check_refused(result, "compare", because);
}

// Whether every tag that is opened is closed, in order (void elements aside).
bool is_balanced(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (tag[0] == '!' || tag.back() == '/' || tag.compare(0, 4, "meta") == 0) continue;
    const bool closes = tag[0] == '/';
    const std::string name = tag.substr(closes ? 1 : 0, tag.find_first_of(" ", 1) - (closes ? 1 : 0));
    if (!closes) {
      open.push_back(name);
    } else {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
    }
  }
  return open.empty();
}

}    // namespace

TEST_CASE("compare prints a table with a recommendation, and writes a report and figures that agree") {
  const temporary_folder folder;
  tiny_model model = make_tiny_model(1);
  model.config.name = "tiny <&> model";
  write_gguf(model, folder / "model.gguf");
  write_text(folder / "text", long_text());
  const outcome result = run_compare("--model " + (folder / "model.gguf") + " --text " + (folder / "text") + quick +
                                     "--candidates int8,int8:g0,int4:rtn,int4:mse,int4:hqq,int4:awq,int4:gptq,"
                                     "int4:nl4:gptq+refine:qep --html " +
                                     (folder / "report.html") + " --json " + (folder / "figures.json"));
  CAPTURE(result.err, result.out);
  REQUIRE(result.exit_code == 0);
  for (const char* part :
       {"\nfp32 ", "\nbf16 ", "\nint8 ", "\nint8:g0 ", "\nint4:rtn ", "\nint4:mse ", "\nint4:hqq ", "\nint4:awq ",
        "\nint4:gptq ", "\nint4:nl4:gptq+refine:qep ", "\nmixed ", "KL, nats", "same tokens", "\nRecommended: "})
    CHECK_THAT(result.out, ContainsSubstring(part));
  CHECK_THAT(result.err, ContainsSubstring("calibrating and quantizing 8 candidates .........."));

  const auto figures = nlohmann::json::parse(contents_of(folder / "figures.json"));
  REQUIRE(figures.at("candidates").size() == 11);
  const auto& candidates = figures.at("candidates");
  const auto named = [&](const std::string& name) {
    for (const auto& c : candidates)
      if (c.at("name") == name) return c;
    FAIL(name);
    return candidates[0];
  };
  for (const auto& c : candidates) {
    CAPTURE(c.dump());
    const auto& bytes = c.at("bytes");
    // Every byte is in one of the parts.
    std::size_t sum = 0;
    for (const char* part :
         {"codes", "scales", "zero_points", "offsets", "padding", "input_factors", "output_layer", "norms"})
      sum += bytes.at(part).get<std::size_t>();
    CHECK(bytes.at("total") == sum);
    CHECK(c.at("perplexity").get<double>() > 1);
    CHECK(c.at("kl_divergence").get<double>() >= 0);
    CHECK(c.at("prompt_tokens_per_second").get<double>() > 0);
    CHECK(c.at("decode_tokens_per_second").get<double>() > 0);
  }
  CHECK(named("fp32").at("kl_divergence") == 0.0);
  CHECK(named("fp32").at("top1_agreement") == 1.0);
  CHECK(named("bf16").at("kl_divergence").get<double>() < 0.01);
  CHECK(named("int8").at("kl_divergence").get<double>() < named("int4:rtn").at("kl_divergence").get<double>());
  CHECK(named("int4:rtn").at("bytes").at("total") == named("int4:gptq").at("bytes").at("total"));
  CHECK(named("mixed").at("bytes").at("total").get<std::size_t>() <=
        named("int8").at("bytes").at("total").get<std::size_t>());

  // Calibrated methods lower the error of the outputs that they look at: GPTQ's sum over all layers is below rtn's.
  const auto& names = figures.at("layer_candidates");
  std::map<std::string, double> noise;
  for (const auto& layer : figures.at("layer_errors"))
    for (std::size_t k = 0; k < names.size(); ++k)
      noise[names[k].get<std::string>()] += layer.at("options")[k].at("relative_noise").get<double>();
  CHECK(noise.at("int4:gptq") < noise.at("int4:rtn"));
  CHECK(noise.at("int4:awq") < noise.at("int4:rtn"));
  CHECK(noise.at("int8") < 0.05 * noise.at("int4:gptq"));

  const std::string html = contents_of(folder / "report.html");
  CHECK(is_balanced(html));
  CHECK(count_of(html, "<svg") == 5);
  CHECK(count_of(html, "http") == 0);    // nothing is fetched
  CHECK(count_of(html, "<script") == 0);
  CHECK_THAT(html, ContainsSubstring("tiny &lt;&amp;&gt; model"));
  CHECK(count_of(html, "nan") == 0);
  const std::string recommendation = figures.at("recommendation").at("candidate");
  CHECK_THAT(html, ContainsSubstring("<b>" + recommendation + "</b>"));
  CHECK_THAT(result.out, ContainsSubstring("Recommended: " + recommendation + "."));
}

TEST_CASE("a mixed model keeps to its budget") {
  const temporary_folder folder;
  write_safetensors(make_tiny_model(2), folder);
  write_text(folder / "text", long_text());
  const std::string common = "--model " + folder.path() + " --text " + (folder / "text") + quick +
                             "--candidates int4,int8 --json " + (folder / "f.json");
  const outcome roomy = run_compare(common + " --budget 16");
  CAPTURE(roomy.err);
  REQUIRE(roomy.exit_code == 0);
  auto figures = nlohmann::json::parse(contents_of(folder / "f.json"));
  std::size_t all_four = 0, all_eight = 0;
  for (const auto& layer : figures.at("layer_errors")) {
    CHECK(layer.at("chosen") == "int8");
    all_four += layer.at("options")[0].at("bytes").get<std::size_t>();
    all_eight += layer.at("options")[1].at("bytes").get<std::size_t>();
  }

  // half way between the two, padding included; 16 bits a weight are two bytes
  const double weights = figures.at("mixed").at("budget_bytes").get<double>() / 2;
  const double bits = 8 * static_cast<double>(all_four + all_eight) / 2 / weights;
  const outcome narrow = run_compare(common + " --budget " + std::to_string(bits));
  CAPTURE(narrow.err);
  REQUIRE(narrow.exit_code == 0);
  figures = nlohmann::json::parse(contents_of(folder / "f.json"));
  std::size_t bytes = 0, eights = 0;
  for (const auto& layer : figures.at("layer_errors")) {
    const bool eight = layer.at("chosen") == "int8";
    bytes += layer.at("options")[eight ? 1 : 0].at("bytes").get<std::size_t>();
    eights += eight ? 1 : 0;
  }
  CHECK(bytes <= figures.at("mixed").at("budget_bytes").get<std::size_t>());
  CHECK(eights > 0);
  CHECK(eights < figures.at("layer_errors").size());
}

TEST_CASE("what cannot be done is one clear message and exit code 1") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(5), folder / "model.gguf");
  write_text(folder / "text", long_text());
  write_text(folder / "short", "a few words\n");
  write_text(folder / "empty", "");
  const std::string model = " --model " + (folder / "model.gguf"), text = " --text " + (folder / "text");
  check_refused(run_compare(""), "--model is required");
  check_refused(run_compare(model), "--text is required");
  check_refused(run_compare(model + text + " --candidates int4:best"), "unknown candidate \"int4:best\"");
  check_refused(run_compare(model + text + " --rounds 0"), "--rounds");
  check_refused(run_compare(model + text + " --bogus"), "--bogus");
  check_refused(run_compare(" --model " + (folder / "none.gguf") + text), "no such file");
  check_refused(run_compare(model + " --text " + (folder / "none")), "cannot be read");
  check_refused(run_compare(model + " --text " + (folder / "empty")), "cannot be read, or is empty");
  check_refused(run_compare(model + " --text " + (folder / "short")), "nothing to calibrate on");
  check_refused(run_compare(model + text + " --calibrate " + (folder / "none")), "cannot be read");
  check_refused(run_compare(model + text + " --html /no/such/folder/report.html"), "/no/such/folder/report.html");
  check_refused(run_compare(model + text + quick + " --candidates int4,int8 --budget 2"), "--budget");
  CHECK(run_compare("--help").exit_code == 0);
}
