// compare: benchmarks INT8 and INT4 against each other on one model. `compare --help` tells the rest.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>

#include "embeddings.hpp"
#include "encoder.hpp"
#include "output.hpp"

namespace {

CLI::Validator candidate_name() {
  return {[](const std::string& name) {
            try {
              compare::parse_candidate(name);
            } catch (const std::exception& e) {
              return std::string(e.what());
            }
            return std::string();
          },
          "NAME"};
}

}    // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Quantizes a language model in several ways and measures each on the same prompts and text: memory by part, "
      "speed, "
      "perplexity, divergence from the original. Prints a table with a recommendation. Of a sentence encoder (BERT, as "
      "MiniLM) it measures whether searches find the same.");
  compare::study_options options;
  std::string html, json;
  app.add_option("--model", options.common.model, "a .gguf file, or a folder with config.json and model.safetensors")
      ->required();
  app.add_option("--text", options.text, "text file to measure on")->required();
  app.add_option("--calibrate", options.calibration,
                 "text file to calibrate on (default: the first third of --text, and the rest is measured on)");
  app.add_option(
         "--candidates", options.candidates,
         "comma-separated list: int8 or int4, each with what differs from groups of 32 and rtn, as "
         "int4:g128:gptq (methods: rtn, mse, hqq, awq, gptq, awq+gptq, gptq+refine; qep with any of them makes up "
         "for the errors of earlier layers); fp32 and bf16 are always there")
      ->delimiter(',')
      ->check(candidate_name())
      ->capture_default_str();
  app.add_option("--budget", options.budget_bits,
                 "bits a weight that the layers of the mixed model may take (default: a quarter of the way from the "
                 "smallest candidate to the largest)")
      ->check(CLI::Range(1.0, 16.0));
  app.add_flag("!--no-mixed", options.mixed, "do without a model whose layers differ");
  app.add_option("--html", html, "file to write the report to");
  app.add_option("--json", json, "file to write the figures to");
  app.add_option("--prompt", options.prompt, "the text to continue")->capture_default_str();
  app.add_option("--words", options.words, "tokens to generate")
      ->check(CLI::Range(std::size_t{1}, std::size_t{4096}))
      ->capture_default_str();
  app.add_option("--calibrate-tokens", options.calibration_tokens, "most tokens to calibrate on")
      ->check(CLI::Range(std::size_t{2}, std::size_t{1} << 20))
      ->capture_default_str();
  app.add_option("--text-tokens", options.text_tokens, "most tokens to measure on")
      ->check(CLI::Range(std::size_t{2}, std::size_t{1} << 24))
      ->capture_default_str();
  app.add_option("--threads", options.common.threads, "number of threads (default: all)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1024}));
  app.add_option("--prompt-tokens", options.prompt_tokens, "length of the timed prompt")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 16))
      ->capture_default_str();
  app.add_option("--decode-tokens", options.decode_tokens, "tokens that are timed one by one")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 16))
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "repetitions of the timing")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1000}))
      ->capture_default_str();
  options.common.batch = 512;
  options.common.cache = llm::cached_as::float32;    // what is measured is the weights and the inputs of layers

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);    // --help
    std::fprintf(stderr, "compare: %s (compare --help lists what there is)\n", e.what());
    return 1;
  }
  try {
    for (const std::string& path : {html, json})    // before minutes of work
      if (!path.empty()) compare::check_writable(path);
    if (compare::is_encoder(options.common.model)) {
      if (!html.empty()) throw std::runtime_error("--html: there is no report for encoders, only a table and --json");
      const compare::embedding_study study = compare::run_embedding_study(options);
      std::printf("\n%s", compare::table_of(study).c_str());
      if (!json.empty()) compare::write_file(json, compare::json_of(study));
      return 0;
    }
    const compare::study study = compare::run_study(options);
    std::printf("\n%s", compare::table_of(study).c_str());
    if (!html.empty()) compare::write_file(html, compare::html_of(study));
    if (!json.empty()) compare::write_file(json, compare::json_of(study));
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "compare: out of memory (fewer --candidates need less)\n");
    return 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "compare: %s\n", e.what());
    return 1;
  }
  return 0;
}
