// A tensor's shape as people read it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace revenant {

inline std::string shape_text(const std::vector<int64_t>& shape) {  // "[2, 3]"
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

}  // namespace revenant
