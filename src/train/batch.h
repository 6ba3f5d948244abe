// From rows of questions to batches: questions about one picture share one pass of the tower, some
// pictures' questions one conversation; the order of data is a function of (seed, step) alone, so
// that a resumed run sees what it would have.
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
  std::vector<RowGroup> groups;    // share their pictures
  RecipeData recipe;               // weight, mirror, shift
  std::string sha256 = {};         // of its file
  ReferenceScores reference = {};  // of every row, where the objective wants it
};

struct TrainingData {
  std::vector<TrainingSet> sets;
  size_t pictures_an_epoch() const;
};

// Throws Error where a set has no row, or none that the objective can be made of.
TrainingData read_training_data(const std::vector<RecipeData>& entries, bool pairs);

// Which groups step `step` uses: per_device_train_batch_size * gradient_accumulation_steps of them.
struct Pick {
  const TrainingSet* set;
  RowGroup group;
  uint64_t seed;  // for what is drawn within the group
};
std::vector<Pick> picks_of_step(const TrainingData& data, const Recipe& recipe, int step);

// How rows become sequences.
struct BatchOptions {
  int questions_per_picture = 1;
  double conversation_share = 0;
  bool pairs = false;           // every question twice, with its answer and with the rejected one
  bool count_end_token = true;  // whether what ends an answer is a target
  bool as_inferred = false;     // each turn by itself, its answer as if generated (TroL: one pass)
  bool packing = false;         // what sequences begin with in common is computed once (pack.h)
  int max_length = 0;           // longer sequences are left out; 0: none is
  Exif exif = Exif::ignore;
};
BatchOptions batch_options(const Recipe& recipe);
// Every question once, each answer as if generated.
BatchOptions evaluation_options(const Recipe& recipe);

struct BatchMaker {
  const Config& config;
  const Tokenizer& tokenizer;
  const PromptRule& rule;
  TileRule tile_rule;
  BatchOptions options;

  // What cannot be used is left out and named in the batch.
  TorchBatch make(std::span<const Pick> picks) const;

 private:
  void add_group(TorchBatch& batch, const Pick& pick, std::vector<float>& pixels) const;
  void add_slots(TorchBatch& batch, size_t first_span, int64_t first_tile) const;
  void add_pair(TorchBatch& batch, const Pick& pick, size_t row, std::span<const int> tokens) const;
  bool add_sequence(TorchBatch& batch, std::span<const Turn> turns, bool last_only,
                    std::span<const int> tokens) const;
};

// Every group of the data once, in order, `size` pictures a batch: for evaluation.
std::vector<std::vector<Pick>> picks_in_order(const TrainingData& data, int size);

// Fills the batch up with sequences that no label asks about, to one of few numbers of rows and
// sequences: torch compiles a product anew for every shape it meets, and an allocator that is asked
// for ever new sizes keeps ever more memory.
void round_up(TorchBatch& batch);

}  // namespace revenant
