// The optimisers of a run, over the weights that train. AdamW takes every one, or, with
// `optim: muon`, those that are no hidden matrix; Muon takes the hidden matrices: those of the
// layers and of the projector.
//
// Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a
// gradient by the nearest matrix whose singular values are all about 1. The update is scaled by
// 0.2 sqrt(max(rows, columns)), so that its entries are as large as AdamW's and one learning rate
// and decay serve both (Liu et al. 2025, arXiv 2502.16982, section 2.2).
#pragma once

#include <torch/optim/adamw.h>

#include "train/parameters.h"
#include "train/side_by_side.h"

namespace revenant {

// AdamW (Loshchilov and Hutter 2019; PyTorch's: epsilon outside the bias-corrected root) over the
// named weights.
torch::optim::AdamW make_adamw(const TorchModel& model,
                               const std::map<std::string, ParameterSettings>& settings,
                               double beta1, double beta2);

// U V' of the matrix U S V' [rows, columns], roughly: five steps of Newton and Schulz bring all
// singular values that are not tiny to between 0.7 and 1.2. Computed in `dtype`.
torch::Tensor orthogonalised(const torch::Tensor& matrix, torch::Dtype dtype);

class Optimizer {
 public:
  Optimizer(const Recipe& recipe, const TorchModel& model);

  // One step by the parameters' gradients, at the run's learning rate.
  void step(double learning_rate, SideBySide& threads);

  // The state by name: exp_avg.PARAMETER, exp_avg_sq.PARAMETER and step.PARAMETER [1] (how often it
  // was stepped), or momentum_buffer.PARAMETER. Nothing for a parameter that never was.
  NamedTensors state() const;
  // Throws Error that names `file` where a state is in part, of another shape, or no parameter's
  // under this optimiser.
  void load(NamedTensors state, const Path& file);

 private:
  void step_muon(double learning_rate, SideBySide& threads);

  const TorchModel& model_;
  std::map<std::string, ParameterSettings> adamws_, muons_;
  torch::optim::AdamW adamw_;
  NamedTensors momenta_;
  double momentum_;
  torch::Dtype dtype_;
};

}  // namespace revenant
