// Weights before training.
#pragma once

#include <vector>

#include "base/random.h"
#include "model/weights.h"

namespace revenant {

// A fresh stored tensor, row after row: that of `spec` and of all that is fused with it. Language
// side: linears normal(0, 0.02), residual outputs scaled by depth as in GPT-2, Phantom's mixers so
// that the ghosts begin small but not dead.
//
// Tower: variance kept from layer to layer, layer scales 0.1, and for InternViT convolution as the
// starting point (after Zheng et al. 2024, arXiv 2401.12511, where each head starts as a filter of
// one tap): positions are sines of column and row in a head's width of channels that patches leave
// alone, and queries are keys turned by one patch, so that head h begins by looking at neighbour
// h mod 8 of its patch. All of it is trained from there.
std::vector<float> fresh_values(const Config& config, const TensorSpec& spec, Random& random);

}  // namespace revenant
