// Scales for a run of numbers that become small whole ones: the best of a few dozen tried, each
// followed by the scale that weighted least squares gives for the whole numbers it led to.
#pragma once

#include <cstddef>

namespace revenant {

// n is a multiple of 4.
// x ~ scale q, q in [-levels, levels - 1]. The scale's sign is such that the largest |x| may take
// the one value more that the negative side has.
float fit_symmetric(const float* x, const float* weight, size_t n, int levels);

// x ~ scale q + min, q in [0, most], scale >= 0; `negative`: min is at most 0.
struct ScaleAndMin {
  float scale, min;
};
ScaleAndMin fit_with_min(const float* x, const float* weight, size_t n, int most, bool negative);

}  // namespace revenant
