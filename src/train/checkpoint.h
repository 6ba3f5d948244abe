// output_dir/checkpoint-STEP/: an ordinary Hugging Face directory plus optimizer.safetensors
// (see Optimizer::state) and trainer_state.json. It is written as
// checkpoint-STEP.tmp and renamed when complete, so every checkpoint-STEP is whole.
#pragma once

#include "train/optimizer.h"

namespace revenant {

struct TrainerState {
  int global_step = 0;
  uint64_t seed = 0;
  int tokenizer_vocab = 0;  // of the tokenizer that the run trained; 0: it has another, or unknown
};

// `tokenizer` is a directory whose tokenizer files go along. Of the checkpoints up to this step
// `keep` stay; later ones, which can only be damaged, are left alone.
void save_checkpoint(const Path& output_dir, const TorchModel& model, const Optimizer& optimizer,
                     const TrainerState& state, const Path& tokenizer, int keep);

// Checkpoints in output_dir, the latest first.
std::vector<Path> checkpoints_in(const Path& output_dir);

TrainerState read_trainer_state(const Path& checkpoint);
// The optimiser's state as saved. Throws Error.
void load_optimizer(const Path& checkpoint, Optimizer& optimizer);

}  // namespace revenant
