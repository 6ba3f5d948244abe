// How sure right and wrong answers make us.
#pragma once

#include <cstdint>

namespace revenant {

// 95 % score interval of a proportion (Wilson 1927); [0, 1] of no rows.
struct Interval {
  double low = 0, high = 1;
};
Interval wilson(int64_t right, int64_t rows);

}  // namespace revenant
