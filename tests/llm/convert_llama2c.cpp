// The converter of llama2.c checkpoints: the model that comes out is the one that went in.
#include "oracle.hpp"
#include "run_program.hpp"
#include "transformer.hpp"

using namespace llm_test;

namespace {

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// llama2.c's legacy checkpoint.
std::string checkpoint(const tiny_model& model) {
  const llm::model_config& c = model.config;
  std::string out;
  const auto vocabulary = static_cast<std::int32_t>(c.vocabulary);
  for (const std::size_t v : {c.width, c.ffn_width, c.layers, c.heads, c.kv_heads})
    append(out, static_cast<std::int32_t>(v));
  append(out, model.tied ? vocabulary : -vocabulary);
  append(out, static_cast<std::int32_t>(c.context));
  const auto add = [&](const matrix& m) {
    out.append(reinterpret_cast<const char*>(m.values.data()), m.values.size() * sizeof(float));
  };
  add(model.at(llm::role::embedding));
  for (const llm::role what :
       {llm::role::attention_norm, llm::role::query, llm::role::key, llm::role::value, llm::role::attention_output,
        llm::role::ffn_norm, llm::role::gate, llm::role::down, llm::role::up}) {
    for (std::size_t i = 0; i < c.layers; ++i) {
      const bool turned = what == llm::role::query || what == llm::role::key;
      add(turned ? with_adjacent_pairs(model.at(what, i), c.head_dim) : model.at(what, i));
    }
  }
  add(model.at(llm::role::output_norm));
  out.append(c.context * c.head_dim * sizeof(float), '\0');
  if (!model.tied) add(model.at(llm::role::output));
  return out;
}

std::string tokenizer_file(std::size_t count) {
  std::string out;
  append(out, std::int32_t{8});
  for (std::size_t i = 0; i < count; ++i) {
    std::string text = i == 1 ? "\n<s>\n" : i == 2 ? "\n</s>\n" : " w" + std::to_string(i);
    if (i >= 3 && i < 259) {
      char byte[8];
      std::snprintf(byte, sizeof byte, "<0x%02X>", static_cast<unsigned>(i - 3));
      text = byte;
    }
    append(out, static_cast<float>(i) * -0.5f);
    append(out, static_cast<std::int32_t>(text.size()));
    out += text;
  }
  return out;
}

}    // namespace

TEST_CASE("a converted checkpoint has the logits of the model it was made of") {
  const bool tied = GENERATE(true, false);
  llm::model_config c = tiny_config();
  c.head_dim = c.width / c.heads;
  c.rope_theta = 10000;
  const tiny_model model = make_tiny_model(1, c, tied);
  const temporary_folder folder;
  write_text(folder / "model.bin", checkpoint(model));
  write_text(folder / "tokenizer.bin", tokenizer_file(c.vocabulary));
  const std::string arguments =
      (folder / "model.bin") + " " + (folder / "tokenizer.bin") + " " + (folder / "model.gguf");
  const outcome result = run_program(LLM_CONVERTER, arguments);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);

  const auto file = llm::open_model(folder / "model.gguf");
  llm::executor threads(1);
  const llm::transformer engine(file, {}, threads);
  llm::session s(engine, 20, 20, threads);
  const std::vector<llm::token> text{1, 260, 299, 13, 70, 261};
  const float* const logits = s.prompt(text.data(), text.size());
  CHECK(relative_error({{logits, logits + c.vocabulary}}, {oracle_logits(model, text).back()}) < 2e-6);

  const llm::tokenizer tokens(file->tokenizer());
  CHECK(tokens.data().bos == 1);
  CHECK(tokens.data().add_bos);
  CHECK(tokens.data().tokens[260] == "\u2581w260");
  CHECK(tokens.decode(llm::token{3 + '\n'}) == "\n");
  CHECK(tokens.decode(std::vector<llm::token>{1, 260, 261}) == "w260 w261");
}

TEST_CASE("what is no llama2.c checkpoint is refused") {
  const tiny_model model = make_tiny_model(2);
  const temporary_folder folder;
  const auto convert = [&](const std::string& weights, const std::string& tokens) {
    write_text(folder / "model.bin", weights);
    write_text(folder / "tokenizer.bin", tokens);
    return run_program(LLM_CONVERTER,
                       (folder / "model.bin") + " " + (folder / "tokenizer.bin") + " " + (folder / "model.gguf"));
  };
  const std::string good = checkpoint(model);
  for (const std::string& bad :
       {std::string(), good.substr(0, 20), good.substr(0, good.size() - 1), good + "x", std::string(28, '\0')}) {
    const outcome result = convert(bad, tokenizer_file(300));
    CHECK(result.exit_code == 1);
    CHECK_THAT(result.err, ContainsSubstring("convert_llama2c: "));
  }
  CHECK(convert(good, tokenizer_file(299)).exit_code == 1);
  CHECK(run_program(LLM_CONVERTER, "").exit_code == 1);
  CHECK(run_program(LLM_CONVERTER, "a b c").exit_code == 1);
}
