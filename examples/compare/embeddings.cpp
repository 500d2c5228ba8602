#include "embeddings.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "encoder.hpp"
#include "engine.hpp"
#include "progress.hpp"
#include "quantize_layer.hpp"

namespace ql = qlite;

namespace compare {
namespace {

constexpr std::size_t longest = 128;    // tokens: what MiniLM was trained for
constexpr std::size_t best = 10;

/// Sentences of at least 40 characters, at most `most` of them. They end at ". ", "! ", "? " and at line ends.
std::vector<std::string> sentences_of(const std::string& text, std::size_t most) {
  std::vector<std::string> all;
  std::string sentence;
  for (std::size_t i = 0; i < text.size() && all.size() < most; ++i) {
    const bool line = text[i] == '\n';
    const bool stop = (text[i] == '.' || text[i] == '!' || text[i] == '?') && i + 1 < text.size() && text[i + 1] == ' ';
    if (!line && !(sentence.empty() && text[i] == ' ')) sentence += text[i];
    if (!line && !stop) continue;
    if (sentence.size() >= 40 && std::find(all.begin(), all.end(), sentence) == all.end()) all.push_back(sentence);
    sentence.clear();
  }
  return all;
}

using vectors = std::vector<std::vector<float>>;

/// Scores of all documents for a query: cosines, as the vectors have length 1.
std::vector<float> scores_of(const std::vector<float>& query, const vectors& documents) {
  std::vector<float> scores;
  for (const auto& d : documents) {
    double sum = 0;
    for (std::size_t c = 0; c < d.size(); ++c) sum += static_cast<double>(query[c]) * static_cast<double>(d[c]);
    scores.push_back(static_cast<float>(sum));
  }
  return scores;
}

/// Inputs of each product on the calibration texts, in rows.
struct gathered_inputs {
  std::vector<float> values;
  std::size_t rows = 0;
};

}    // namespace

embedding_study run_embedding_study(const study_options& options) {
  const encoder model(options.common.model);
  llm::executor threads(options.common.threads != 0 ? options.common.threads
                                                    : std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::vector<std::size_t>> texts;
  for (const std::string& sentence : sentences_of(llm::read_text(options.text), 2000))
    texts.push_back(model.tokenizer().encode(sentence, longest));
  if (texts.size() < 4 * best)
    throw std::runtime_error(options.text + ": " + std::to_string(texts.size()) + " sentences, expected at least " +
                             std::to_string(4 * best));

  embedding_study result;
  result.model = options.common.model;
  encoder::weights original(model.layers());
  std::vector<candidate> candidates;
  for (const std::string& name : options.candidates) {
    candidate c = parse_candidate(name);
    if (!c.compensated)
      candidates.push_back(std::move(c));
    else if (options.candidates != study_options().candidates)    // one of the default ones is just left out
      throw std::runtime_error("\"" + name +
                               "\": qep goes through a language model; an encoder takes the other methods");
  }
  std::vector<encoder::weights> quantized(candidates.size(), encoder::weights(model.layers()));
  std::size_t weights = 0;
  llm::weight_format float32;
  for (std::size_t i = 0; i < model.layers(); ++i)
    for (std::size_t p = 0; p < encoder::parts; ++p) {
      const auto what = static_cast<encoder::part>(p);
      const std::size_t rows = model.outputs(what), cols = model.inputs(what);
      weights += rows * cols;
      std::vector<float> w(rows * cols);
      model.read_weights(i, what, {w.data(), rows, cols});
      original[i].emplace_back(
          rows, cols, float32,
          [&](std::size_t first, ql::matrix_view<float> out) {
            for (std::size_t r = 0; r < out.rows(); ++r) std::copy_n(&w[(first + r) * cols], cols, out.row(r));
          },
          threads);
    }

  // A tenth of the documents calibrates, and takes no part in the search.
  std::vector<std::vector<gathered_inputs>> inputs(model.layers(), std::vector<gathered_inputs>(encoder::parts));
  result.calibrated_texts = texts.size() / 10;
  for (std::size_t t = 0; t < result.calibrated_texts; ++t)
    model.embed(texts[t], original, threads,
                [&](std::size_t layer, encoder::part what, ql::matrix_view<const float> x) {
                  gathered_inputs& to = inputs[layer][what];
                  for (std::size_t r = 0; r < x.rows(); ++r)
                    to.values.insert(to.values.end(), x.row(r), x.row(r) + x.cols());
                  to.rows += x.rows();
                });
  texts.erase(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(result.calibrated_texts));

  std::vector<std::size_t> bytes(candidates.size());
  {
    llm::progress_bar bar("quantizing " + std::to_string(candidates.size()) + " candidates");
    for (std::size_t i = 0; i < model.layers(); ++i) {
      for (std::size_t p = 0; p < encoder::parts; ++p) {
        const auto what = static_cast<encoder::part>(p);
        const std::size_t rows = model.outputs(what), cols = model.inputs(what);
        std::vector<float> w(rows * cols);
        model.read_weights(i, what, {w.data(), rows, cols});
        const layer_data data({w.data(), rows, cols}, {inputs[i][p].values.data(), inputs[i][p].rows, cols}, threads);
        for (std::size_t k = 0; k < candidates.size(); ++k) {
          if (candidates[k].quantized()) {
            const quantized_layer layer = quantize_layer(data, candidates[k]);
            quantized[k][i].push_back(layer.linear());
          } else {
            quantized[k][i].emplace_back(
                rows, cols, candidates[k].format,
                [&](std::size_t first, ql::matrix_view<float> out) {
                  for (std::size_t r = 0; r < out.rows(); ++r) std::copy_n(&w[(first + r) * cols], cols, out.row(r));
                },
                threads);
          }
          bytes[k] += quantized[k][i].back().bytes();
        }
        inputs[i][p] = {};
      }
      bar.update(static_cast<double>(i + 1) / static_cast<double>(model.layers()));
    }
    bar.finish(std::to_string(result.calibrated_texts) + " texts");
  }

  vectors reference_queries, reference_documents;
  llm::progress_bar bar("searching");
  for (std::size_t k = 0; k <= candidates.size(); ++k) {
    const encoder::weights& w = k == 0 ? original : quantized[k - 1];
    vectors queries, documents;
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t t = 0; t < texts.size(); ++t) {
      (t % 10 == 0 ? queries : documents).push_back(model.embed(texts[t], w, threads));
      bar.update((static_cast<double>(k) + static_cast<double>(t) / static_cast<double>(texts.size())) /
                 static_cast<double>(candidates.size() + 1));
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (k == 0) {
      reference_queries = queries;
      reference_documents = documents;
    }
    ql::running_mean recall, correlation, cosine;
    for (std::size_t q = 0; q < queries.size(); ++q) {
      const auto expected = scores_of(reference_queries[q], reference_documents);
      const auto found = scores_of(queries[q], documents);
      recall.observe(ql::recall_at_k(expected.data(), found.data(), expected.size(), best));
      correlation.observe(ql::rank_correlation(expected.data(), found.data(), expected.size()));
    }
    for (std::size_t d = 0; d < documents.size(); ++d) {
      const std::size_t width = documents[d].size();
      cosine.observe(ql::metrics_of(ql::matrix_view<const float>{reference_documents[d].data(), 1, width},
                                    ql::matrix_view<const float>{documents[d].data(), 1, width})
                         .cosine());
    }
    embedding_finding f;
    f.name = k == 0 ? "fp32" : candidates[k - 1].name;
    f.bytes = k == 0 ? 4 * weights : bytes[k - 1];
    f.bits = 8.0 * static_cast<double>(f.bytes) / static_cast<double>(weights);
    f.recall = recall.value();
    f.correlation = correlation.value();
    f.cosine = cosine.value();
    f.texts_per_second = static_cast<double>(texts.size()) / seconds;
    result.findings.push_back(f);
    result.queries = queries.size();
    result.documents = documents.size();
  }
  bar.finish(std::to_string(texts.size()) + " texts");
  result.float_bytes = 4 * model.float_parameters();
  return result;
}

std::string table_of(const embedding_study& s) {
  char line[256];
  std::snprintf(line, sizeof line, "%s\n\n%-20s %8s %6s %10s %9s %9s %8s\n", s.model.c_str(), "candidate", "MB", "bits",
                "recall@10", "rank corr", "cosine", "texts/s");
  std::string text = line;
  for (const embedding_finding& f : s.findings) {
    std::snprintf(line, sizeof line, "%-20s %8.2f %6.2f %10.4f %9.5f %9.6f %8.1f\n", f.name.c_str(),
                  static_cast<double>(f.bytes) * 1e-6, f.bits, f.recall, f.correlation, f.cosine, f.texts_per_second);
    text += line;
  }
  std::snprintf(line, sizeof line,
                "\nMB and bits: of the linear layers; %.1f MB of embeddings, norms and biases stay float32.\n",
                static_cast<double>(s.float_bytes) * 1e-6);
  text += line;
  std::snprintf(line, sizeof line,
                "%zu queries in %zu documents, against what fp32 finds; %zu other texts calibrate. Speeds: one run.\n",
                s.queries, s.documents, s.calibrated_texts);
  return text + line;
}

std::string json_of(const embedding_study& s) {
  nlohmann::json findings = nlohmann::json::array();
  for (const embedding_finding& f : s.findings)
    findings.push_back({{"name", f.name},
                        {"bytes", f.bytes},
                        {"bits_per_weight", f.bits},
                        {"recall_at_10", f.recall},
                        {"rank_correlation", f.correlation},
                        {"cosine", f.cosine},
                        {"texts_per_second", f.texts_per_second}});
  return nlohmann::json{{"model", s.model},
                        {"documents", s.documents},
                        {"queries", s.queries},
                        {"calibrated_texts", s.calibrated_texts},
                        {"float_bytes", s.float_bytes},
                        {"candidates", findings}}
             .dump(2) +
         "\n";
}

}    // namespace compare
