// A model's answers to the rows of a data set.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/generate.h"
#include "engine/grounding.h"

namespace revenant {

// What the model is shown: the row's pictures, grey ones of the same size, or those of other rows
// of the same source.
enum class Shown { own, blank, shuffled };
const char* name_of(Shown shown);

// The answer to one row, or why there is none: one row's trouble never ends the others'.
struct Prediction {
  std::string text;
  bool stopped = false;      // by a stop token, not by the limit
  int tokens = 0;            // of prompt and answer
  std::string failure = {};  // what was wrong with the row; empty: it has been answered
  std::optional<Grounding> grounding = {};  // where it was wanted
};

struct PredictOptions {
  int max_new_tokens = 16;
  int beams = 1;  // above 1: beam search
  // Pictures that are encoded before their questions are answered together; how many answers are on
  // their way at once is also what the model's cache memory allows. Never shows in answers.
  size_t batch = 16;
  Shown shown = Shown::own;
  bool grounding = false;  // of every answer; rows without a picture fail; not with beams
  ReadOptions reading;     // EXIF orientation ignored: as the published numbers were made
  uint64_t seed = 1;       // of the shuffle
  std::function<void(size_t done, size_t total)> progress;
  // What is known already, by row (AnswersFile), is not asked again; empty: nothing is.
  std::span<const std::optional<Prediction>> known = {};
  std::function<void(size_t row, const Prediction&)> on_answer = {};
  GoOn go_on = {};  // stopped: predict throws Stopped, what was told by on_answer stands
};

// One greedy (or beam search's) answer for the first question of each row. Rows that follow each
// other and share their pictures share their encoding; all share the rows of the prompts that they
// begin with.
std::vector<Prediction> predict(const Model& model, std::span<const Row> rows,
                                const PredictOptions& options = {});

// A row's pictures. Throws Error.
std::vector<Image> images_of(const std::vector<Picture>& pictures, const ReadOptions& reading);

// What a row asks a model, as it was or will be encoded.
struct RowPrompt {
  std::vector<int> ids;
  Tensor features;
};
RowPrompt prompt_of(const Model& model, const Row& row, const Pictures& pictures);

// By group, the group whose pictures it is shown instead: of the same source, as many pictures,
// never its own. Throws Error where there is no other.
std::vector<size_t> shuffled_groups(std::span<const Row> rows, std::span<const RowGroup> groups,
                                    uint64_t seed);

}  // namespace revenant
