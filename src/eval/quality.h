// What fewer bits cost: a model's answers held against those of the model that it was made from.
#pragma once

#include <functional>
#include <span>

#include "data/dataset.h"
#include "engine/model.h"

namespace revenant {

struct QualityOptions {
  int max_new_tokens = 16;  // of an answer
  ReadOptions reading = {};
  std::function<void(size_t done, size_t total)> progress = {};  // rows
  GoOn go_on = {};
};

// Over the tokens of the reference's greedy answers, end tokens too.
struct Quality {
  int64_t rows = 0, tokens = 0;
  double divergence = 0;        // mean KL(reference || model) of a token, in nats
  double divergence_error = 0;  // its standard error
  double divergence_99 = 0;     // the 99th percentile
  int64_t same_top = 0;         // tokens that the model finds the likeliest too
};

// Both see each row's pictures through their own towers, and read the reference's answer. Throws
// Error where a row cannot be asked, or the two do not speak alike.
Quality measure_quality(const Model& reference, const Model& model, std::span<const Row> rows,
                        const QualityOptions& options = {});

}  // namespace revenant
