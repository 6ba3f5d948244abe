// From rows of questions to batches: questions about one picture share one pass of the tower, some
// pictures' questions one conversation; the
// order of data is a function of (seed, step) alone, so that a resumed run sees what it would have.
#pragma once

#include <vector>

#include "data/dataset.h"
#include "image/tiles.h"
#include "text/prompt.h"
#include "train/model.h"
#include "train/recipe.h"

namespace revenant {

struct TrainingSet {
  std::vector<Row> rows;
  std::vector<RowGroup> groups;  // share their pictures
  RecipeData recipe;             // weight, mirror, shift
};

struct TrainingData {
  std::vector<TrainingSet> sets;
  size_t pictures_an_epoch() const;
};

TrainingData read_training_data(const Recipe& recipe);

// Which groups step `step` uses: per_device_train_batch_size * gradient_accumulation_steps of them.
struct Pick {
  const TrainingSet* set;
  RowGroup group;
  uint64_t seed;  // for what is drawn within the group
};
std::vector<Pick> picks_of_step(const TrainingData& data, const Recipe& recipe, int step);

struct BatchMaker {
  const Config& config;
  const Tokenizer& tokenizer;
  const PromptRule& rule;
  TileRule tile_rule;
  int questions_per_picture;
  double conversation_share;

  TorchBatch make(std::span<const Pick> picks) const;
};

// Fills the batch up with sequences that no label asks about, to one of few numbers of rows and
// sequences: torch compiles a product anew for every shape it meets, and an allocator that is asked
// for ever new sizes keeps ever more memory.
void round_up(TorchBatch& batch);

TileRule tile_rule_of(const Config& config);

}  // namespace revenant
