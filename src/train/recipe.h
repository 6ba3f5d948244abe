// A training run as one YAML file, with the key names of Hugging Face's Trainer and of TRL
// (docs/training.md lists them). Unknown keys are errors: a setting that is ignored would be a
// silent other run.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "image/image.h"
#include "store/adapter.h"
#include "train/device_choice.h"
#include "train/objective_config.h"

namespace revenant {

struct RecipeData {
  Path path;            // rows, see data/dataset.h
  std::string make;     // set that `data make` builds if the file is absent; empty: must exist
  double weight = 1;    // share of pictures drawn from it, relative to its size
  bool mirror = false;  // every second picture, drawn anew each time: left and right swapped
  double shift = 0;     // moved by up to this share of its sides, drawn anew each time
  std::map<std::string, std::string> fields = {};  // by our name of a field, the file's
  std::vector<std::string> tasks = {};             // rows of these tasks alone; empty: all
};

// Settings of their own for some of the weights; train/parameters.h says what a pattern may be.
struct ParameterGroup {
  std::vector<std::string> match;
  std::optional<double> learning_rate;  // at its height; follows the run's schedule
  std::optional<double> weight_decay, adam_epsilon;
};

struct Recipe {
  Path output_dir;
  Path model;   // directory of a checkpoint to go on from; empty: fresh weights of `config`
  Path config;  // config.json of a fresh model
  Path tower;   // of a fresh model: directory of a checkpoint whose vision tower it begins with
  std::vector<std::string>
      config_set;  // "key=value" over config.json, the model's or the fresh one
  Path tokenizer;  // directory; empty: trained from the data
  int tokenizer_vocab = 1024;
  std::vector<RecipeData> data, eval_data;
  Exif exif = Exif::ignore;  // the data's pictures as stored, or turned as their EXIF says
  ObjectiveConfig objective;
  Path reference;  // of DPO and IPO: directory of the reference model; empty: what the run began as
  std::vector<std::string> trainable = {"all"};
  std::vector<ParameterGroup> parameter_groups;
  struct Lora {  // adapters, where the rank is positive
    AdapterSettings settings;
    std::vector<std::string> match;  // matrices, by the patterns of `trainable`
    bool on() const { return settings.rank > 0; }
  } lora;
  enum class Quantize { none, int8, nf4, released } quantize = Quantize::none;  // of what is frozen
  enum class Rows { train, infer } rows = Rows::train;  // whether answers traverse (TroL)
  DeviceChoice device = DeviceChoice::automatic;
  uint64_t seed = 42;
  int per_device_train_batch_size = 32;  // pictures
  int questions_per_picture = 4;         // at most, drawn anew each time
  double conversation_share = 0;  // of pictures whose questions are turns of one conversation
  int max_length = 0;             // rows of a sequence, pictures' too; longer ones are left out
  int gradient_accumulation_steps = 1;
  int max_steps = 1000;
  double learning_rate = 1e-3, min_learning_rate = 0;
  int warmup_steps = 100;
  enum class Schedule { cosine, warmup_stable_decay } lr_scheduler_type = Schedule::cosine;
  int decay_steps = 0;  // of warmup_stable_decay: its last steps
  enum class Optim {
    adamw_torch,
    adamw_8bit,
    muon
  } optim = Optim::adamw_torch;  // see train/optimizer.h
  double weight_decay = 0.01;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double muon_momentum = 0.95;
  double max_grad_norm = 1;
  bool packing = false;                 // what sequences begin with in common is computed once
  bool gradient_checkpointing = false;  // layers are computed again for their gradients, not kept
  int tower_cache_mb = 1024;            // for what a frozen tower says of a tile, between epochs
  bool bf16 = false;                    // autocast; weights that train and optimiser stay float32
  enum class NanPolicy { skip, stop } nan_policy = NanPolicy::skip;
  int max_skipped_steps = 10;  // in a row
  int eval_steps = 0;          // 0: no evaluation
  int logging_steps = 10, save_steps = 500, save_total_limit = 2;
  enum class SaveType { bfloat16, float32 } save_dtype = SaveType::bfloat16;  // when finished
  enum class Report { none, tensorboard } report_to = Report::tensorboard;
};

// `settings` are "key=value" and replace what the file says. Relative paths are relative to the
// working directory; ~ is the home directory. Throws Error naming file and key.
Recipe read_recipe(const Path& file, const std::vector<std::string>& settings);

// A key of a recipe and what it is set to, as YAML.
struct RecipeKey {
  std::string value;
  bool may_change;  // while a run goes on: what does not touch weights, or is compared by content
};
std::map<std::string, RecipeKey> recipe_keys(const Recipe& recipe);

// Learning rate of step `step` (from 0): linear warm-up, then a cosine to min_learning_rate, or
// level and over the last decay_steps straight down to it. Level steps do not depend on max_steps.
double learning_rate_at(const Recipe& recipe, int step);

}  // namespace revenant
