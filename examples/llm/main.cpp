// llm: runs Llama-architecture language models on qlite. `llm --help` tells the rest.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <new>

#include "commands.hpp"

namespace {

/// Refuses what parse_format does not know, before a model is loaded.
CLI::Validator precision_name(bool automatic = false) {
  return {[automatic](const std::string& name) {
            try {
              if (!automatic || name != "auto") llm::parse_format(name, {});
            } catch (const std::exception& e) {
              return std::string(e.what());
            }
            return std::string();
          },
          "NAME"};
}

void add_common(CLI::App& command, llm::common_options& options) {
  command.add_option("--model", options.model, "a .gguf file, or a folder with config.json and model.safetensors")
      ->required();
  const std::map<std::string, llm::device> devices{{"cpu", llm::device::cpu}, {"cuda", llm::device::cuda}};
  command.add_option("--device", options.where, "cpu (default), or cuda: fp16, int8 and int4 on an NVIDIA GPU")
      ->transform(CLI::CheckedTransformer(devices))
      ->option_text("NAME");
  command.add_option("--threads", options.threads, "number of threads (default: all)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1024}));
  command.add_option("--context", options.context, "positions that a text may have (at most the model's)")
      ->check(CLI::Range(std::size_t{2}, std::size_t{1} << 20))
      ->capture_default_str();
  const std::map<std::string, llm::cached_as> caches{
      {"auto", llm::cached_as::automatic}, {"fp32", llm::cached_as::float32}, {"bf16", llm::cached_as::bfloat16}};
  command
      .add_option("--cache", options.cache,
                  "keys and values on a CPU: fp32, bf16, or auto (default): bf16 where layers round their inputs")
      ->transform(CLI::CheckedTransformer(caches))
      ->option_text("NAME");
  command.add_option("--batch", options.batch, "tokens of a prompt that are computed at once")
      ->check(CLI::Range(std::size_t{1}, std::size_t{4096}))
      ->capture_default_str();
  command
      .add_option("--group-size", options.format.group,
                  "int8, int4: weights that share a scale; 0: a row (default: 32)")
      ->check(CLI::Range(0l, 1l << 20));
  const std::map<std::string, llm::zero_kind> zeros{{"symmetric", llm::zero_kind::symmetric},
                                                    {"asymmetric", llm::zero_kind::asymmetric},
                                                    {"offset", llm::zero_kind::offset}};
  command.add_option("--zero", options.format.zero, "int8, int4: symmetric (default), asymmetric or offset")
      ->transform(CLI::CheckedTransformer(zeros))
      ->option_text("NAME");
  command.add_flag("--weight-only", options.format.weight_only, "int8, int4: float activations instead of INT8 ones");
  const std::map<std::string, llm::quantization_method> methods{{"rtn", llm::quantization_method::rtn},
                                                                {"mse_clip", llm::quantization_method::mse_clip}};
  command.add_option("--method", options.format.method, "int8, int4: rtn (round to nearest) or mse_clip")
      ->transform(CLI::CheckedTransformer(methods))
      ->option_text("NAME");
  command
      .add_option("--output", options.output,
                  "precision of the output layer (default: that of the layers, but int8 for int4)")
      ->check(precision_name(true));
}

}    // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs Llama-architecture language models with weights in float32, bfloat16, float16, INT8 or INT4.");
  app.require_subcommand(1);
  llm::common_options common;
  const auto precision = precision_name();

  llm::run_options run;
  CLI::App* const run_app = app.add_subcommand("run", "generate text");
  add_common(*run_app, common);
  run_app->add_option("--precision", run.precision, "fp32, bf16, fp16, int8 or int4, e.g. int4:g128:offset or int4:nl4")
      ->check(precision)
      ->capture_default_str();
  run_app->add_option("--prompt", run.prompt, "the text to continue")->capture_default_str();
  run_app->add_option("--tokens", run.tokens, "most tokens to generate")->capture_default_str();
  run_app->add_option("--temperature", run.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0f, 100.0f))
      ->capture_default_str();
  run_app->add_option("--seed", run.seed, "of the random choices at a temperature above 0")->capture_default_str();
  run_app->add_flag("--chat", run.chat, "the prompt is what a user says to a chat model");

  llm::compare_options compare;
  std::string text;
  CLI::App* const perplexity_app = app.add_subcommand("perplexity", "measure the perplexity of a text file");
  add_common(*perplexity_app, common);
  perplexity_app->add_option("text", text, "the text file")->required();

  CLI::App* const compare_app = app.add_subcommand("compare", "compare precisions in one table");
  add_common(*compare_app, common);
  compare_app->add_option("--text", compare.text, "text file to measure perplexity over");
  compare_app->add_option("--prompt", compare.prompt, "the text to continue")->capture_default_str();
  compare_app->add_option("--prompt-tokens", compare.prompt_tokens, "length of the timed prompt")
      ->capture_default_str();
  compare_app->add_option("--decode-tokens", compare.decode_tokens, "tokens that are timed one by one")
      ->capture_default_str();
  compare_app->add_option("--rounds", compare.rounds, "repetitions of the timing")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1000}))
      ->capture_default_str();
  for (CLI::App* const command : {perplexity_app, compare_app})
    command->add_option("--precision", compare.precisions, "comma-separated list, e.g. bf16,int8:g0,int4:nl4:mse_clip")
        ->delimiter(',')
        ->check(precision)
        ->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);    // --help
    std::fprintf(stderr, "llm: %s (llm --help lists what there is)\n", e.what());
    return 1;
  }
  try {
    const bool no_precision = perplexity_app->count("--precision") + compare_app->count("--precision") == 0;
    if (common.where == llm::device::cuda && no_precision) compare.precisions = {"fp16", "int8", "int4"};
    if (run_app->parsed()) llm::run_command(common, run);
    if (perplexity_app->parsed()) llm::perplexity_command(common, compare.precisions, text);
    if (compare_app->parsed()) llm::compare_command(common, compare);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "llm: out of memory (fewer --precision at a time need less, a shorter --context too)\n");
    return 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "llm: %s\n", e.what());
    return 1;
  }
  return 0;
}
