// How work that takes long is stopped from outside.
#pragma once

#include <exception>
#include <functional>

namespace revenant {

// Asked again and again while the work goes on, on the thread that asked for it; false stops it,
// which leaves everything as it was before. Empty: nobody stops it.
using GoOn = std::function<bool()>;

// What stopped work throws, to whoever gave the predicate.
struct Stopped : std::exception {
  const char* what() const noexcept override { return "stopped"; }
};

inline void stop_unless(const GoOn& go_on) {
  if (go_on && !go_on()) throw Stopped();
}

}  // namespace revenant
