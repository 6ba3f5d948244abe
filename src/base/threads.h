// A pool of threads for loops over independent items. How a loop is cut into pieces never shows in
// its results: the functions given here split outputs, never a sum.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

namespace revenant {

// Threads that this process may run at once: what the machine has, the process's affinity and the
// quotas of its control groups allow.
int usable_cpus();
// CPUs that a control group's cpu.max ("max 100000", "150000 100000") grants; nothing: no limit.
std::optional<double> cpu_quota(std::string_view text);

class Threads {
 public:
  explicit Threads(int count = 0);  // counts the caller; 0: usable_cpus()
  ~Threads();
  Threads(const Threads&) = delete;

  int count() const { return int(workers_.size()) + 1; }

  // Calls fn(begin, end) on pieces that cover [0, items), none shorter than `grain` but the last,
  // each a share of what is left: long ones first, short ones so that all end together. The caller
  // works too and takes whatever no other thread has begun, so a thread that the system does not
  // run holds nobody up. Callers at the same time take turns, a loop each, first come
  // first served. Calls from inside fn run on their own thread. What fn throws on any thread
  // reaches the caller, the first of several; pieces that nobody has begun by then are left out.
  template <class F>
  void parallel_for(size_t items, size_t grain, const F& fn) {
    if (items == 0) return;
    if (workers_.empty() || items <= grain) return fn(size_t(0), items);
    run({[](const void* f, size_t begin, size_t end) { (*static_cast<const F*>(f))(begin, end); },
         &fn, items, std::max(grain, size_t(1))});
  }

  // While one of these lives, loops follow each other closely: the threads wait for the next one
  // awake. Otherwise they sleep.
  class Awake {
   public:
    explicit Awake(Threads& threads) : threads_(threads) { ++threads_.awake_; }
    ~Awake() { --threads_.awake_; }
    Awake(const Awake&) = delete;

   private:
    Threads& threads_;
  };

 private:
  // A mutex that is handed over in the order of asking.
  class Queue {
   public:
    void lock();
    void unlock();

   private:
    std::atomic<uint32_t> last_{0}, now_{0};
  };
  struct Job {
    void (*call)(const void*, size_t, size_t) = nullptr;
    const void* fn = nullptr;
    size_t items = 0, grain = 1;
  };
  void run(const Job& job);
  void work();
  void take_pieces();
  uint32_t await_change(uint32_t seen) const;

  // state_ = number of the job (16 bits), open (1 bit), workers inside it (15 bits). A worker may
  // touch the job only after it has counted itself in while the job was open.
  static constexpr uint32_t open_bit = 1u << 15, inside_mask = open_bit - 1, stop = ~0u;
  std::atomic<uint32_t> state_{0};
  std::atomic<size_t> next_{0};
  std::atomic<int> awake_{0};
  Job job_;
  Queue callers_;
  std::mutex failing_;
  std::exception_ptr failure_;
  std::vector<std::thread> workers_;
};

}  // namespace revenant
