// From a recipe to all that its run needs, read and checked. After this nobody opens a path of the
// recipe again.
#pragma once

#include "train/batch.h"
#include "train/run_directory.h"

namespace revenant {

using Tell = std::function<void(const std::string&)>;

struct Preparation {
  std::unique_ptr<DirectoryLock> lock;
  TrainingData data, eval_data;
  const PromptRule* rule = nullptr;
  Path tokenizer_directory;
  std::optional<Tokenizer> tokenizer;
  Run run;  // fresh, or from the last good checkpoint
};

// Nothing is written before the recipe, its data, model and tokenizer are found good. Throws Error.
std::unique_ptr<Preparation> prepare(const Recipe& recipe, const Tell& tell);

}  // namespace revenant
