// Set by a signal handler: what takes long saves what it has and ends.
#pragma once

#include <atomic>

namespace revenant {

extern std::atomic<int> stop_signal;

}  // namespace revenant
