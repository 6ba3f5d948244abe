// Whether the mechanisms do anything, layer by layer, as one batch shows it: a mechanism that does
// not learn is seen in an hour.
#pragma once

#include <nlohmann/json.hpp>

#include "train/model.h"

namespace revenant {

class MechanismStats {
 public:
  explicit MechanismStats(const TorchModel& model);

  // An observer of the batch's forward; behind `rows` of its rows stand those that fill it up.
  // Where the last layer computes answers alone, its gate is theirs.
  TorchNote note(const TorchBatch& batch, int rows);

  // "gate" (weight of attention's plain half), "trol_gate" (weight of the second pass, of rows that
  // traverse): lists by layer of "mean", "spread" (standard deviation) and "above_half" (share
  // above 1/2). "ghost": lists of the size of eta y beside that of q, k and v (root mean squares).
  nlohmann::json json() const { return json_; }

 private:
  void gate(const char* name, int layer, const torch::Tensor& x);
  void ghost(std::string_view plain, int layer, const torch::Tensor& x);
  double& place(const char* name, const char* what, int layer);

  int layers_;
  TrolConfig trol_;
  std::vector<double> etas_;                  // by layer
  std::map<std::string_view, double> plain_;  // root mean squares of q, k, v of the layer
  nlohmann::json json_ = nlohmann::json::object();
};

}  // namespace revenant
