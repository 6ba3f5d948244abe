// Parts of a step on one core each, which is faster than one after the other on all cores where the
// matrices are small (docs/training.md).
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/threads.h"

namespace revenant {

// With one part there is nothing to lay side by side: it has all threads.
class SideBySide {
 public:
  explicit SideBySide(int parts) : all_(at::get_num_threads()), pool_(std::min(parts, all_)) {
    if (parts > 1) at::set_num_threads(1);  // for the threads of the pool too
  }
  ~SideBySide() { at::set_num_threads(all_); }
  SideBySide(const SideBySide&) = delete;

  // fn(i) for all i; an error is thrown once all that began have ended.
  template <class F>
  void run(size_t count, const F& fn) {
    pool_.parallel_for(count, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) fn(i);
    });
  }

 private:
  int all_;
  Threads pool_;
};

}  // namespace revenant
