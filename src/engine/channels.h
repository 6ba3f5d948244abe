// Whether a tower bears weights of 8 bits per channel with inputs of 8 bits per token.
#pragma once

#include "native/network.h"

namespace revenant {

// Below it `quantize` gives the tower's weights a scale each 32 numbers.
constexpr double least_channels_cosine = 0.999;

// The least cosine between a row of the features of the tower as it is stored and of one whose
// products are per channel and per token, of one tile: noise above, slow waves below.
double channels_cosine(const Network& network, Threads& threads);

}  // namespace revenant
