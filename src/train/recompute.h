// Values that are computed again when their gradients are wanted, instead of being kept until then
// (activation checkpointing).
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

namespace revenant {

// Computes outputs of inputs; `again`: for the gradients, a second time. Both times it must give
// the same, and what it refers to must live until then.
using Computation =
    std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>& inputs, bool again)>;

// What `computation` gives. Gradients reach the inputs and all weights that it uses; of what lies
// between them nothing is kept.
std::vector<torch::Tensor> recomputed(const Computation& computation,
                                      const std::vector<torch::Tensor>& inputs);

}  // namespace revenant
