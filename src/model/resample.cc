#include "model/resample.h"

#include <algorithm>
#include <cmath>

namespace revenant {
namespace {

// Weights of the taps at distance t + 1, t, 1 - t, 2 - t (Keys 1981, A = -0.75).
double keys(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

// One axis, [to, from]; taps outside fall on the edge.
std::vector<double> axis_matrix(int from, int to) {
  std::vector<double> m(size_t(to) * from, 0.0);
  for (int i = 0; i < to; ++i) {
    const double source = (i + 0.5) * from / to - 0.5;
    const int base = int(std::floor(source));
    for (int tap = base - 1; tap <= base + 2; ++tap)
      m[size_t(i) * from + std::clamp(tap, 0, from - 1)] += keys(source - tap);
  }
  return m;
}

}  // namespace

std::vector<float> position_matrix(int from, int to) {
  const std::vector<double> axis = axis_matrix(from, to);
  const size_t columns = 1 + size_t(from) * from;
  std::vector<float> m((1 + size_t(to) * to) * columns, 0.0f);
  m[0] = 1;
  for (int y = 0; y < to; ++y)
    for (int x = 0; x < to; ++x)
      for (int v = 0; v < from; ++v)
        for (int u = 0; u < from; ++u)
          m[(1 + size_t(y) * to + x) * columns + 1 + size_t(v) * from + u] =
              float(axis[size_t(y) * from + v] * axis[size_t(x) * from + u]);
  return m;
}

}  // namespace revenant
