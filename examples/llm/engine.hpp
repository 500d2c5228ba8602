// The parts of a running program: threads, an open model file, its tokenizer, and models loaded from it.
#pragma once

#include "commands.hpp"
#include "transformer.hpp"

namespace llm {

/// A model in a format on the device of the options, and a text of it.
struct running_model {
  std::shared_ptr<const void> model;    // what `text` refers to
  std::unique_ptr<running_text> text;
  std::size_t weights = 0, bytes = 0;    ///< as of transformer
};

class engine {
 public:
  /// Opens the model and reads its tokenizer; says on stderr what it found.
  explicit engine(const common_options& options);

  executor& threads() { return threads_; }
  const model_file& file() const { return *file_; }
  const model_config& config() const { return file_->config(); }
  const tokenizer& tokens() const { return tokens_; }
  /// Positions of a session: what the options say, at most what the model was trained for.
  std::size_t context() const;

  /// The formats that a precision's name stands for, the output layer included.
  model_format format_of(const std::string& precision) const;
  /// Loads the weights in a format, with a progress bar.
  std::unique_ptr<transformer> load(const model_format& format);
  session start(const transformer& model);
  /// Loads the weights in a format on the device of the options.
  running_model run(const model_format& format);
  /// A line about a format on that device.
  std::string describe(const weight_format& format) const { return llm::describe(format, options_.where); }
  /// What measures how many bytes of the device's memory can be read in a second.
  std::function<double()> bandwidth_probe();
  /// The tokens of a text to continue: with begin of text where the model wants it, as a chat turn if asked.
  std::vector<token> prompt_of(const std::string& text, bool chat) const;
  /// Whether most of the layers' weights have at most `bits` bits in the file already.
  bool stored_in(int bits) const;

 private:
  common_options options_;
  executor threads_;
  std::shared_ptr<const model_file> file_;
  tokenizer tokens_;
};

/// A whole file. Throws std::runtime_error if it cannot be read.
std::string read_text(const std::string& path);

/// The perplexity of a text in a session, with a progress bar.
double perplexity_of(engine& e, running_text& s, const std::string& label, const std::string& text);

}    // namespace llm
