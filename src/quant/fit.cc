#include "quant/fit.h"

#include <algorithm>
#include <cmath>

namespace revenant {
namespace {

// The inverse scales tried: so many whole steps over the range, and tenths of a step around.
constexpr int tries = 10;

float whole(float x, float low, float high) { return std::clamp(std::nearbyint(x), low, high); }

double error_of(const float* x, const float* weight, size_t n, float most, ScaleAndMin s) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const float q = whole((x[i] - s.min) / s.scale, 0, most), e = s.scale * q + s.min - x[i];
    sum += double(weight[i]) * double(e) * double(e);
  }
  return sum;
}

// Least squares of x over the whole numbers that the inverse scale leads to.
ScaleAndMin solve(const float* x, const float* weight, size_t n, float most, float low,
                  float inverse, bool negative) {
  double w = 0, wq = 0, wqq = 0, wx = 0, wxq = 0;
  for (size_t i = 0; i < n; ++i) {
    const double q = double(whole((x[i] - low) * inverse, 0, most)), v = double(weight[i]);
    w += v, wq += v * q, wqq += v * q * q, wx += v * double(x[i]), wxq += v * double(x[i]) * q;
  }
  const double det = w * wqq - wq * wq;
  if (det <= 0) return {0, low};
  const ScaleAndMin both = {float((w * wxq - wx * wq) / det), float((wqq * wx - wq * wxq) / det)};
  if (!negative || both.min <= 0) return both;
  return {float(wxq / wqq), 0};
}

}  // namespace

float fit_symmetric(const float* x, const float* weight, size_t n, int levels) {
  float top = 0;
  for (size_t i = 0; i < n; ++i)
    if (std::fabs(x[i]) > std::fabs(top)) top = x[i];
  if (top == 0) return 0;
  float best_scale = 0;
  double best = -1;  // of what is explained: (sum w x q)^2 / sum w q^2
  for (int t = -tries; t <= tries; ++t) {
    const float inverse = -(float(levels) + 0.1f * float(t)) / top;
    double wqq = 0, wxq = 0;
    for (size_t i = 0; i < n; ++i) {
      const double q = double(whole(x[i] * inverse, float(-levels), float(levels - 1)));
      wqq += double(weight[i]) * q * q, wxq += double(weight[i]) * double(x[i]) * q;
    }
    if (wqq <= 0 || wxq * wxq <= best * wqq) continue;
    best = wxq * wxq / wqq, best_scale = float(wxq / wqq);
  }
  return best_scale;
}

ScaleAndMin fit_with_min(const float* x, const float* weight, size_t n, int most, bool negative) {
  const auto [least, greatest] = std::minmax_element(x, x + n);
  const float low = negative ? std::min(*least, 0.0f) : *least, range = *greatest - low;
  if (range <= 0) return {0, low};
  ScaleAndMin best = {range / float(most), low};
  double least_error = error_of(x, weight, n, float(most), best);
  for (int t = -tries; t <= tries; ++t) {
    const float inverse = (float(most) + 0.1f * float(t)) / range;
    const ScaleAndMin s = solve(x, weight, n, float(most), low, inverse, negative);
    if (s.scale <= 0) continue;
    const double error = error_of(x, weight, n, float(most), s);
    if (error < least_error) least_error = error, best = s;
  }
  return best;
}

}  // namespace revenant
