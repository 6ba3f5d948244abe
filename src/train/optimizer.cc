#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace revenant {
namespace {

bool is_hidden_matrix(const TensorSpec& spec) {
  const bool inside = spec.name.starts_with("blk.") || spec.name.starts_with("v.blk.") ||
                      spec.name.starts_with("mm.");
  return inside && spec.role == Role::linear;
}

// Those of Muon, or the others.
std::map<std::string, ParameterSettings> share_of(const Recipe& recipe, const TorchModel& model,
                                                  bool muon) {
  std::map<std::string, ParameterSettings> settings = settings_of(model, recipe);
  std::erase_if(settings, [&](const auto& item) {
    const bool hidden =
        recipe.optim == Recipe::Optim::muon && is_hidden_matrix(model.specs.at(item.first));
    return hidden != muon;
  });
  return settings;
}

std::map<std::string, ParameterSettings> of_owner(std::map<std::string, ParameterSettings> settings,
                                                  const std::map<std::string, int>& owners,
                                                  int rank) {
  std::erase_if(settings, [&](const auto& item) { return owners.at(item.first) != rank; });
  return settings;
}

torch::optim::AdamWParamState* state_of(const torch::optim::AdamW& adamw, const torch::Tensor& p) {
  const auto it = adamw.state().find(p.unsafeGetTensorImpl());
  return it == adamw.state().end() ? nullptr
                                   : static_cast<torch::optim::AdamWParamState*>(it->second.get());
}

}  // namespace

torch::optim::AdamW make_adamw(const TorchModel& model,
                               const std::map<std::string, ParameterSettings>& settings,
                               double beta1, double beta2) {
  std::map<ParameterSettings, std::vector<torch::Tensor>> alike;
  for (const auto& [name, own] : settings) alike[own].push_back(model.parameters.at(name));
  if (alike.empty()) alike[{}] = {};  // torch wants a group
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (const auto& [own, parameters] : alike)
    groups.emplace_back(parameters, std::make_unique<torch::optim::AdamWOptions>(
                                        torch::optim::AdamWOptions(1e-3)
                                            .betas({beta1, beta2})
                                            .eps(own.adam_epsilon)
                                            .weight_decay(own.weight_decay)));
  return torch::optim::AdamW(groups, torch::optim::AdamWOptions(1e-3));
}

torch::Tensor orthogonalised(const torch::Tensor& matrix, torch::Dtype dtype) {
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;  // Jordan's, for speed at small values
  const bool tall = matrix.size(0) > matrix.size(1);
  torch::Tensor x = (tall ? matrix.t() : matrix).to(dtype);
  x = x / (x.norm() + 1e-7);
  for (int i = 0; i < 5; ++i) {
    const torch::Tensor square = torch::mm(x, x.t());
    x = a * x + torch::mm(b * square + c * torch::mm(square, square), x);
  }
  return (tall ? x.t() : x).to(matrix.scalar_type());
}

std::map<std::string, int> owners_of(const TorchModel& model, int ranks) {
  std::vector<std::pair<int64_t, std::string>> weights;
  for (const auto& [name, parameter] : trained(model))
    weights.emplace_back(-parameter.numel(), name);
  std::ranges::sort(weights);
  std::vector<int64_t> values(size_t(ranks), 0);
  std::map<std::string, int> owners;
  for (const auto& [size, name] : weights) {
    const auto least = std::ranges::min_element(values);
    *least -= size;
    owners[name] = int(least - values.begin());
  }
  return owners;
}

Optimizer::Optimizer(const Recipe& recipe, const TorchModel& model, const Ranks& ranks)
    : model_(model),
      ranks_(ranks),
      owners_(owners_of(model, ranks.size())),
      adamws_(share_of(recipe, model, false)),
      muons_(share_of(recipe, model, true)),
      adamw_(make_adamw(model, of_owner(adamws_, owners_, ranks.rank()), recipe.adam_beta1,
                        recipe.adam_beta2)),
      momentum_(recipe.muon_momentum),
      dtype_(recipe.bf16 ? torch::kBFloat16 : torch::kFloat32) {}

