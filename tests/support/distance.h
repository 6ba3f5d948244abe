// How far computed values are from those they should be.
#pragma once

#include <cmath>
#include <vector>

namespace revenant {

// Root mean square of the difference over that of the values `b`.
inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, all = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    all += double(b[i]) * b[i];
  }
  return std::sqrt(error / all);
}

}  // namespace revenant
