// What programs that measure share: medians, lists of numbers on the command line, and for libraries that bring threads
// of their own, quiet between one and the next, and a core for each thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "machine/peaks.hpp"

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

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
  double before = process_seconds();
  for (int i = 0; i < 500; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const double now = process_seconds();
    if (now - before < 0.0002) return;
    before = now;
  }
}

// What others take from the cores while something is measured: other processes, and the host. Of the time of one core.
class disturbance {
 public:
  disturbance() : busy_(busy()), own_(process_seconds()), start_(wall_seconds()) {}
  // Since it was made; 0 where the system does not tell.
  double share() const {
    const double now = busy();
    if (now == 0) return 0;
    return (now - busy_ - (process_seconds() - own_)) / (wall_seconds() - start_);
  }

 private:
  // Seconds that all cores together were not idle, or were taken by the host.
  static double busy() {
#if defined(__linux__)
    std::ifstream file("/proc/stat");
    std::string name;
    double user, nice, system, idle, wait, interrupts, soft, stolen;
    if (file >> name >> user >> nice >> system >> idle >> wait >> interrupts >> soft >> stolen)
      return (user + nice + system + interrupts + soft + stolen) / static_cast<double>(sysconf(_SC_CLK_TCK));
#endif
    return 0;
  }
  double busy_, own_, start_;
};

// Calls round(i) for i = 0 (to warm up), 1, ..., rounds; one that was disturbed by more than 5 % of a core is called
// again, but no more calls than twice as many. round() returns a function that keeps what it measured.
template <class F>
std::size_t undisturbed_rounds(std::size_t rounds, F&& round) {
  std::size_t repeated = 0;
  for (std::size_t i = 0; i <= rounds; ++i) {
    for (;;) {
      const disturbance others;
      const auto keep = round(i);
      if (i == 0 || others.share() < 0.05 || repeated >= rounds) {
        keep();
        break;
      }
      ++repeated;
    }
  }
  return repeated;
}

#if defined(__linux__)
// The threads of this process but its first.
inline std::set<int> workers_of_process() {
  std::set<int> threads;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
    threads.insert(std::atoi(entry.path().filename().c_str()));
  threads.erase(getpid());
  return threads;
}

namespace impl {

inline std::set<int> threads_with_a_core;

inline void bind_thread(int thread, std::size_t core) {
  static const std::vector<std::size_t> cores = [] {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::vector<std::size_t> list;
    for (std::size_t i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &allowed)) list.push_back(i);
    return list;
  }();
  if (cores.empty()) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cores[core % cores.size()], &one);
  sched_setaffinity(thread, sizeof one, &one);
  threads_with_a_core.insert(thread);
}

}    // namespace impl

// Gives each thread of this process a core of its own: the calling one the first, threads that have none the next ones.
// Called after a library has started its `threads - 1` workers. Some systems wake a worker on the core of the thread
// that woke it and leave both there, which makes two threads as slow as one.
inline void spread_threads(std::size_t threads) {
  impl::bind_thread(0, 0);
  std::size_t next = 1;
  for (const int thread : workers_of_process()) {
    if (impl::threads_with_a_core.count(thread) != 0) continue;
    impl::bind_thread(thread, next);
    next = next + 1 < threads ? next + 1 : 1;
  }
}

// The same for `workers` of a library that works on `threads` of them while the calling thread waits.
inline void spread_workers(const std::set<int>& workers, std::size_t threads) {
  std::size_t next = 0;
  for (const int thread : workers) impl::bind_thread(thread, next++ % threads);
}
#else
inline std::set<int> workers_of_process() { return {}; }
inline void spread_threads(std::size_t) {}
inline void spread_workers(const std::set<int>&, std::size_t) {}
#endif

}    // namespace qlite_bench
