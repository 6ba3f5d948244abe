#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "kernels/gemm.h"
#include "train/product.h"

namespace revenant {
namespace {

bool is_hidden_matrix(const TensorSpec& spec) {
  const bool inside = spec.name.starts_with("blk.") || spec.name.starts_with("v.blk.") ||
                      spec.name.starts_with("mm.");
  return inside && spec.role == Role::linear;
}

enum class Way { adamw, adamw_8bit, muon };

Way way_of(const Recipe& recipe, const TorchModel& model, const std::string& name) {
  if (recipe.optim == Recipe::Optim::muon && is_hidden_matrix(model.specs.at(name)))
    return Way::muon;
  if (recipe.optim == Recipe::Optim::adamw_8bit &&
      model.parameters.at(name).numel() >= AdamW8bit::kSmallest)
    return Way::adamw_8bit;
  return Way::adamw;
}

// The weights that are stepped in one way.
std::map<std::string, ParameterSettings> share_of(const Recipe& recipe, const TorchModel& model,
                                                  Way way) {
  std::map<std::string, ParameterSettings> settings = settings_of(model, recipe);
  std::erase_if(settings,
                [&](const auto& item) { return way_of(recipe, model, item.first) != way; });
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
  const bool tiles = dtype == torch::kBFloat16 && matrix.is_cpu() && has_bf16_gemm();
  torch::Tensor x = (tall ? matrix.t() : matrix).to(tiles ? torch::kFloat32 : dtype).contiguous();
  x = x / (x.norm() + 1e-7);
  for (int i = 0; i < 5; ++i) {
    if (tiles) {
      const torch::Tensor square = rounded_square(x);
      x = rounded_product(rounded_square(square).mul_(c).add_(square, b), x).add_(x, a);
    } else {
      const torch::Tensor square = torch::mm(x, x.t());
      x = torch::addmm(x, torch::addmm(square, square, square, b, c), x, a);
    }
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
      eights_(share_of(recipe, model, Way::adamw_8bit)),
      adamws_(share_of(recipe, model, Way::adamw)),
      muons_(share_of(recipe, model, Way::muon)),
      adamw_(make_adamw(model, of_owner(adamws_, owners_, ranks.rank()), recipe.adam_beta1,
                        recipe.adam_beta2)),
      adamw_8bit_(recipe.adam_beta1, recipe.adam_beta2),
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
  for (const auto& [name, own] : eights_)
    if (owns(name)) adamw_8bit_.step(name, model_.parameters.at(name), own, learning_rate);
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
  const auto put = [&](const std::string& name, const AdamW8bit::State& adam) {
    state["exp_avg." + name] = adam.first.cpu();
    state["exp_avg_sq." + name] = adam.second.cpu();
    state["step." + name] = torch::tensor({float(adam.steps)});
  };
  for (const auto& [name, parameter] : model_.parameters) {
    if (const auto* moments = state_of(adamw_, parameter))
      put(name, {moments->exp_avg(), moments->exp_avg_sq(), moments->step()});
    if (const auto adam = adamw_8bit_.state(name, parameter); adam.steps > 0) put(name, adam);
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
  const auto adam_of = [&](const std::string& name) -> AdamW8bit::State {
    if (!state.contains("step." + name)) return {};
    const torch::Tensor& parameter = model_.parameters.at(name);
    const auto moment = [&](const char* kind) {
      return taken(kind + name, parameter.sizes()).to(parameter.device());
    };
    return {moment("exp_avg."), moment("exp_avg_sq."),
            int64_t(taken("step." + name, {1}).item<float>())};
  };
  for (const auto& [name, own] : eights_)
    if (const auto adam = adam_of(name); adam.steps > 0 && owns(name)) adamw_8bit_.set(name, adam);
  for (const auto& [name, own] : adamws_) {
    const auto adam = adam_of(name);
    if (adam.steps == 0 || !owns(name)) continue;
    auto moments = std::make_unique<torch::optim::AdamWParamState>();
    moments->step(adam.steps);
    moments->exp_avg(adam.first);
    moments->exp_avg_sq(adam.second);
    adamw_.state()[model_.parameters.at(name).unsafeGetTensorImpl()] = std::move(moments);
  }
  if (!state.empty())
    throw Error("checkpoint", file.string() + ": " + state.begin()->first,
                "only what this run's optimiser keeps", "state of another one");
}

}  // namespace revenant
