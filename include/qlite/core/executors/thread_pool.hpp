// A pool of std::threads for callers that have no threads of their own, made for calls that follow each other closely:
// decoding one token is some hundred parallel_for of ten to a hundred microseconds each.
//
// How a call works
//   * One 64-bit word, the ticket, holds the call's number, its tasks and the next task that nobody has taken.
//   Publishing
//     a call is one store; taking a task is one compare-and-swap. The caller takes tasks too, so a worker that the
//     system runs late costs nothing: its tasks are done by others, and nobody waits for it.
//   * After a call, workers look at the ticket for a while before they sleep ("spin"), because waking a sleeping thread
//     takes tens of microseconds. Now and then they yield, so that other threads get the core.
//   * A call allocates nothing.
//
// Several instruction sets in one program (core/config.hpp): the threads, and all that synchronizes them, run code of
// the translation unit that made the pool; a call from another one reaches it through a pointer, and brings only its
// own tasks. Make the pool in a translation unit that every CPU of the program can run.
#pragma once

#include <qlite/core/bits.hpp>
#include <qlite/core/error.hpp>
#include <qlite/core/executors/first_error.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

QLITE_BEGIN_NAMESPACE
namespace detail {

/// A pool as its callers see it, whichever translation unit made it.
struct pool_handle {
  using task = void (*)(void* context, std::size_t i);
  void (*execute)(pool_handle& pool, task run, void* context, std::size_t tasks);
  void (*close)(pool_handle& pool);
  std::size_t concurrency;
};

}    // namespace detail
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {
pool_handle& open_pool(std::size_t concurrency, std::uint32_t spin_microseconds);

/// What a parallel_for lends to its tasks.
template <class F>
struct pool_call {
  F& f;
  first_error error;
  static void run(void* call, std::size_t i) {
    auto& self = *static_cast<pool_call*>(call);
    self.error.run(self.f, i);
  }
};
}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// An executor with threads of its own, the calling thread being one of them. Not copyable, not movable.
class thread_pool {
 public:
  /// Runs on `concurrency` threads, of which `concurrency - 1` are started here; 0 means as many as the hardware has.
  /// After a call they look for the next one for `spin_microseconds` before they sleep.
  /// Errors: more than 4096 threads, or the system starts no more (without exceptions that ends the program).
  QLITE_INLINE explicit thread_pool(std::size_t concurrency = 0, std::uint32_t spin_microseconds = 200)
      : pool_(&impl::open_pool(concurrency, spin_microseconds)) {}
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  /// No call may be under way. Joins the threads.
  QLITE_INLINE ~thread_pool() { pool_->close(*pool_); }

  QLITE_INLINE std::size_t concurrency() const noexcept { return pool_->concurrency; }

  /// Calls f(0) ... f(tasks - 1), each once, in any order, and returns when all have ended. An exception of a task is
  /// rethrown here, after all others have ended; of several, one.
  ///
  /// Safe from several threads at once, and from within a task: a call that finds the pool taken runs its tasks one
  /// after another on the calling thread.
  template <class F>
  QLITE_INLINE void parallel_for(std::size_t tasks, F&& f) const {
    impl::pool_call<std::remove_reference_t<F>> call{f, {}};
    pool_->execute(*pool_, &impl::pool_call<std::remove_reference_t<F>>::run, &call, tasks);
    call.error.rethrow();
  }

