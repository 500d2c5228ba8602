#include "progress.hpp"

#include <unistd.h>

#include <cstdio>
#include <utility>

namespace llm {

progress_bar::progress_bar(std::string label) : label_(std::move(label)), terminal_(isatty(STDERR_FILENO) != 0) {
  if (!terminal_) std::fprintf(stderr, "%s ", label_.c_str());
}

void progress_bar::update(double share, const std::string& note) {
  const int steps = terminal_ ? 32 : 10;
  const int done = static_cast<int>(share * steps);
  if (terminal_) {
    if (done == drawn_ && note.empty()) return;
    std::string bar(static_cast<std::size_t>(done), '#');
    bar.resize(static_cast<std::size_t>(steps), '.');
    std::fprintf(stderr, "\r%s [%s] %3.0f %%  %s\033[K", label_.c_str(), bar.c_str(), 100 * share, note.c_str());
  } else {
    for (int i = drawn_ < 0 ? 0 : drawn_; i < done; ++i) std::fputc('.', stderr);
  }
  drawn_ = done;
  std::fflush(stderr);
}

void progress_bar::finish(const std::string& note) {
  if (terminal_)
    std::fprintf(stderr, "\r%s: %s\033[K\n", label_.c_str(), note.c_str());
  else
    std::fprintf(stderr, " %s\n", note.c_str());
}

}    // namespace llm
