// Right or wrong, and how sure that makes us.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace revenant {

// Equal for equal answers: case folded and composed (Unicode), without white space around and
// without one final period. Broken UTF-8 counts as U+FFFD.
std::string normalised(std::string_view answer);

// 95 % score interval of a proportion (Wilson 1927); [0, 1] of no rows.
struct Interval {
  double low = 0, high = 1;
};
Interval wilson(int64_t right, int64_t rows);

}  // namespace revenant
