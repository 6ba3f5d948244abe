// output_dir/checkpoint-STEP/: an ordinary Hugging Face directory plus optimizer.safetensors (see
// Optimizer::state), trainer_state.json, and manifest.json with the size and SHA-256 of each of its
// files. It is written as checkpoint-STEP.tmp, every file flushed, the manifest last, and renamed
// when complete: a checkpoint whose files are those of its manifest is whole.
#pragma once

#include "text/tokenizer_files.h"
#include "train/optimizer.h"

namespace revenant {

// What a run is at a step, beside weights and moments.
struct TrainerState {
  int global_step = 0;
  nlohmann::json run;        // what must stay the same while it goes on, by key
  nlohmann::json meter;      // what is logged at the next logging step (train/meter.h)
  int skipped_in_a_row = 0;  // steps whose loss or gradient was no number
  int best_step = 0;         // of the evaluation with the lowest loss; 0: none yet
  double best_loss = 0;
  nlohmann::json eval_data;     // what it was measured on; null: not said
  bool evaluation_due = false;  // after this step; it failed, or a signal came
};

// `moments` is the optimiser's state. Of the checkpoints up to this step `keep` stay, and the best;
// later ones, which can only be damaged, are left alone.
void save_checkpoint(const Path& output_dir, const TorchModel& model, const NamedTensors& moments,
                     const TrainerState& state, const TokenizerTexts& tokenizer, int keep);

// Checkpoints in output_dir, the latest first.
std::vector<Path> checkpoints_in(const Path& output_dir);

// Throws Error, naming the file, where one is missing, of another size or of other content.
void check_manifest(const Path& checkpoint);
TrainerState read_trainer_state(const Path& checkpoint);
// The optimiser's state as saved. Throws Error.
void load_optimizer(const Path& checkpoint, Optimizer& optimizer);

// What a save that was broken off left behind; a checkpoint that was being replaced is put back.
void remove_leftovers(const Path& output_dir);

}  // namespace revenant
