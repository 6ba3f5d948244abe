// The training loop: from a recipe to a trained model, never losing work.
#pragma once

#include "train/meter.h"
#include "train/ranks.h"
#include "train/recipe.h"
#include "train/stop_signal.h"

namespace revenant {

// Trains to recipe.max_steps, going on from the last good checkpoint in output_dir, which it locks
// for the time being. The finished model (weights, config, tokenizer) then stands in output_dir.
// Logs to output_dir/train.jsonl, speed.jsonl and tensorboard/. Returns false if stopped by a
// signal, which all ranks heed after the same step.
//
// Of several ranks each takes gradient_accumulation_steps micro-batches of a step: the run is that
// of one process with as many times more. Rank 0 alone tells and writes.
bool train(const Recipe& recipe, const TrainWatch& watch = {}, const Ranks& ranks = no_ranks());

}  // namespace revenant
