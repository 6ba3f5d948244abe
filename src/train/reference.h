// What DPO and IPO hold a model against: the log-probabilities that a reference model gives to the
// answers, computed once and kept beside the data as FILE.reference-KEY.safetensors ("chosen" and
// "rejected", [rows] in float64; NaN for rows that cannot be used). KEY names the model's files,
// the rows, the sizes of their pictures and how rows become sequences, so that those of another
// model or of other rows are never taken.
#pragma once

#include <functional>

#include "train/batch.h"

namespace revenant {

// Fills every set's `reference`. The model's directory is recipe.reference, or recipe.model.
void add_reference(const Recipe& recipe, const PromptRule& rule, const Tokenizer& tokenizer,
                   const std::function<void(const std::string&)>& tell, TrainingData& data,
                   TrainingData& eval_data);

}  // namespace revenant
