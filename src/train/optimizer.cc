#include "train/optimizer.h"

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

std::vector<TensorSpec> hidden_matrices(const Recipe& recipe, const TorchModel& model) {
  std::vector<TensorSpec> hidden = tensor_table(model.config);
  std::erase_if(hidden, [&](const TensorSpec& spec) {
    return recipe.optim != "muon" || !is_hidden_matrix(spec);
  });
  return hidden;
}

torch::optim::AdamW adamw_of(const Recipe& r, const TorchModel& model) {
  return make_adamw(model, r.weight_decay, r.adam_beta1, r.adam_beta2, r.adam_epsilon, false);
}

torch::optim::AdamWParamState* state_of(const torch::optim::AdamW& adamw, const torch::Tensor& p) {
  const auto it = adamw.state().find(p.unsafeGetTensorImpl());
  return it == adamw.state().end() ? nullptr
                                   : static_cast<torch::optim::AdamWParamState*>(it->second.get());
}

}  // namespace

torch::optim::AdamW make_adamw(const TorchModel& model, double weight_decay, double beta1,
                               double beta2, double epsilon, bool decay_all) {
  std::vector<torch::Tensor> decayed, plain;
  for (const auto& [name, parameter] : model.parameters)
    (decay_all || parameter.dim() > 1 ? decayed : plain).push_back(parameter);
  const auto options = [&](double decay) {
    return std::make_unique<torch::optim::AdamWOptions>(
        torch::optim::AdamWOptions(1e-3).betas({beta1, beta2}).eps(epsilon).weight_decay(decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, options(weight_decay));
  if (!plain.empty()) groups.emplace_back(plain, options(0));
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

Optimizer::Optimizer(const Recipe& recipe, const TorchModel& model)
    : model_(model),
      adamw_(adamw_of(recipe, model)),
      hidden_(hidden_matrices(recipe, model)),
      decay_(recipe.weight_decay),
      momentum_(recipe.muon_momentum),
      dtype_(recipe.bf16 ? torch::kBFloat16 : torch::kFloat32) {}

void Optimizer::step(double learning_rate, SideBySide& threads) {
  const torch::NoGradGuard no_grad;
  step_muon(learning_rate, threads);
  for (auto& group : adamw_.param_groups()) group.options().set_lr(learning_rate);
  adamw_.step();
}

// AdamW passes over a parameter without a gradient, and so over those that were served here.
void Optimizer::step_muon(double learning_rate, SideBySide& threads) {
  std::map<std::string, torch::Tensor> directions;
  for (const TensorSpec& spec : hidden_) {
    const torch::Tensor& parameter = model_.parameters.at(spec.stored);
    if (!parameter.grad().defined()) continue;
    torch::Tensor& momentum = momenta_[spec.stored];
    if (!momentum.defined()) momentum = torch::zeros_like(parameter);
    momentum.lerp_(parameter.grad(), 1 - momentum_);
    directions[spec.stored] = parameter.grad().lerp(momentum, momentum_);  // Nesterov's
    parameter.mutable_grad().reset();
    parameter.mul_(1 - learning_rate * decay_);
  }
  threads.run(hidden_.size(), [&](size_t i) {
    const torch::NoGradGuard no_grad;
    const TensorSpec& spec = hidden_[i];
    const auto direction = directions.find(spec.stored);
    if (direction == directions.end()) return;
    const torch::Tensor matrix = slice_of(spec, direction->second).reshape(spec.shape);
    const double size = 0.2 * std::sqrt(double(std::max(matrix.size(0), matrix.size(1))));
    torch::Tensor part = slice_of(spec, model_.parameters.at(spec.stored));
    part.sub_(orthogonalised(matrix, dtype_).reshape(part.sizes()), learning_rate * size);
  });
}

std::map<std::string, torch::Tensor> Optimizer::state() const {
  std::map<std::string, torch::Tensor> state;
  for (const auto& [name, parameter] : model_.parameters) {
    if (const auto* moments = state_of(adamw_, parameter)) {
      state["exp_avg." + name] = moments->exp_avg();
      state["exp_avg_sq." + name] = moments->exp_avg_sq();
      state["step." + name] = torch::tensor({float(moments->step())});
    }
    if (const auto it = momenta_.find(name); it != momenta_.end())
      state["momentum_buffer." + name] = it->second;
  }
  return state;
}

void Optimizer::load(std::map<std::string, torch::Tensor> state, const Path& file) {
  const auto taken = [&](const std::string& key, at::IntArrayRef shape) {
    const auto node = state.extract(key);
    const std::string subject = file.string() + ": " + key;
    if (node.empty()) throw Error("checkpoint", subject, "a moment of the optimiser", "nothing");
    if (node.mapped().sizes() != shape)
      throw Error("checkpoint", subject, std::to_string(c10::multiply_integers(shape)) + " values",
                  std::to_string(node.mapped().numel()));
    return node.mapped();
  };
  std::set<std::string> muons;
  for (const TensorSpec& spec : hidden_) muons.insert(spec.stored);
  for (const auto& [name, parameter] : model_.parameters) {
    if (muons.contains(name)) {
      const std::string key = "momentum_buffer." + name;
      if (state.contains(key)) momenta_[name] = taken(key, parameter.sizes());
    } else if (state.contains("step." + name)) {
      auto moments = std::make_unique<torch::optim::AdamWParamState>();
      moments->step(int64_t(taken("step." + name, {1}).item<float>()));
      moments->exp_avg(taken("exp_avg." + name, parameter.sizes()));
      moments->exp_avg_sq(taken("exp_avg_sq." + name, parameter.sizes()));
      adamw_.state()[parameter.unsafeGetTensorImpl()] = std::move(moments);
    }
  }
  if (!state.empty())
    throw Error("checkpoint", file.string() + ": " + state.begin()->first,
                "only what this run's optimiser keeps", "state of another one");
}

}  // namespace revenant
