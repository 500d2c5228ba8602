// tokenizer.json describes a pipeline: normalizer, pre-tokenizer, model, post-processor, decoder. What the tokenizer in
// tokenizer.hpp can do is recognized here; every other step is an error that names it.
#include "tokenizer_json.hpp"

#include <filesystem>

#include "json_file.hpp"

namespace llm {
namespace {

using json = nlohmann::json;

/// A step's own steps, if it is a sequence; else the step itself. `member` is what holds them.
std::vector<json> steps_of(const json& step, const char* member) {
  if (step.is_null()) return {};
  if (step.at("type") != "Sequence") return {step};
  std::vector<json> steps;
  for (const json& part : step.at(member))
    for (json& inner : steps_of(part, member)) steps.push_back(std::move(inner));
  return steps;
}

[[noreturn]] void unsupported(const std::string& what, const json& value) {
  throw std::runtime_error("tokenizer.json: unsupported " + what + " " + value.dump());
}

/// A pattern is a regular expression, or a string to be found as it is.
std::string pattern_of(const json& pattern) {
  if (pattern.contains("Regex")) return pattern.at("Regex").get<std::string>();
  std::string quoted = "\\Q";    // in PCRE2, everything up to \E stands for itself
  return quoted + pattern.at("String").get<std::string>() + "\\E";
}

void read_normalizer(const json& root, tokenizer_data& data) {
  for (const json& step : steps_of(root.value("normalizer", json()), "normalizers")) {
    const std::string type = step.at("type");
    const bool underscores = data.symbols == symbol_kind::sentence;
    if (type == "Prepend" && underscores && step.at("prepend") == "\u2581")
      data.space_prefix = true;
    else if (type == "Replace" && underscores && step.at("content") == "\u2581" &&
             step.at("pattern").value("String", "") == " ")
      continue;    // sentence symbols imply it
    else
      unsupported("normalizer", step);
  }
}

void read_pre_tokenizer(const json& root, tokenizer_data& data) {
  for (const json& step : steps_of(root.value("pre_tokenizer", json()), "pretokenizers")) {
    const std::string type = step.at("type");
    if (type == "ByteLevel") {
      data.space_prefix = step.value("add_prefix_space", false);
      if (step.value("use_regex", true)) data.patterns.emplace_back(gpt2_pattern);
    } else if (type == "Digits") {
      data.patterns.emplace_back(step.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
    } else if (type == "Split" && step.at("behavior") == "Isolated" && !step.value("invert", false)) {
      data.patterns.push_back(pattern_of(step.at("pattern")));
    } else if (type == "Metaspace" && data.symbols == symbol_kind::sentence &&
               step.value("replacement", "\u2581") == "\u2581") {
      const std::string prefix =
          step.value("prepend_scheme", step.value("add_prefix_space", true) ? "always" : "never");
      data.space_prefix = prefix != "never";
      if (step.value("split", true)) data.patterns.emplace_back("\u2581[^\u2581]*");    // a word carries its space
    } else {
      unsupported("pre-tokenizer", step);
    }
  }
}

bool has_byte_level_decoder(const json& root) {
  for (const json& step : steps_of(root.value("decoder", json()), "decoders"))
    if (step.at("type") == "ByteLevel") return true;
  return false;
}

void read_model(const json& model, tokenizer_data& data) {
  if (model.value("type", "BPE") != "BPE") unsupported("model", model.at("type"));
  for (const char* member : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json value = model.value(member, json());
    if (!value.is_null() && value != "") unsupported(member, value);
  }
  data.whole_words = model.value("ignore_merges", false);
  const bool byte_fallback = model.value("byte_fallback", false);
  for (const auto& [text, number] : model.at("vocab").items()) {
    const std::size_t t = number.get<std::size_t>();
    if (t >= std::size_t{1} << 24) throw std::runtime_error("tokenizer.json: token number " + std::to_string(t));
    if (t >= data.tokens.size()) {
      data.tokens.resize(t + 1);
      data.kinds.resize(t + 1, token_kind::normal);
    }
    data.tokens[t] = text;
    const bool byte = byte_fallback && text.size() == 6 && text.compare(0, 3, "<0x") == 0 && text[5] == '>';
    data.kinds[t] = byte ? token_kind::byte : token_kind::normal;
    if (model.value("unk_token", json()) == text) data.kinds[t] = token_kind::unknown;
  }
  for (const json& pair : model.at("merges")) {
    if (pair.is_array()) {
      data.merges.emplace_back(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
      continue;
    }
    const std::string text = pair.get<std::string>();    // older files: "left right"
    const std::size_t space = text.find(' ', 1);
    if (space == std::string::npos) unsupported("merge", pair);
    data.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
}

void read_added_tokens(const json& root, tokenizer_data& data) {
  for (const json& added : root.value("added_tokens", json::array())) {
    const std::size_t t = added.at("id").get<std::size_t>();
    if (t >= std::size_t{1} << 24) throw std::runtime_error("tokenizer.json: token number " + std::to_string(t));
    if (t >= data.tokens.size()) {
      data.tokens.resize(t + 1);
      data.kinds.resize(t + 1, token_kind::normal);
    }
    data.tokens[t] = added.at("content").get<std::string>();
    if (data.kinds[t] == token_kind::unknown) continue;
    data.kinds[t] = added.value("special", false) ? token_kind::control : token_kind::user_defined;
  }
}

token number_of(const std::string& text, const tokenizer_data& data) {
  for (std::size_t t = 0; t < data.tokens.size(); ++t)
    if (!text.empty() && data.tokens[t] == text) return static_cast<token>(t);
  return -1;
}

/// Whether the post-processor puts a token before a text; if so, that is the begin-of-text token.
void read_post_processor(const json& root, tokenizer_data& data) {
  for (const json& step : steps_of(root.value("post_processor", json()), "processors")) {
    if (step.at("type") != "TemplateProcessing" || step.at("single").empty()) continue;
    const json& first = step.at("single").at(0);
    if (!first.contains("SpecialToken")) continue;
    data.add_bos = true;
    data.bos = number_of(first.at("SpecialToken").at("id").get<std::string>(), data);
  }
}

/// The spelling of a special token, which is a string or an object with one.
std::string spelling_of(const json& config, const char* key) {
  const json value = config.value(key, json());
  if (value.is_string()) return value.get<std::string>();
  return value.is_object() ? value.value("content", "") : "";
}

void read_config(const std::string& folder, tokenizer_data& data) {
  const std::string path = folder + "/tokenizer_config.json";
  if (!std::filesystem::exists(path)) return;
  const json config = read_json(path);
  if (data.bos < 0) data.bos = number_of(spelling_of(config, "bos_token"), data);
  if (config.contains("add_bos_token") && config.at("add_bos_token").is_boolean() && data.bos >= 0)
    data.add_bos = config.at("add_bos_token").get<bool>();
  const token end = number_of(spelling_of(config, "eos_token"), data);
  if (end >= 0) data.ends.push_back(end);
  const json chat = config.value("chat_template", json());
  data.chat_markup = chat.is_string() && chat.get<std::string>().find("<|im_start|>") != std::string::npos;
}

}    // namespace

tokenizer_data read_tokenizer_json(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  if (!std::filesystem::exists(path))
    throw std::runtime_error(folder + ": the model has no tokenizer (tokenizer.json)");
  const json root = read_json(path);
  try {
    tokenizer_data data;
    const bool byte_level = has_byte_level_decoder(root);
    data.symbols = byte_level ? symbol_kind::byte_level : symbol_kind::sentence;
    read_model(root.at("model"), data);
    read_added_tokens(root, data);
    read_normalizer(root, data);
    read_pre_tokenizer(root, data);
    read_post_processor(root, data);
    read_config(folder, data);
    return data;
  } catch (const json::exception& e) {
    throw std::runtime_error(path + ": " + e.what());
  }
}

}    // namespace llm
