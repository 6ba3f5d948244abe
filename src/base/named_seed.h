// A seed for each name: what is drawn for one tensor depends on no other.
#pragma once

#include <string_view>

#include "base/random.h"

namespace revenant {

inline uint64_t named_seed(uint64_t seed, std::string_view name) {
  uint64_t key = 0xcbf29ce484222325ull;  // FNV-1a
  for (const char c : name) key = (key ^ uint8_t(c)) * 0x100000001b3ull;
  return Random(key ^ Random(seed).next()).next();
}

}  // namespace revenant
