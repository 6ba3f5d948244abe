// The training loop: SFT from a recipe, resumable at any step.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "train/recipe.h"

namespace revenant {

// Set by a signal handler; the loop saves a checkpoint and returns at the next step.
extern std::atomic<int> stop_signal;

// Who wants to see a run: lines to be read, and how far it is.
struct TrainWatch {
  std::function<void(const std::string& line)> tell = [](const std::string&) {};
  std::function<void(size_t done, size_t total, const std::string& detail)> progress =
      [](size_t, size_t, const std::string&) {};
};

// Trains to recipe.max_steps, going on from the last good checkpoint in output_dir, which it locks
// for the time being. The finished model (weights, config, tokenizer) then stands in output_dir.
// Logs to output_dir/train.jsonl. Returns false if stopped by a signal.
bool train(const Recipe& recipe, const TrainWatch& watch = {});

}  // namespace revenant
