// Pictures that were encoded apart, as one list.
#pragma once

#include <cstring>
#include <span>

#include "engine/model.h"

namespace revenant {

inline Pictures join(std::span<const Pictures> parts) {
  Pictures all;
  int rows = 0, width = 0;
  for (const Pictures& part : parts) {
    all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
    rows += part.features.rows;
    width = std::max(width, part.features.width);
  }
  if (rows == 0) return all;
  all.features = Tensor(rows, 1, width);
  float* to = all.features.data();
  for (const Pictures& part : parts) {
    if (part.features.empty()) continue;
    std::memcpy(to, part.features.data(), part.features.size() * sizeof(float));
    to += part.features.size();
  }
  return all;
}

}  // namespace revenant
