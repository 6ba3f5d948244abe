// Weights of a checkpoint: matrices stay where they are mapped, or are quantised once; vectors and
// position tables are converted to f32 once.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "native/packed.h"

namespace revenant {

// A checkpoint's tensors and where each comes from, for messages. `extra` are tensors of other
// files (TroL's gate); the views must outlive the weights.
struct WeightSource {
  const Checkpoint* checkpoint = nullptr;
  Tensors extra;
  Path extra_file;
};

// Checks every tensor against the table; throws Error naming file, tensor, expected and found if
// one is missing, of another shape or type, or used by nothing.
// `wanted` bf16: bf16 matrices meet inputs rounded to brain floats. `wanted` quantised: the
// language model's matrices take it and the tower's, the projector's and the embedding (and so a
// tied output) Q8_0, each where its rows are whole blocks (format_for); mixers, gates, low-rank
// branches and what falls back to 16 bits stay as they are.
Weights<Weight> load_weights(const Config& config, const WeightSource& source,
                             std::optional<Format> wanted = {});

}  // namespace revenant
