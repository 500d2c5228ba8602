// The comparison for sentence encoders: do searches still find the same documents?
#pragma once

#include <string>
#include <vector>

#include "study.hpp"

namespace compare {

struct embedding_finding {
  std::string name;
  std::size_t bytes = 0;     ///< of the linear layers
  double bits = 0;           ///< a weight of them
  double recall = 0;         ///< at 10, mean over queries: what share of the float model's best ten is found
  double correlation = 0;    ///< Spearman's, of all documents' scores, mean over queries
  double cosine = 0;         ///< between a document's vector and the float model's, mean
  double texts_per_second = 0;
};

struct embedding_study {
  std::string model;
  std::size_t documents = 0, queries = 0, calibrated_texts = 0, float_bytes = 0;
  std::vector<embedding_finding> findings;    ///< fp32 first
};

/// Embeds the sentences of the text: every tenth one is a query, the others are documents, and the first ones
/// calibrate. Throws std::runtime_error or std::invalid_argument with one clear sentence.
embedding_study run_embedding_study(const study_options& options);

std::string table_of(const embedding_study& s);
std::string json_of(const embedding_study& s);

}    // namespace compare
