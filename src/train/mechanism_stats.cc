#include "train/mechanism_stats.h"

#include <algorithm>

namespace revenant {
namespace {

double root_mean_square(const torch::Tensor& x) {
  return x.to(torch::kFloat32).square().mean().sqrt().item<double>();
}

}  // namespace

MechanismStats::MechanismStats(const TorchModel& model)
    : layers_(model.config.layers), trol_(model.config.trol) {
  for (int layer = 0; layer < layers_; ++layer) {
    const auto learnt = model.parameters.find("blk." + std::to_string(layer) + ".phantom_eta");
    etas_.push_back(learnt == model.parameters.end() ? model.config.phantom.eta
                                                     : learnt->second.item<double>());
    if (learnt != model.parameters.end()) place("ghost", "eta", layer) = etas_.back();
  }
}

TorchNote MechanismStats::note(const TorchBatch& batch, int rows) {
  const auto answers = std::ranges::count_if(batch.labels, [](int64_t id) { return id >= 0; });
  const bool whole = traverses(trol_, batch.step);  // the last layer is
  return [this, rows, answers, whole](Site site, Note name, const torch::Tensor& all) {
    if (site.pass > (name == Note::trol_gate ? 2 : 1)) return;
    const torch::NoGradGuard no_grad;
    const bool last = name == Note::gate && site.layer == layers_ - 1;
    const auto x = [&] { return all.detach().narrow(0, 0, last && !whole ? answers : rows); };
    switch (name) {
      case Note::gate:
      case Note::trol_gate:
        return this->gate(std::string(name_of(name)).c_str(), site.layer, x());
      case Note::q:
      case Note::k:
      case Note::v:
        plain_[name_of(name)] = root_mean_square(x());
        return;
      case Note::q_ghost:
      case Note::k_ghost:
      case Note::v_ghost:
        return this->ghost(name_of(name).substr(0, 1), site.layer, x());
      default:
        return;
    }
  };
}

double& MechanismStats::place(const char* name, const char* what, int layer) {
  nlohmann::json& list = json_[name][what];
  if (list.is_null()) list = std::vector<double>(size_t(layers_), 0.0);
  return list[size_t(layer)].get_ref<double&>();
}

void MechanismStats::gate(const char* name, int layer, const torch::Tensor& x) {
  const torch::Tensor values = x.to(torch::kFloat32);
  place(name, "mean", layer) = values.mean().item<double>();
  place(name, "spread", layer) = values.std(/*unbiased=*/false).item<double>();
  place(name, "above_half", layer) = (values > 0.5).to(torch::kFloat32).mean().item<double>();
}

void MechanismStats::ghost(std::string_view plain, int layer, const torch::Tensor& x) {
  place("ghost", std::string(plain).c_str(), layer) =
      etas_[size_t(layer)] * root_mean_square(x) / plain_.at(plain);
}

}  // namespace revenant
