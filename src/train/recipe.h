// A training run as one YAML file, with Hugging Face Trainer's key names (docs/training.md lists
// them). Unknown keys are errors: a setting that is ignored would be a silent other run.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct RecipeData {
  Path path;            // LLaVA-style JSON
  std::string make;     // set that `data make` builds if the file is absent; empty: must exist
  double weight = 1;    // share of pictures drawn from it, relative to its size
  bool mirror = false;  // every second picture, drawn anew each time: left and right swapped
  double shift = 0;     // moved by up to this share of its sides, drawn anew each time
};

struct Recipe {
  Path output_dir;
  Path model;      // directory of a checkpoint to go on from; empty: fresh weights of `config`
  Path config;     // config.json of a fresh model
  Path tokenizer;  // directory; empty: trained from the data
  int tokenizer_vocab = 1024;
  std::vector<RecipeData> data;
  uint64_t seed = 42;
  int per_device_train_batch_size = 32;  // pictures
  int questions_per_picture = 4;         // at most, drawn anew each time
  double conversation_share = 0;  // of pictures whose questions are turns of one conversation
  int gradient_accumulation_steps = 1;
  int max_steps = 1000;
  double learning_rate = 1e-3, min_learning_rate = 0;
  int warmup_steps = 100;
  std::string lr_scheduler_type = "cosine";  // or warmup_stable_decay
  int decay_steps = 0;                       // of warmup_stable_decay: its last steps
  std::string optim = "adamw_torch";         // or muon, see train/optimizer.h
  double weight_decay = 0.01;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double muon_momentum = 0.95;
  double max_grad_norm = 1;
  bool bf16 = false;  // autocast; weights and optimiser stay float32
  int logging_steps = 10, save_steps = 500, save_total_limit = 2;
  std::string save_dtype = "bfloat16";  // of the finished model
};

// `settings` are "key=value" and replace what the file says. Relative paths are relative to the
// working directory. Throws Error naming file and key.
Recipe read_recipe(const Path& file, const std::vector<std::string>& settings);

// Learning rate of step `step` (from 0): linear warm-up, then a cosine to min_learning_rate, or
// level and over the last decay_steps straight down to it. Level steps do not depend on max_steps.
double learning_rate_at(const Recipe& recipe, int step);

}  // namespace revenant
