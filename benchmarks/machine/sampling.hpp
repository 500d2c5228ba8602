// What programs that measure share: medians, lists of numbers on the command line, and quiet between two libraries.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace qlite_bench {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// "1,4,16-18" are 1, 4, 16, 17 and 18. Empty if the text is no such list, or has a 0.
inline std::vector<std::size_t> numbers(const std::string& text) {
  std::vector<std::size_t> list;
  for (const char* at = text.c_str();; ++at) {
    char* end;
    const auto first = std::strtoul(at, &end, 10);
    auto last = first;
    if (end != at && *end == '-') {
      at = end + 1;
      last = std::strtoul(at, &end, 10);
    }
    if (end == at || first == 0 || last < first || last > 1000000 || (*end != ',' && *end != '\0')) return {};
    for (auto i = first; i <= last; ++i) list.push_back(i);
    if (*end == '\0') return list;
    at = end;
  }
}

// Waits until no thread of this process runs: thread pools look for more work for a while after a call, and would take
// the cores from the next library. At most a second.
inline void settle() {
  const auto used = [] {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  double before = used();
  for (int i = 0; i < 500; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const double now = used();
    if (now - before < 0.0002) return;
    before = now;
  }
}

}    // namespace qlite_bench
