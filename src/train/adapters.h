// Training low-rank adapters beside frozen matrices (LoRA) instead of the matrices: their
// parameters stand in the model under names of their own, next to what is trained whole.
#pragma once

#include "store/adapter.h"
#include "train/model.h"
#include "train/recipe.h"

namespace revenant {

// What the recipe's `lora` would do, and `trainable` beside it; throws Error where they overlap or
// a pattern matches no matrix.
void check_adapters(const Recipe& recipe, const TensorSpecs& specs);

// Beside every matrix that the recipe's `lora` matches: A small and random, B zero, so that the
// model says what it said before.
void add_adapters(TorchModel& model, const Recipe& recipe);

// What a checkpoint holds, in `dtype`: a whole model, or, where it has adapters, what differs from
// the base (the adapters and what trains whole, with config.json).
void save_trained(const TorchModel& model, const Path& directory, DType dtype);

// The values of both, of files for the same recipe. Throws Error where they do not
// hold exactly what the model trains.
void load_adapters(TorchModel& model, const Path& directory);

// Uniform numbers that say what dropout keeps: 1 / (1 - share) or 0. The same for the same seed.
torch::Tensor dropout_mask(uint64_t seed, at::IntArrayRef shape, double share,
                           const torch::TensorOptions& options);

}  // namespace revenant
