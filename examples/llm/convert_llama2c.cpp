// convert_llama2c: makes a GGUF file of a llama2.c checkpoint and its tokenizer.
//
// Checkpoint (llama2.c, export.py "legacy"): 7 x int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
// negative if the output layer has weights of its own, seq_len), then float32 tensors, each for all layers:
// embedding, attention norms, wq, wk, wv, wo, feed-forward norms, w1 (gate), w2 (down), w3 (up), final norm, two tables
// of rotary embeddings, which are computed here instead, and the output layer where it is not the embedding.
// Rotary embeddings turn adjacent pairs, as in GGUF's "llama" architecture, so no rows change places.
// Tokenizer (llama2.c, tokenizer.py): int32 (longest token), then per token float32 score, int32 length, bytes.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <qlite/interop/gguf.hpp>
#include <qlite/interop/mapped_file.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace gguf = qlite::gguf;

namespace {

/// Reads a file from front to back; errors name the file and the offset.
class reader {
 public:
  reader(const char* path, qlite::bytes_view bytes) : path_(path), bytes_(bytes) {}
  qlite::bytes_view take(std::size_t size) {
    if (size > bytes_.size() - at_) {
      throw std::runtime_error(std::string(path_) + ": " + std::to_string(size) + " bytes expected at offset " +
                               std::to_string(at_) + ", the file ends at " + std::to_string(bytes_.size()));
    }
    at_ += size;
    return {bytes_.data() + (at_ - size), size};
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  const char* path_;
  qlite::bytes_view bytes_;
  std::size_t at_ = 0;
};

struct header {
  std::size_t dim, hidden, layers, heads, kv_heads, vocabulary, context;
  bool tied;
};

header read_header(reader& in) {
  std::int32_t v[7];
  for (std::int32_t& value : v) value = in.number<std::int32_t>();
  const bool tied = v[5] > 0;
  if (!tied) v[5] = -v[5];
  for (const std::int32_t value : v) {
    if (value <= 0 || value > 1 << 24)
      throw std::runtime_error("not a llama2.c checkpoint: its header holds " + std::to_string(value));
  }
  const auto size = [&](int i) { return static_cast<std::size_t>(v[i]); };
  if (v[0] % v[3] != 0) throw std::runtime_error("not a llama2.c checkpoint: heads do not divide dim");
  return {size(0), size(1), size(2), size(3), size(4), size(5), size(6), tied};
}

void add_metadata(gguf::writer& out, const header& h) {
  const auto add = [&](const char* key, std::size_t value) {
    out.add(std::string("llama.") + key, static_cast<std::uint32_t>(value));
  };
  out.add("general.architecture", "llama");
  out.add("general.name", "llama2.c checkpoint");
  add("block_count", h.layers);
  add("embedding_length", h.dim);
  add("feed_forward_length", h.hidden);
  add("attention.head_count", h.heads);
  add("attention.head_count_kv", h.kv_heads);
  add("context_length", h.context);
  add("rope.dimension_count", h.dim / h.heads);
  out.add("llama.rope.freq_base", 10000.0f);
  out.add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

void add_tensors(gguf::writer& out, const header& h, reader& in) {
  const std::size_t kv_dim = h.dim / h.heads * h.kv_heads;
  const auto add = [&](const std::string& name, std::size_t rows, std::size_t cols) {
    const qlite::bytes_view data = in.take(rows * cols * sizeof(float));
    if (rows == 1)
      out.add_tensor(name, gguf::tensor_type::f32, {cols}, data);
    else
      out.add_tensor(name, gguf::tensor_type::f32, {cols, rows}, data);
  };
  const auto add_layers = [&](const char* stem, std::size_t rows, std::size_t cols) {
    for (std::size_t i = 0; i < h.layers; ++i) add("blk." + std::to_string(i) + "." + stem + ".weight", rows, cols);
  };
  add("token_embd.weight", h.vocabulary, h.dim);
  add_layers("attn_norm", 1, h.dim);
  add_layers("attn_q", h.dim, h.dim);
  add_layers("attn_k", kv_dim, h.dim);
  add_layers("attn_v", kv_dim, h.dim);
  add_layers("attn_output", h.dim, h.dim);
  add_layers("ffn_norm", 1, h.dim);
  add_layers("ffn_gate", h.hidden, h.dim);
  add_layers("ffn_down", h.dim, h.hidden);
  add_layers("ffn_up", h.hidden, h.dim);
  add("output_norm.weight", 1, h.dim);
  in.take(h.context * (h.dim / h.heads) * sizeof(float));    // cosines and sines
  if (!h.tied) add("output.weight", h.vocabulary, h.dim);
  if (!in.at_end()) throw std::runtime_error("not a llama2.c checkpoint: more bytes than its header accounts for");
}

void add_tokenizer(gguf::writer& out, const header& h, reader& in) {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  in.take(sizeof(std::int32_t));
  for (std::size_t i = 0; i < h.vocabulary; ++i) {
    scores.push_back(in.number<float>());
    const auto length = in.number<std::int32_t>();
    if (length < 0) throw std::runtime_error("not a llama2.c tokenizer: a token has a negative length");
    const qlite::bytes_view bytes = in.take(static_cast<std::size_t>(length));
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    // Tokens 0 to 2 are <unk>, <s> and </s>, then come 256 bytes; GGUF's numbers for these kinds are 2, 3 and 6.
    types.push_back(i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    if (i == 1) text = "<s>";
    if (i == 2) text = "</s>";
    for (std::size_t at = 0; (at = text.find(' ', at)) != std::string::npos; at += 3) text.replace(at, 1, "\u2581");
    tokens.push_back(text);
  }
  out.add("tokenizer.ggml.model", "llama");
  out.add_strings("tokenizer.ggml.tokens", tokens);
  out.add_array("tokenizer.ggml.scores", scores.data(), scores.size());
  out.add_array("tokenizer.ggml.token_type", types.data(), types.size());
  out.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  out.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
  out.add("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
}

}    // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: convert_llama2c CHECKPOINT.bin TOKENIZER.bin OUT.gguf\n");
    return 1;
  }
  try {
    const qlite::mapped_file checkpoint(argv[1]);
    const qlite::mapped_file tokenizer(argv[2]);
    reader weights(argv[1], checkpoint.bytes());
    reader vocabulary(argv[2], tokenizer.bytes());
    const header h = read_header(weights);
    gguf::writer out;
    add_metadata(out, h);
    add_tokenizer(out, h, vocabulary);
    add_tensors(out, h, weights);
    out.write(argv[3]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "convert_llama2c: %s\n", e.what());
    return 1;
  }
  return 0;
}
