// A progress bar on stderr: redrawn in place on a terminal, ten dots elsewhere.
#pragma once

#include <string>

namespace llm {

class progress_bar {
 public:
  explicit progress_bar(std::string label);
  /// Share done, 0 to 1, and a note shown behind the bar on a terminal.
  void update(double share, const std::string& note = {});
  /// Replaces the bar with "label: note". Called once, last.
  void finish(const std::string& note);

 private:
  std::string label_;
  bool terminal_;
  int drawn_ = -1;    // steps shown: columns of the bar, or dots
};

}    // namespace llm
