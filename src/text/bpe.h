// Byte-pair merging of one word, in n log n.
#pragma once

#include <cstdint>
#include <vector>

#include "text/vocabulary.h"

namespace revenant {

// Joins neighbours, lowest rank first and leftmost among equals, until nothing joins.
std::vector<int32_t> merge_pairs(const Vocabulary& v, std::vector<int32_t> symbols);

}  // namespace revenant
