// What a step of training is to make small. An objective is a value of two functions over the
// answers' log-probabilities; the loop knows no other thing of it:
//
//   loss of a step = sum over its batches of value(batch) / sum over them of weight(batch),
//
// so that neither micro-batches nor processes show in it. All of them take log-probabilities in
// float32 and log sigmoid(x) as -softplus(-x).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "train/model.h"
#include "train/objective_config.h"

namespace revenant {

struct Objective {
  struct Value {
    torch::Tensor loss;                     // [] a sum over what `weight` counts
    std::map<std::string, double> metrics;  // sums over the same, under TRL's names
  };
  std::function<double(const TorchBatch&)> weight;
  std::function<Value(const TorchBatch&, const AnswerScores&)> value;
};

// sft    mean over all answer tokens (prompts are no targets)
// po     Phantom Optimization (arXiv 2409.14713, eq. 4), mean over pairs y+, y- of
//          -sft_weight log p(y+)/|y+| - log sigmoid(beta log p(y+)/|y+| - beta log p(y-)/|y-| -
//          gamma)
// simpo  without the supervised term (Meng et al. 2024, arXiv 2405.14734)
// dpo    -log sigmoid(beta (log p(y+) - log r(y+) - log p(y-) + log r(y-))), r the reference
//        (Rafailov et al. 2023, arXiv 2305.18290)
// ipo    (h - 1/(2 beta))^2, h the same difference of lengths' averages (Azar et al. 2023,
//        arXiv 2310.12036, as TRL averages it)
//
// Each of them and, in training, traverse_budget times the mean of TroL's gate
// (AnswerScores::gate), a batch's by what the batch counts.
Objective objective_of(const ObjectiveConfig& config);

// The objective's mean over one batch, []; with gradients.
torch::Tensor mean_loss(const Objective& objective, const TorchModel& model,
                        const TorchBatch& batch);

}  // namespace revenant
