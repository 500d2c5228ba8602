// Timing. The machines this runs on are shared and noisy: everything is measured in several rounds, in turn, and the
// median is reported.
#pragma once

#include <vector>

#include "executor.hpp"
#include "memory.hpp"
#include "transformer.hpp"

namespace llm {

/// Reads a large block of memory on all threads.
class bandwidth_probe {
 public:
  explicit bandwidth_probe(executor& threads);
  /// Bytes per second of one pass over 256 MiB, on huge pages where there are some.
  double bytes_per_second();

 private:
  executor& threads_;
  array<float> block_;
  float kept_ = 0;    // sums end here, so that they are not optimized away
};

/// Tokens per second of computing `text` as one prompt, from an empty cache.
double prompt_speed(running_text& s, const std::vector<token>& text);

/// Tokens per second of generating `count` tokens one by one after `text`, greedily (ends of text are passed over).
double decode_speed(running_text& s, const std::vector<token>& text, std::size_t count);

/// The same of the products alone that a prompt of `count` tokens needs, in pieces of at most batch(), and of those
/// that each of `count` tokens needs one by one.
double prompt_products_speed(session& s, std::size_t count);
double decode_products_speed(session& s, std::size_t count);

/// The middle of the values (the mean of the two middle ones); 0 if there are none.
double median(std::vector<double> values);

}    // namespace llm
