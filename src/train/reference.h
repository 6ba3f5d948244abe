// What DPO and IPO hold a model against: the log-probabilities that a reference model gives to the
// answers, computed once and kept beside the data as FILE.reference-KEY.safetensors ("chosen" and
// "rejected", [rows] in float64; NaN for rows that cannot be used). KEY names the model's files,
// the tokenizer, the rows, their pictures' sizes and times and how rows become sequences, so that
// those of another model or of other rows are never taken. What was computed when it was stopped
// stands in FILE.reference-KEY.part, from which the next time goes on.
#pragma once

#include "train/prepare.h"

namespace revenant {

// The model's directory is recipe.reference, or recipe.model: its content, as it is used.
std::string reference_digest(const Recipe& recipe);

// Fills every set's `reference`. Throws Stopped at a signal.
void add_reference(const Recipe& recipe, Preparation& preparation, const Tell& tell);

}  // namespace revenant
