// output_dir/checkpoint-STEP/: an ordinary Hugging Face directory plus optimizer.safetensors
// (AdamW's moments under the parameters' names) and trainer_state.json. It is written as
// checkpoint-STEP.tmp and renamed when complete, so every checkpoint-STEP is whole.
#pragma once

#include <torch/optim/adamw.h>

#include "train/model.h"

namespace revenant {

struct TrainerState {
  int global_step = 0;
  uint64_t seed = 0;
};

// `tokenizer` is a directory whose tokenizer files go along.
void save_checkpoint(const Path& output_dir, const TorchModel& model,
                     const torch::optim::AdamW& optimizer, const TrainerState& state,
                     const Path& tokenizer, int keep);

// Checkpoints in output_dir, the latest first.
std::vector<Path> checkpoints_in(const Path& output_dir);

TrainerState read_trainer_state(const Path& checkpoint);
// Fills the moments of an optimiser over the model's parameters. Throws Error.
void load_optimizer(const Path& checkpoint, const TorchModel& model,
                    torch::optim::AdamW& optimizer);

// AdamW over all parameters: decoupled decay on matrices only (`decay_all`: on everything, as the
// golden sequences do).
torch::optim::AdamW make_optimizer(const TorchModel& model, double weight_decay, double beta1,
                                   double beta2, double epsilon, bool decay_all);

// Copies tokenizer.json, tokenizer.model, ... where they exist.
void copy_tokenizer(const Path& from, const Path& to);

}  // namespace revenant
