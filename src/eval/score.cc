#include "eval/score.h"

#include <algorithm>
#include <cmath>

namespace revenant {

Interval wilson(int64_t right, int64_t rows) {
  if (rows == 0) return {};
  constexpr double z = 1.959963984540054;  // 97.5 % quantile of the normal distribution
  const double n = double(rows), p = double(right) / n;
  const double centre = p + z * z / (2 * n), scale = 1 + z * z / n;
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {right == 0 ? 0 : std::max(0.0, (centre - half) / scale),
          right == rows ? 1 : std::min(1.0, (centre + half) / scale)};
}

}  // namespace revenant
