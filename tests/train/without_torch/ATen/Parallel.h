// The two functions of ATen that side_by_side.h calls, so that ThreadSanitizer can watch it in a
// build without libtorch.
#pragma once

#include <atomic>

namespace at {

inline std::atomic<int> number_of_threads = 4;
inline int get_num_threads() { return number_of_threads; }
inline void set_num_threads(int count) { number_of_threads = count; }

}  // namespace at
