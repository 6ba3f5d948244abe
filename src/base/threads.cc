#include "base/threads.h"

#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
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

// The text of a small file; empty: there is none.
std::string text_of(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The group of this process in the one hierarchy of version 2, "/a/b".
std::string own_group() {
  const std::string text = text_of("/proc/self/cgroup");
  const size_t at = text.find("0::/");
  return at == text.npos ? "" : text.substr(at + 3, text.find('\n', at) - at - 3);
}

}  // namespace

std::optional<double> cpu_quota(std::string_view text) {
  double quota = 0, period = 0;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, quota);
  if (first.ec != std::errc() || first.ptr == end) return {};
  const auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || quota <= 0 || period <= 0) return {};
  return quota / period;
}

// A group's limit holds for all groups within it.
int usable_cpus() {
  double cpus = std::max(1u, std::thread::hardware_concurrency());  // knows the affinity
  for (std::string group = own_group();; group.resize(group.rfind('/'))) {
    if (group == "/") group.clear();
    if (const auto quota = cpu_quota(text_of("/sys/fs/cgroup" + group + "/cpu.max")))
      cpus = std::min(cpus, *quota);
    if (group.empty()) return std::max(1, int(std::ceil(cpus)));
  }
}

void Threads::Queue::lock() {
  const uint32_t mine = last_.fetch_add(1);
  for (uint32_t now; (now = now_.load(std::memory_order_acquire)) != mine;)
    now_.wait(now, std::memory_order_acquire);
}

void Threads::Queue::unlock() {
  now_.fetch_add(1, std::memory_order_release);
  now_.notify_all();
}

Threads::Threads(int count) {
  if (count <= 0) count = usable_cpus();
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

// A few microseconds awake, longer where the next loop is near (others may have the processor
// then), then asleep until the state changes.
uint32_t Threads::await_change(uint32_t seen) const {
  for (int i = 0; i < 400 || awake_.load(std::memory_order_relaxed) > 0; ++i) {
    if (const uint32_t now = state_.load(std::memory_order_acquire); now != seen) return now;
    i % 1024 == 1023 ? std::this_thread::yield() : pause();
  }
  state_.wait(seen, std::memory_order_acquire);
  return state_.load(std::memory_order_acquire);
}

void Threads::take_pieces() {
  for (;;) {
    size_t begin = next_.load(std::memory_order_relaxed), end = 0;
    do {
      if (begin >= job_.items) return;
      const size_t left = job_.items - begin, share = left / (4 * size_t(count()));
      end = begin + std::min(left, std::max(job_.grain, share));
    } while (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed));
    try {
      job_.call(job_.fn, begin, end);
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
  const std::lock_guard lock(callers_);
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
