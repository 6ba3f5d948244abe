#include "train/mechanism_stats.h"

namespace revenant {
namespace {

double root_mean_square(const torch::Tensor& x) {
  return x.to(torch::kFloat32).square().mean().sqrt().item<double>();
}

}  // namespace

MechanismStats::MechanismStats(const TorchModel& model) : layers_(model.config.layers) {
  for (int layer = 0; layer < layers_; ++layer) {
    const auto learnt = model.parameters.find("blk." + std::to_string(layer) + ".phantom_eta");
    etas_.push_back(learnt == model.parameters.end() ? model.config.phantom.eta
                                                     : learnt->second.item<double>());
    if (learnt != model.parameters.end()) place("ghost", "eta", layer) = etas_.back();
  }
}

TorchNote MechanismStats::note(int rows) {
  return [this, rows](Site site, std::string_view name, const torch::Tensor& all) {
    const bool plain = name == "q" || name == "k" || name == "v";
    const bool ghost = name == "q_ghost" || name == "k_ghost" || name == "v_ghost";
    if (site.pass > 2 || (!plain && !ghost && name != "gate" && name != "trol_gate")) return;
    const torch::NoGradGuard no_grad;
    const torch::Tensor x = all.detach().narrow(0, 0, rows);
    if (name == "trol_gate") return this->gate("trol_gate", site.layer, x);
    if (site.pass > 1) return;
    if (name == "gate") return this->gate("gate", site.layer, x);
    if (plain)
      plain_[std::string(name)] = root_mean_square(x);
    else
      this->ghost(name, site.layer, x);
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

void MechanismStats::ghost(std::string_view name, int layer, const torch::Tensor& x) {
  const std::string plain(name.substr(0, 1));
  place("ghost", plain.c_str(), layer) =
      etas_[size_t(layer)] * root_mean_square(x) / plain_.at(plain);
}

}  // namespace revenant
