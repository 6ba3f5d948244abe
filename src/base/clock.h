// How long something took, and what time it is.
#pragma once

#include <chrono>
#include <cstdint>

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

inline int64_t unix_seconds() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(since).count();
}

}  // namespace revenant
