#include "base/threads.h"

#include <system_error>
#include <utility>

namespace revenant {
namespace {

thread_local bool inside_job = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Threads::Threads(int count) {
  if (count <= 0) count = int(std::max(1u, std::thread::hardware_concurrency()));
  count = std::min(count, 1024);
  try {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // As many as the system gives; the results are the same.
  }
}

Threads::~Threads() {
  state_.store(stop);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// A few microseconds awake, then asleep until the state changes.
uint32_t Threads::await_change(uint32_t seen) const {
  for (int i = 0; i < 400; ++i) {
    if (const uint32_t now = state_.load(std::memory_order_acquire); now != seen) return now;
    pause();
  }
  state_.wait(seen, std::memory_order_acquire);
  return state_.load(std::memory_order_acquire);
}

void Threads::take_pieces() {
  for (;;) {
    const size_t begin = next_.fetch_add(job_.piece, std::memory_order_relaxed);
    if (begin >= job_.items) return;
    try {
      job_.call(job_.fn, begin, std::min(begin + job_.piece, job_.items));
    } catch (...) {
      const std::lock_guard lock(failing_);
      if (!failure_) failure_ = std::current_exception();
      next_.store(job_.items, std::memory_order_relaxed);
    }
  }
}

void Threads::work() {
  inside_job = true;
  uint32_t last = 0;  // number of the job this thread has done its part of
  for (uint32_t state = state_.load(); state != stop;) {
    const uint32_t number = state & ~(open_bit | inside_mask);
    if (!(state & open_bit) || number == last) {
      state = await_change(state);
      continue;
    }
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) continue;
    take_pieces();
    last = number;
    state = state_.fetch_sub(1, std::memory_order_release) - 1;
    if (!(state & (open_bit | inside_mask))) state_.notify_all();
  }
}

void Threads::run(const Job& job) {
  if (inside_job) return job.call(job.fn, 0, job.items);
  std::unique_lock lock(caller_, std::try_to_lock);
  if (!lock.owns_lock()) return job.call(job.fn, 0, job.items);
  job_ = job;
  next_.store(0, std::memory_order_relaxed);
  const uint32_t number = (state_.load() + 2 * open_bit) & ~(open_bit | inside_mask);
  const uint32_t first = number == (stop & ~(open_bit | inside_mask)) ? 0 : number;
  state_.store(first | open_bit, std::memory_order_release);
  state_.notify_all();
  inside_job = true;
  take_pieces();
  inside_job = false;
  uint32_t state = state_.fetch_and(~open_bit, std::memory_order_acq_rel) & ~open_bit;
  while (state & inside_mask) state = await_change(state);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace revenant
