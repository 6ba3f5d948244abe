// From a recipe to all that its run needs, read and checked. After this nobody opens a path of the
// recipe again.
#pragma once

#include "text/tokenizer_files.h"
#include "train/batch.h"
#include "train/ranks.h"
#include "train/run_directory.h"

namespace revenant {

using Tell = std::function<void(const std::string&)>;

struct Preparation {
  std::unique_ptr<DirectoryLock> lock;  // rank 0's
  TrainingData data, eval_data;
  const PromptRule* rule = nullptr;
  TokenizerTexts tokenizer_texts;  // for what the run writes
  std::optional<Tokenizer> tokenizer;
  Run run;  // fresh, or from the last good checkpoint
  std::optional<Path> checkpoint;
};

// Nothing is written before the recipe, its data, model and tokenizer are found good. Of several
// ranks the first makes what is to be made (a tokenizer, a reference's log-probabilities) and finds
// the checkpoint; the others read what it leaves. `recipe` counts the micro-batches of all ranks.
// Throws Error.
std::unique_ptr<Preparation> prepare(const Recipe& recipe, const Tell& tell,
                                     const Ranks& ranks = no_ranks());

}  // namespace revenant
