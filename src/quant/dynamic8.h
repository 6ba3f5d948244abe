// The dynamic maps of 8 bits (Dettmers et al. 2022, arXiv 2110.02861; bitsandbytes'
// create_dynamic_map): 256 values from -1 or 0 to 1, closer to each other the nearer they are to 0.
#pragma once

#include <array>

namespace revenant {

const std::array<float, 256>& signed_dynamic_map();
const std::array<float, 256>& unsigned_dynamic_map();

}  // namespace revenant
