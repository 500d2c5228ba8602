// The program as a user meets it: what it prints, and how it fails.
#include "run_program.hpp"
#include "support/catch.hpp"

using namespace llm_test;

namespace {

outcome run_llm(const std::string& arguments) { return run_program(LLM_PROGRAM, arguments); }

void check_refused(const outcome& result, const std::string& because) {
  llm_test::check_refused(result, "llm", because);
}

}    // namespace

TEST_CASE("llm run generates text, the same each time") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(1), folder / "model.gguf");
  const std::string model = "--model " + (folder / "model.gguf");
  for (const std::string precision : {"fp32", "bf16", "int8", "int4", "int4:g16:offset:mse_clip"}) {
    CAPTURE(precision);
    const std::string arguments =
        "run --prompt 'the lower' --tokens 20 --threads 2 --precision " + precision + " " + model;
    const outcome result = run_llm(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    CHECK(result.out.compare(0, 9, "the lower") == 0);
    CHECK_THAT(result.err, ContainsSubstring("tok/s"));
    CHECK(run_llm(arguments).out == result.out);
  }
  const outcome cold = run_llm("run --prompt 'a' --temperature 1.5 --seed 1 " + model);
  CHECK(cold.out == run_llm("run --prompt 'a' --temperature 1.5 --seed 1 " + model).out);
  CHECK(cold.out != run_llm("run --prompt 'a' --temperature 1.5 --seed 2 " + model).out);
  CHECK(run_llm("run --chat --prompt 'a' --tokens 3 " + model).exit_code == 0);
}

TEST_CASE("llm compare prints one row per precision, ratios and the share of bandwidth") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(2), folder / "model.gguf");
  write_text(folder / "text", "It was new.\n\nThe lowest of them was newer than the lower one.\n");
  const outcome result =
      run_llm("compare --rounds 1 --prompt-tokens 40 --decode-tokens 4 --prompt 'the new' --text " + (folder / "text") +
              " --precision fp32,bf16,int8,int4,int4:offset --model " + (folder / "model.gguf"));
  CAPTURE(result.err, result.out);
  CHECK(result.exit_code == 0);
  for (const char* part : {"precision", "bits/weight", "MB", "prompt tok/s", "decode tok/s", "perplexity",
                           "first words", "\nfp32 ", "\nbf16 ", "\nint8 ", "\nint4 ", "\nint4:offset "})
    CHECK_THAT(result.out, ContainsSubstring(part));
  CHECK_THAT(result.out, ContainsSubstring("bf16 decoding reads weights at"));
  CHECK_THAT(result.out, ContainsSubstring("GB/s that reading memory alone reaches"));
  CHECK(count_of(result.out, "x)") == 4 * 3);    // size, prompt and decoding of all rows but bf16
  CHECK(count_of(result.out, "%)") == 4);
  CHECK(count_of(result.out, "*") == 0);    // the file holds floats: nothing is flattered
}

TEST_CASE("figures on 4-bit files are marked as flattered") {
  const temporary_folder folder;
  tiny_model model = make_tiny_model(3);
  model.config.width = 64;
  model.config.ffn_width = 96;
  model.config.head_dim = 16;
  model = make_tiny_model(3, model.config);
  gguf_options options;
  options.q4_1 = true;
  write_gguf(model, folder / "model.gguf", options);
  const outcome result =
      run_llm("compare --rounds 1 --prompt-tokens 8 --decode-tokens 2 --precision bf16,int4 --model " +
              (folder / "model.gguf"));
  CAPTURE(result.err, result.out);
  CHECK(result.exit_code == 0);
  CHECK_THAT(result.out, ContainsSubstring("\nint4 *"));
  CHECK_THAT(result.out, ContainsSubstring("* flattered: the model file holds these weights on 16 levels"));
  CHECK_THAT(result.out, !ContainsSubstring("bf16 *"));
}

TEST_CASE("llm perplexity prints a figure per precision") {
  const temporary_folder folder;
  write_safetensors(make_tiny_model(4), folder);
  write_text(folder / "text", "some new text\n");
  const outcome result = run_llm("perplexity " + (folder / "text") + " --precision fp32,int8 --model " + folder.path());
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  CHECK_THAT(result.out, ContainsSubstring("fp32  perplexity "));
  CHECK_THAT(result.out, ContainsSubstring("int8  perplexity "));
  CHECK_THAT(result.err, ContainsSubstring("loading as fp32 ..........") && ContainsSubstring("perplexity int8"));
}

TEST_CASE("what cannot be done is one clear message and exit code 1") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(5), folder / "model.gguf");
  const std::string model = " --model " + (folder / "model.gguf");
  check_refused(run_llm(""), "subcommand is required");
  check_refused(run_llm("run"), "--model is required");
  check_refused(run_llm("run --bogus 1" + model), "--bogus");
  check_refused(run_llm("run --precision int5" + model), "unknown precision \"int5\"");
  check_refused(run_llm("run --precision int4:g12:fast" + model), "int4:g12:fast");
  check_refused(run_llm("run --precision bf16:g12" + model), "bf16:g12");
  check_refused(run_llm("run --precision fp16" + model), "--device cuda");
  check_refused(run_llm("run --device tpu" + model), "tpu");
  check_refused(run_llm("run --tokens many" + model), "many");
  check_refused(run_llm("run --threads 0" + model), "--threads");
  check_refused(run_llm("run --method best" + model), "best");
  check_refused(run_llm("run --output int4:g128" + model + "x"), "no such file");
  check_refused(run_llm("run --model " + (folder / "none.gguf")), "no such file");
  check_refused(run_llm("run --model " + folder.path()), "no config.json");
  check_refused(run_llm("perplexity " + (folder / "missing-text") + model), "missing-text");
  check_refused(run_llm("run --context 4 --prompt 'a long prompt, longer than its context'" + model), "--context");
  write_text(folder / "empty.gguf", "");
  check_refused(run_llm("run --model " + (folder / "empty.gguf")), "not a GGUF file");
  CHECK(run_llm("--help").exit_code == 0);
  CHECK(run_llm("run --help").exit_code == 0);
}

TEST_CASE("llm --device cuda prints the same table, or says what is missing") {
  const temporary_folder folder;
  write_gguf(make_tiny_model(6), folder / "model.gguf");
  write_text(folder / "text", "It was new.\n\nThe lowest of them was newer than the lower one.\n");
  const std::string model = " --device cuda --model " + (folder / "model.gguf");
  const outcome result = run_llm("compare --rounds 1 --prompt-tokens 40 --decode-tokens 4 --prompt 'the new' --text " +
                                 (folder / "text") + model);
  CAPTURE(result.err, result.out);
  if (result.exit_code != 0) {    // without nvcc, or without a GPU
    check_refused(result, "--device cuda: ");
    return;
  }
  for (const char* part : {"perplexity", "\nfp16 ", "\nint8 ", "\nint4 ", "fp16 decoding reads weights at"})
    CHECK_THAT(result.out, ContainsSubstring(part));
  CHECK(count_of(result.out, "x)") == 2 * 3);
  const outcome text = run_llm("run --prompt 'the lower' --tokens 20 --precision int8" + model);
  CHECK(text.exit_code == 0);
  CHECK(text.out.compare(0, 9, "the lower") == 0);
  CHECK(run_llm("run --prompt 'the lower' --tokens 20 --precision int8" + model).out == text.out);
  check_refused(run_llm("run --precision bf16" + model), "bf16");
}
