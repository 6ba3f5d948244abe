#include "train/mechanism_stats.h"

#include <algorithm>
#include <vector>

#include "train/device.h"

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
  std::vector<int64_t> again;
  for (const Span& span : batch.step.spans)
    for (int i = 0; i < span.rows; ++i)
      if (span.first_row + i < rows && traverses(trol_, span, i))
        again.push_back(span.first_row + i);
  return [this, rows, answers, whole, again](Site site, Note name, const torch::Tensor& all) {
    if (site.pass > (name == Note::trol_gate ? 2 : 1)) return;
    const torch::NoGradGuard no_grad;
    const bool last = name == Note::gate && site.layer == layers_ - 1;
    const auto x = [&] { return all.detach().narrow(0, 0, last && !whole ? answers : rows); };
    switch (name) {
      case Note::gate:
        return this->gate("gate", site.layer, x());
      case Note::trol_gate:  // 0 on the rows that do not traverse
        if (again.empty()) return;
        return this->gate("trol_gate", site.layer,
                          all.detach().index_select(0, indices(again, all.device())));
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
