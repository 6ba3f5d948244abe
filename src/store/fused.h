// Weights that a checkpoint keeps in one tensor.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/weights.h"

namespace revenant {

using TensorSpecs = std::map<std::string, TensorSpec>;  // by canonical name, each weight once

TensorSpecs unique_tensors(const Config& config);

// A tensor as a checkpoint stores it: the floats of each of its weights, where their rows lie.
std::vector<float> stored_floats(
    const TensorSpecs& specs, const std::string& stored,
    const std::function<std::vector<float>(const TensorSpec&)>& floats_of_weight);

}  // namespace revenant