 private:
  detail::pool_handle* pool_;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

QLITE_INLINE void relax_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

/// call number : 32 | tasks taken : 16 | tasks : 16
using pool_ticket = std::uint64_t;
inline constexpr std::size_t most_pool_tasks = 0xffff;    // more go as several calls

/// Cache lines: what a call publishes; what workers answer; what only sleepers touch.
struct alignas(64) pool : pool_handle {
  alignas(64) std::atomic<pool_ticket> ticket{0};
  std::atomic<task> run{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<std::size_t> first{0};    // index of the ticket's task 0
  alignas(64) std::atomic<std::uint32_t> done{0};
  alignas(64) std::atomic<bool> taken{false};    // by a call
  std::atomic<bool> stop{false};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<std::uint32_t> sleepers{0};
  std::uint32_t spin_microseconds = 0;
  std::mutex mutex;
  std::condition_variable work, finished;
  std::size_t workers = 0;    // threads started
  std::thread* threads = nullptr;

  bool has_work(std::memory_order order) const noexcept {
    const pool_ticket t = ticket.load(order);
    return ((t >> 16) & 0xffff) < (t & 0xffff);
  }
};

/// Looks for `ready()` for the pool's time to spin. The clock is asked every microsecond or so, and the core offered to
/// others every 16: with more threads than cores, spinning threads that never yield tripled the time of a call, while
/// offering the core at each look gives it away for whole time slices on a busy machine.
template <class Ready>
bool spin_until(const pool& p, Ready ready) {
  if (ready()) return true;
  if (p.spin_microseconds == 0) return false;
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(p.spin_microseconds);
  for (int look = 1; std::chrono::steady_clock::now() < end; ++look) {
    for (int i = 0; i < 32; ++i) {
      relax_cpu();
      if (ready()) return true;
    }
    if (look % 16 == 0) std::this_thread::yield();
  }
  return ready();
}

/// Takes tasks until none is left.
///
/// `run`, `context` and `first` are read before the compare-and-swap that takes the task. They change only while no
/// task can be taken, and every publication changes the call number: if the swap succeeds, they are the ticket's.
inline void run_tasks(pool& p) {
  pool_ticket t = p.ticket.load(std::memory_order_acquire);
  for (;;) {
    const std::size_t next = (t >> 16) & 0xffff, tasks = t & 0xffff;
    if (next >= tasks) return;
    const pool::task run = p.run.load(std::memory_order_relaxed);
    void* const context = p.context.load(std::memory_order_relaxed);
    const std::size_t first = p.first.load(std::memory_order_relaxed);
    if (!p.ticket.compare_exchange_weak(t, t + 0x10000, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    run(context, first + next);
    // seq_cst: either the caller that goes to sleep sees this task done, or this thread sees the caller asleep.
    const bool last = p.done.fetch_add(1, std::memory_order_seq_cst) + 1 == tasks;
    if (last && p.caller_sleeps.load(std::memory_order_seq_cst)) {
      { const std::lock_guard<std::mutex> lock(p.mutex); }    // the caller is in wait(), or has not looked yet
      p.finished.notify_one();
    }
    t = p.ticket.load(std::memory_order_acquire);
  }
}

/// What a worker does all its life.
struct pool_worker {
  pool* p;
  void operator()() const {
    const auto ready = [this] {
      return p->has_work(std::memory_order_relaxed) || p->stop.load(std::memory_order_relaxed);
    };
    for (;;) {
      if (!spin_until(*p, ready)) {
        std::unique_lock<std::mutex> lock(p->mutex);
        // seq_cst, as in execute_pool: either this thread sees the new ticket, or the caller sees the sleeper.
        p->sleepers.fetch_add(1, std::memory_order_seq_cst);
        while (!p->has_work(std::memory_order_seq_cst) && !p->stop.load(std::memory_order_relaxed)) p->work.wait(lock);
        p->sleepers.fetch_sub(1, std::memory_order_relaxed);
      }
      if (p->stop.load(std::memory_order_relaxed)) return;
      run_tasks(*p);
    }
  }
};

/// One call of at most most_pool_tasks tasks, by the thread that has taken the pool.
inline void execute_published(pool& p, pool::task run, void* context, std::size_t first, std::size_t tasks) {
  p.done.store(0, std::memory_order_relaxed);
  p.run.store(run, std::memory_order_relaxed);
  p.context.store(context, std::memory_order_relaxed);
  p.first.store(first, std::memory_order_relaxed);
  const pool_ticket number = (p.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  p.ticket.store(number << 32 | tasks, std::memory_order_seq_cst);
  const std::size_t sleepers = p.sleepers.load(std::memory_order_seq_cst);
  if (sleepers != 0) {
    { const std::lock_guard<std::mutex> lock(p.mutex); }
    if (sleepers < tasks)
      p.work.notify_all();
    else
      for (std::size_t i = 1; i < tasks; ++i) p.work.notify_one();
  }
  run_tasks(p);
  const auto all_done = [&] { return p.done.load(std::memory_order_acquire) == tasks; };
  if (spin_until(p, all_done)) return;
  std::unique_lock<std::mutex> lock(p.mutex);
  p.caller_sleeps.store(true, std::memory_order_seq_cst);
  while (p.done.load(std::memory_order_seq_cst) != tasks) p.finished.wait(lock);
  p.caller_sleeps.store(false, std::memory_order_relaxed);
}

inline void execute_pool(pool_handle& handle, pool_handle::task run, void* context, std::size_t tasks) {
  pool& p = static_cast<pool&>(handle);
  if (tasks <= 1 || p.workers == 0 || p.taken.exchange(true, std::memory_order_acquire)) {
    for (std::size_t i = 0; i < tasks; ++i) run(context, i);
    return;
  }
  for (std::size_t first = 0; first < tasks; first += most_pool_tasks)
    execute_published(p, run, context, first, min_of(tasks - first, most_pool_tasks));
  p.taken.store(false, std::memory_order_release);
}

inline void close_pool(pool_handle& handle) {
  pool* const p = &static_cast<pool&>(handle);
  {
    const std::lock_guard<std::mutex> lock(p->mutex);
    p->stop.store(true, std::memory_order_relaxed);
  }
  p->work.notify_all();
  for (std::size_t i = 0; i < p->workers; ++i) p->threads[i].join();
  delete[] p->threads;
  delete p;
}

inline pool_handle& open_pool(std::size_t concurrency, std::uint32_t spin_microseconds) {
  constexpr std::size_t most = 4096;
  if (concurrency > most) fail("qlite: thread_pool concurrency is %zu, expected at most %zu", concurrency, most);
  if (concurrency == 0) concurrency = max_of<std::size_t>(std::thread::hardware_concurrency(), 1);
  pool* const p = new pool;
  p->execute = execute_pool;
  p->close = close_pool;
  p->concurrency = concurrency;
  p->spin_microseconds = spin_microseconds;
  p->threads = new std::thread[concurrency - 1];
#if defined(QLITE_NO_EXCEPTIONS)
  for (; p->workers + 1 < concurrency; ++p->workers) p->threads[p->workers] = std::thread(pool_worker{p});
#else
  try {
    for (; p->workers + 1 < concurrency; ++p->workers) p->threads[p->workers] = std::thread(pool_worker{p});
  } catch (const std::system_error& e) {
    const std::size_t started = p->workers;
    close_pool(*p);
    fail("qlite: thread_pool started %zu threads, expected %zu: %s", started, concurrency - 1, e.what());
  }
#endif
  return *p;
}

}    // namespace impl
QLITE_END_FUNCTIONS
