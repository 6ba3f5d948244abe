#include "quant/fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace revenant {
namespace {

// The inverse scales tried: so many whole steps over the range, and tenths of a step around.
constexpr int tries = 10;

// Four numbers at once: every machine has registers of 16 bytes.
using Four = float __attribute__((vector_size(16)));
constexpr size_t four = 4;

inline Four load(const float* p) {
  Four v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Four all(float x) { return Four{x, x, x, x}; }
inline double sum(Four v) { return (double(v[0]) + double(v[1])) + (double(v[2]) + double(v[3])); }

// The nearest whole number from low to high, ties to even: beyond 2^23 floats have no fraction, so
// adding 1.5 * 2^23 rounds.
inline Four whole(Four x, Four low, Four high) {
  const Four shift = all(12582912.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  return (x + shift) - shift;
}

// Weighted sums over a run's y = x - offset and the whole numbers that it became. Of a run far from
// zero only so do floats keep what tells one scale from the next.
struct Sums {
  double wq = 0, wqq = 0, wyq = 0;
};
Sums sums_of(const float* x, const float* weight, size_t n, float offset, float inverse, float low,
             float high) {
  Four wq = all(0), wqq = all(0), wyq = all(0);
  for (size_t i = 0; i < n; i += four) {
    const Four y = load(x + i) - all(offset), w = load(weight + i);
    const Four q = whole(y * all(inverse), all(low), all(high)), weighed = w * q;
    wq += weighed, wqq += weighed * q, wyq += weighed * y;
  }
  return {sum(wq), sum(wqq), sum(wyq)};
}

// What does not depend on the whole numbers.
struct Run {
  double w = 0, wy = 0, wyy = 0;
};
Run run_of(const float* x, const float* weight, size_t n, float offset) {
  Four w = all(0), wy = all(0), wyy = all(0);
  for (size_t i = 0; i < n; i += four) {
    const Four y = load(x + i) - all(offset), each = load(weight + i);
    w += each, wy += each * y, wyy += each * y * y;
  }
  return {sum(w), sum(wy), sum(wyy)};
}

// y ~ scale q + shift
struct Line {
  double scale, shift;
};

// sum w (scale q + shift - y)^2
double error_of(const Run& run, const Sums& s, const Line& l) {
  return run.wyy + l.scale * (l.scale * s.wqq + 2 * (l.shift * s.wq - s.wyq)) +
         l.shift * (l.shift * run.w - 2 * run.wy);
}

// Least squares of y over the whole numbers; `most` bounds the shift.
Line solve(const Run& run, const Sums& s, double most) {
  const double det = run.w * s.wqq - s.wq * s.wq;
  if (det <= 0) return {0, 0};
  const Line line = {(run.w * s.wyq - run.wy * s.wq) / det, (s.wqq * run.wy - s.wq * s.wyq) / det};
  return line.shift <= most ? line : Line{(s.wyq - most * s.wq) / s.wqq, most};
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
    const Sums s = sums_of(x, weight, n, 0, inverse, float(-levels), float(levels - 1));
    if (!(s.wqq > 0 && s.wyq * s.wyq > best * s.wqq)) continue;  // nor if they are no numbers
    best = s.wyq * s.wyq / s.wqq, best_scale = float(s.wyq / s.wqq);
  }
  return best_scale;
}

ScaleAndMin fit_with_min(const float* x, const float* weight, size_t n, int most, bool negative) {
  const auto [least, greatest] = std::minmax_element(x, x + n);
  const float low = negative ? std::min(*least, 0.0f) : *least, range = *greatest - low;
  if (range <= 0) return {0, low};
  const Run run = run_of(x, weight, n, low);
  const auto whole_by = [&](float inverse) {
    return sums_of(x, weight, n, low, inverse, 0, float(most));
  };
  Line best = {double(range / float(most)), 0};
  double least_error = error_of(run, whole_by(float(most) / range), best);
  for (int t = -tries; t <= tries; ++t) {
    const Sums s = whole_by((float(most) + 0.1f * float(t)) / range);
    const Line line = solve(run, s, negative ? -double(low) : HUGE_VAL);
    if (line.scale <= 0) continue;
    const double error = error_of(run, s, line);
    if (error < least_error) least_error = error, best = line;
  }
  return {float(best.scale), float(best.shift + double(low))};
}

}  // namespace revenant
