#include "running_text.hpp"

#include <stdexcept>
#include <string>

namespace llm {

void check_room(const running_text& text, std::size_t count) {
  if (count > text.batch() || count > text.capacity() - text.position()) {
    throw std::runtime_error("the text is longer than the " + std::to_string(text.capacity()) +
                             " positions of this session (--context)");
  }
}

void check_not_empty(std::size_t count) {
  if (count == 0) throw std::runtime_error("a text without tokens has no next one");
}

}    // namespace llm
