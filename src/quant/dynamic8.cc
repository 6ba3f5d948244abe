#include "quant/dynamic8.h"

#include <algorithm>
#include <cmath>

#include "quant/nf4.h"

namespace revenant {

const std::array<float, 256>& signed_dynamic_map() { return nf4_scale_code(); }

// For e = 0..6 the midpoints of 2^(e + 1) equal parts of [0.1, 1], times 10^(e - 6); 0 and 1.
const std::array<float, 256>& unsigned_dynamic_map() {
  static const auto map = [] {
    std::array<float, 256> all{};
    size_t n = 0;
    for (int e = 0; e < 7; ++e)
      for (int part = 0, parts = 2 << e; part < parts; ++part)
        all[n++] = float(std::pow(10.0, e - 6) * (0.1 + 0.9 * (part + 0.5) / parts));
    all[n++] = 0;
    all[n++] = 1;
    std::ranges::sort(all);
    return all;
  }();
  return map;
}

}  // namespace revenant
