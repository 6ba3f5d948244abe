// The training loop: from a recipe to a trained model, never losing work.
#pragma once

#include <atomic>

#include "train/meter.h"
#include "train/recipe.h"

namespace revenant {

// Set by a signal handler; the loop saves a checkpoint and returns at the next step.
extern std::atomic<int> stop_signal;

// Trains to recipe.max_steps, going on from the last good checkpoint in output_dir, which it locks
// for the time being. The finished model (weights, config, tokenizer) then stands in output_dir.
// Logs to output_dir/train.jsonl, speed.jsonl and tensorboard/. Returns false if stopped by a
// signal.
bool train(const Recipe& recipe, const TrainWatch& watch = {});

}  // namespace revenant