void Optimizer::step(double learning_rate, SideBySide& threads) {
  const torch::NoGradGuard no_grad;
  std::set<ParameterSettings> alike;
  for (const auto& [name, own] : adamws_)
    if (owns(name)) alike.insert(own);
  auto group = adamw_.param_groups().begin();  // in the order of their settings, see make_adamw
  for (const ParameterSettings& own : alike) (group++)->options().set_lr(own.rate * learning_rate);
  adamw_.step();
  step_muon(learning_rate, threads);
  share_weights();
}

void Optimizer::share_weights() {
  std::vector<std::vector<torch::Tensor>> weights(size_t(ranks_.size()));
  for (const auto& [name, owner] : owners_)
    weights[size_t(owner)].push_back(model_.parameters.at(name));
  for (int owner = 0; owner < ranks_.size(); ++owner) ranks_.share(weights[size_t(owner)], owner);
}

void Optimizer::step_muon(double learning_rate, SideBySide& threads) {
  struct Step {
    torch::Tensor parameter, direction;
    double rate;
  };
  std::vector<Step> steps;
  for (const auto& [name, own] : muons_) {
    const torch::Tensor& parameter = model_.parameters.at(name);
    if (!owns(name) || !parameter.grad().defined()) continue;
    torch::Tensor& momentum = momenta_[name];
    if (!momentum.defined()) momentum = torch::zeros_like(parameter);
    momentum.lerp_(parameter.grad(), 1 - momentum_);
    const double rate = own.rate * learning_rate;
    parameter.detach().mul_(1 - rate * own.weight_decay);
    steps.push_back({parameter, parameter.grad().lerp(momentum, momentum_), rate});  // Nesterov's
  }
  threads.run(steps.size(), [&](size_t i) {
    const torch::NoGradGuard no_grad;
    const auto& [parameter, direction, rate] = steps[i];
    const double size = 0.2 * std::sqrt(double(std::max(direction.size(0), direction.size(1))));
    parameter.detach().sub_(orthogonalised(direction, dtype_), rate * size);
  });
}

NamedTensors Optimizer::state() const {
  NamedTensors state;
  for (const auto& [name, parameter] : model_.parameters) {
    if (const auto* moments = state_of(adamw_, parameter)) {
      state["exp_avg." + name] = moments->exp_avg().cpu();
      state["exp_avg_sq." + name] = moments->exp_avg_sq().cpu();
      state["step." + name] = torch::tensor({float(moments->step())});
    }
    if (const auto it = momenta_.find(name); it != momenta_.end())
      state["momentum_buffer." + name] = it->second.cpu();
  }
  return ranks_.gathered(std::move(state));
}

void Optimizer::load(NamedTensors state, const Path& file) {
  const auto taken = [&](const std::string& key, at::IntArrayRef shape) -> torch::Tensor {
    const auto node = state.extract(key);
    const std::string subject = file.string() + ": " + key;
    if (node.empty()) throw Error("checkpoint", subject, "a moment of the optimiser", "nothing");
    if (node.mapped().sizes() != shape)
      throw Error("checkpoint", subject, std::to_string(c10::multiply_integers(shape)) + " values",
                  std::to_string(node.mapped().numel()));
    return node.mapped();
  };
  for (const auto& [name, own] : muons_) {
    const std::string key = "momentum_buffer." + name;
    if (state.contains(key)) {
      const torch::Tensor& parameter = model_.parameters.at(name);
      const torch::Tensor momentum = taken(key, parameter.sizes());
      if (owns(name)) momenta_[name] = momentum.to(parameter.device());
    }
  }
  for (const auto& [name, own] : adamws_) {
    if (!state.contains("step." + name)) continue;
    const torch::Tensor& parameter = model_.parameters.at(name);
    auto moments = std::make_unique<torch::optim::AdamWParamState>();
    moments->step(int64_t(taken("step." + name, {1}).item<float>()));
    const auto moment = [&](const char* kind) {
      return taken(kind + name, parameter.sizes()).to(parameter.device());
    };
    moments->exp_avg(moment("exp_avg."));
    moments->exp_avg_sq(moment("exp_avg_sq."));
    if (owns(name)) adamw_.state()[parameter.unsafeGetTensorImpl()] = std::move(moments);
  }
  if (!state.empty())
    throw Error("checkpoint", file.string() + ": " + state.begin()->first,
                "only what this run's optimiser keeps", "state of another one");
}

}  // namespace revenant
