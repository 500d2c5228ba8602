// Model files: what they say, and everything that may be wrong with them.
#include "model_file.hpp"

#include "fixture.hpp"

using namespace llm_test;

namespace {

std::string refusal(const std::string& path, bool with_tokenizer = false) {
  try {
    const auto file = llm::open_model(path);
    if (with_tokenizer) llm::tokenizer tokens(file->tokenizer());
  } catch (const std::exception& e) {
    return e.what();
  }
  return "accepted";
}

}    // namespace

TEST_CASE("both formats tell the same about a model") {
  const tiny_model model = make_tiny_model(1, tiny_config(), false);
  const temporary_folder folder;
  write_gguf(model, folder / "model.gguf");
  write_safetensors(model, folder);
  for (const std::string& path : {folder / "model.gguf", folder.path()}) {
    CAPTURE(path);
    const auto file = llm::open_model(path);
    const llm::model_config& c = file->config();
    CHECK(c.layers == 3);
    CHECK(c.width == 48);
    CHECK(c.ffn_width == 80);
    CHECK(c.heads == 6);
    CHECK(c.kv_heads == 2);
    CHECK(c.head_dim == 10);
    CHECK(c.vocabulary == 300);
    CHECK(c.context == 96);
    CHECK(c.rope_theta == 500.0f);
    CHECK(c.norm_epsilon == 1e-5f);
    CHECK(file->type_name({llm::role::up, 1}) == "F32");
    CHECK(file->code_bits({llm::role::up, 1}) == 32);
    CHECK(file->has({llm::role::output, 0}));
    CHECK(file->bytes() > 4 * 300 * 48);
    std::vector<float> rows(2 * 80);
    file->read_rows({llm::role::down, 2}, 5, {rows.data(), 2, 80});
    const float* const expected = model.at(llm::role::down, 2).row(5);
    CHECK(rows == std::vector<float>(expected, expected + 160));
    CHECK(file->tokenizer().tokens == make_tiny_vocabulary().tokens);
  }
}

TEST_CASE("GGUF files that are no supported model are refused by name") {
  const tiny_model model = make_tiny_model(2);
  const temporary_folder folder;
  const std::string path = folder / "model.gguf";
  const auto refusal_of = [&](const gguf_options& options, bool with_tokenizer = false) {
    write_gguf(model, path, options);
    return refusal(path, with_tokenizer);
  };
  CHECK(refusal_of({}, true) == "accepted");
  gguf_options options;
  options.architecture = "qwen3moe";
  CHECK_THAT(refusal_of(options), ContainsSubstring("architecture \"qwen3moe\""));
  options = {};
  options.left_out = {"blk.1.ffn_up.weight"};
  CHECK_THAT(refusal_of(options), ContainsSubstring("\"blk.1.ffn_up.weight\" is missing"));
  options = {};
  options.left_out = {"token_embd.weight"};
  CHECK_THAT(refusal_of(options), ContainsSubstring("\"token_embd.weight\" is missing"));
  options = {};
  options.odd_type = "blk.2.attn_k.weight";
  CHECK_THAT(refusal_of(options), ContainsSubstring("\"blk.2.attn_k.weight\"") && ContainsSubstring("F64"));
  options = {};
  options.added = {"blk.0.attn_q.bias"};
  CHECK_THAT(refusal_of(options), ContainsSubstring("biases"));
  options = {};
  options.added = {"rope_freqs.weight"};
  CHECK_THAT(refusal_of(options), ContainsSubstring("rotary embeddings are scaled"));
  options = {};
  options.extra = {{"llama.rope.scale_linear", 4.0f}};
  CHECK_THAT(refusal_of(options), ContainsSubstring("rotary embeddings are scaled"));
  options = {};
  options.tokenizer = false;
  CHECK(refusal_of(options) == "accepted");
  CHECK_THAT(refusal_of(options, true), ContainsSubstring("no tokenizer"));
  options = {};
  options.pre = "unheard-of";
  CHECK_THAT(refusal_of(options, true), ContainsSubstring("pre-tokenizer \"unheard-of\""));

  tiny_model wrong = model;
  wrong.config.kv_heads = 3;    // the tensors are for 2
  write_gguf(wrong, path);
  CHECK_THAT(refusal(path), ContainsSubstring("attn_k.weight") && ContainsSubstring("expected 30 x 48"));
  wrong.config.kv_heads = 4;
  write_gguf(wrong, path);
  CHECK_THAT(refusal(path), ContainsSubstring("no multiple"));
}

TEST_CASE("a GGUF file that ends early is refused wherever it ends") {
  const temporary_folder folder;
  const std::string path = folder / "model.gguf";
  write_gguf(make_tiny_model(3), path);
  const std::uintmax_t size = std::filesystem::file_size(path);
  const std::uintmax_t step = std::max<std::uintmax_t>(1, size / 97);
  for (std::uintmax_t end = size - 1; end < size; end -= step) {    // wraps around below zero
    std::filesystem::resize_file(path, end);
    CAPTURE(end);
    CHECK(refusal(path) != "accepted");
  }
}

TEST_CASE("Hugging Face folders that are no supported model are refused by name") {
  const tiny_model model = make_tiny_model(4);
  const temporary_folder folder;
  const auto refusal_with = [&](const char* key, const nlohmann::json& value) {
    write_safetensors(model, folder);
    nlohmann::json config = config_json(model);
    config[key] = value;
    write_text(folder / "config.json", config.dump());
    return refusal(folder.path());
  };
  CHECK(refusal_with("model_type", "llama") == "accepted");
  CHECK_THAT(refusal_with("model_type", "gpt2"), ContainsSubstring("architecture \"gpt2\""));
  CHECK_THAT(refusal_with("rope_scaling", {{"factor", 8}}), ContainsSubstring("rope_scaling"));
  CHECK_THAT(refusal_with("attention_bias", true), ContainsSubstring("biases"));
  CHECK_THAT(refusal_with("hidden_act", "gelu"), ContainsSubstring("activation \"gelu\""));
  CHECK_THAT(refusal_with("hidden_size", 50), ContainsSubstring("50"));
  CHECK_THAT(refusal_with("hidden_size", "wide"), ContainsSubstring("config.json"));
  CHECK_THAT(refusal_with("num_hidden_layers", 4), ContainsSubstring("model.layers.3.input_layernorm.weight"));
  CHECK_THAT(refusal_with("tie_word_embeddings", false), ContainsSubstring("lm_head.weight"));

  const auto refusal_after = [&](const char* file, const char* content) {
    write_safetensors(model, folder);
    if (content != nullptr)
      write_text(folder / file, content);
    else
      std::filesystem::remove(folder / file);
    return refusal(folder.path(), true);
  };
  CHECK_THAT(refusal_after("config.json", nullptr), ContainsSubstring("config.json"));
  CHECK_THAT(refusal_after("config.json", "{\"model_type\": "), ContainsSubstring("config.json"));
  CHECK_THAT(refusal_after("model.safetensors", nullptr), ContainsSubstring("model.safetensors"));
  CHECK(refusal_after("model.safetensors", "short") != "accepted");
  CHECK_THAT(refusal_after("tokenizer.json", nullptr), ContainsSubstring("no tokenizer"));
  CHECK_THAT(refusal_after("tokenizer.json", "{}"), ContainsSubstring("tokenizer.json"));
}
