// How long something took.
#pragma once

#include <chrono>

namespace revenant {

class Stopwatch {
 public:
  double seconds() const {  // since it was made
    return std::chrono::duration<double>(Clock::now() - begin_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace revenant
