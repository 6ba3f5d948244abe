// The optimisers of a run, over the weights that train. AdamW takes every one, or, with
// `optim: muon`, those that are no hidden matrix; Muon takes the hidden matrices: those of the
// layers and of the projector. With `optim: adamw_8bit` the moments of all but small weights lie in
// 8 bits.
//
// Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a
// gradient by the nearest matrix whose singular values are all about 1. The update is scaled by
// 0.2 sqrt(max(rows, columns)), so that its entries are as large as AdamW's and one learning rate
// and decay serve both (Liu et al. 2025, arXiv 2502.16982, section 2.2).
#pragma once

#include <torch/optim/adamw.h>

#include "train/adamw_8bit.h"
#include "train/parameters.h"
#include "train/ranks.h"
#include "train/side_by_side.h"

namespace revenant {

// AdamW (Loshchilov and Hutter 2019; PyTorch's: epsilon outside the bias-corrected root) over the
// named weights.
torch::optim::AdamW make_adamw(const TorchModel& model,
                               const std::map<std::string, ParameterSettings>& settings,
                               double beta1, double beta2);

// U V' of the matrix U S V' [rows, columns], roughly: five steps of Newton and Schulz bring all
// singular values that are not tiny to between 0.7 and 1.2. Computed in `dtype`, bf16 on AMX with
// float32 between the products.
torch::Tensor orthogonalised(const torch::Tensor& matrix, torch::Dtype dtype);

// The rank that steps each weight and keeps its moments: the largest weights first, each to the
// rank that has the fewest values so far.
std::map<std::string, int> owners_of(const TorchModel& model, int ranks);

class Optimizer {
 public:
  // Keeps the moments of this rank's weights alone (ZeRO stage 1, Rajbhandari et al. 2020, arXiv
  // 1910.02054); the ranks must outlive it.
  Optimizer(const Recipe& recipe, const TorchModel& model, const Ranks& ranks = no_ranks());

  // One step by the parameters' gradients, the same on all ranks, at the run's learning rate. Each
  // rank steps its weights and sends them to the others.
  void step(double learning_rate, SideBySide& threads);

  // The state by name: exp_avg.PARAMETER, exp_avg_sq.PARAMETER and step.PARAMETER [1] (how often it
  // was stepped), or momentum_buffer.PARAMETER. Nothing for a parameter that never was. All ranks
  // must ask; rank 0 has the answer, the others an empty one.
  NamedTensors state() const;
  // Takes its part of a whole state. Throws Error that names `file` where a state is in part, of
  // another shape, or no parameter's under this optimiser.
  void load(NamedTensors state, const Path& file);

 private:
  void step_muon(double learning_rate, SideBySide& threads);
  void share_weights();
  bool owns(const std::string& name) const { return owners_.at(name) == ranks_.rank(); }

  const TorchModel& model_;
  const Ranks& ranks_;
  const std::map<std::string, int> owners_;
  std::map<std::string, ParameterSettings> eights_, adamws_, muons_;
  torch::optim::AdamW adamw_;
  AdamW8bit adamw_8bit_;
  NamedTensors momenta_;
  double momentum_;
  torch::Dtype dtype_;
};

}  // namespace revenant
