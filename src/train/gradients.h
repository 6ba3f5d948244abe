// Gradients of a step: the mean of an objective over all that its batches count.
#pragma once

#include "train/objective.h"
#include "train/ranks.h"
#include "train/side_by_side.h"

namespace revenant {

struct StepLoss {
  double loss = 0;                        // mean over what the objective counts
  std::map<std::string, double> metrics;  // the same
};

// Leaves the gradients with the weights that train, the same on all ranks. `batches` are this
// rank's, `total` is what all ranks' count: more than nothing. Gradients are added in the order of
// the batches, each as soon as those before it are, so that the number of threads changes nothing,
// and then over the ranks. Batches that count nothing are passed over. `note` watches the first
// batch.
StepLoss accumulate(const TorchModel& model, const Objective& objective,
                    const std::vector<TorchBatch>& batches, double total, bool bf16,
                    SideBySide& threads, const Ranks& ranks, const TorchNote* note = nullptr);

// The same loss without gradients, of `count` batches that are shared out over the ranks and made
// when their turn comes, on any thread: no more of them are held than there are threads. Throws
// Error where none counts anything.
StepLoss measure(const TorchModel& model, const Objective& objective, size_t count,
                 const std::function<TorchBatch(size_t)>& batch, bool bf16, SideBySide& threads,
                 const Ranks& ranks = no_ranks());

// L2 norm of the gradients, over all and by part of the model.
struct GradientNorms {
  double all = 0;
  std::map<Part, double> parts;
  std::map<Part, double> root_mean_squares;  // what Adam's epsilon is to be held against
};
GradientNorms gradient_norms(const TorchModel& model);

// Scales all gradients down so that their norm, given, becomes at most `limit`; 0: no limit.
// Returns by what they were multiplied.
double clip_gradients(const TorchModel& model, double norm, double limit);

}  // namespace revenant
