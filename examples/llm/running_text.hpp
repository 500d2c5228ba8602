// One running text of a model, whatever computes it.
#pragma once

#include <qlite/core/view.hpp>

#include "sampler.hpp"
#include "tokenizer.hpp"

namespace llm {

class running_text {
 public:
  virtual ~running_text() = default;

  /// Positions that a text may have, of which up to batch() are computed at once.
  virtual std::size_t capacity() const = 0;
  virtual std::size_t batch() const = 0;
  virtual std::size_t position() const = 0;
  /// Begins another text.
  virtual void reset() = 0;

  /// Appends at most batch() tokens and returns their last hidden states [count, width], normalized. Valid until the
  /// next call. Throws std::runtime_error if the tokens do not fit.
  virtual qlite::matrix_view<const float> forward(const token* tokens, std::size_t count) = 0;
  /// logits [m, vocabulary] of hidden states [m, width], m at most batch().
  virtual void logits(qlite::matrix_view<const float> hidden, qlite::matrix_view<float> out) = 0;
  /// Appends any number of tokens (at least one) and returns the logits after the last one, [vocabulary].
  virtual const float* prompt(const token* tokens, std::size_t count) = 0;
  /// The same, and chooses the next token.
  virtual token next(const token* tokens, std::size_t count, sampler& choose) = 0;
};

/// Throw std::runtime_error: a text has no room for `count` more tokens, or there are none.
void check_room(const running_text& text, std::size_t count);
void check_not_empty(std::size_t count);

}    // namespace llm
