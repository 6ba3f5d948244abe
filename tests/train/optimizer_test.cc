// Muon: what its update must be, whatever the gradient and however weights are fused.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "small_config.h"

namespace revenant {
namespace {

Recipe muon_recipe() {
  Recipe recipe;
  recipe.optim = Recipe::Optim::muon;
  recipe.weight_decay = 0;
  return recipe;
}

// Singular values, the largest first.
torch::Tensor spectrum(const torch::Tensor& matrix) {
  return std::get<1>(at::linalg_svd(matrix.detach().to(torch::kFloat64), false));
}

void set_gradients(const TorchModel& model) {
  torch::manual_seed(5);
  for (const auto& [name, parameter] : model.parameters)
    parameter.mutable_grad() = torch::randn_like(parameter);
}

TEST(Muon, SingularValuesComeNearOneAndDirectionsStay) {
  torch::manual_seed(3);
  for (const auto& [rows, columns] : {std::pair{24, 40}, {40, 24}, {32, 32}}) {
    const torch::Tensor matrix = torch::randn({rows, columns}, torch::kFloat64);
    const auto [u, s, v] = at::linalg_svd(matrix, false);
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
      const torch::Tensor result = orthogonalised(matrix, dtype);
      ASSERT_EQ(result.sizes(), matrix.sizes());
      const torch::Tensor kept = torch::diagonal(u.t().mm(result).mm(v.t())).slice(0, 0, -4);
      EXPECT_GT(kept.min().item<double>(), 0.6) << rows << " x " << columns;
      EXPECT_LT(spectrum(result).max().item<double>(), 1.3) << rows << " x " << columns;
    }
  }
}

// Where a checkpoint fuses q, k and v too: each has its own.
TEST(Muon, EachWeightHasItsOwnUpdate) {
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  const std::string block = "v.blk.0.attn_";
  NamedTensors before;
  for (const auto& [name, parameter] : model.parameters) before[name] = parameter.detach().clone();
  set_gradients(model);
  model.parameters.at(block + "q.weight").mutable_grad().mul_(1e-3);  // small beside k's
  Optimizer optimizer(muon_recipe(), model);
  SideBySide threads(1);
  optimizer.step(0.01, threads);
  for (const std::string name : {"q.weight", "k.weight", "v.weight"}) {
    const torch::Tensor change = before[block + name] - model.parameters.at(block + name).detach();
    const torch::Tensor values = spectrum(change / (0.01 * 0.2 * 4));  // sqrt(16)
    EXPECT_GT(values[8].item<double>(), 0.6) << name;
    EXPECT_LT(values[0].item<double>(), 1.3) << name;
  }
}

TEST(Muon, OnlyHiddenMatricesAreItsOwn) {
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  set_gradients(model);
  Optimizer optimizer(muon_recipe(), model);
  SideBySide threads(1);
  optimizer.step(0.01, threads);
  const auto state = optimizer.state();
  const auto has = [&](const std::string& name) { return state.contains(name); };
  for (const std::string hidden : {"v.blk.0.attn_q.weight", "v.blk.0.ffn_down.weight",
                                   "mm.0.weight", "blk.0.ffn_gate.weight"}) {
    EXPECT_TRUE(has("momentum_buffer." + hidden)) << hidden;
    EXPECT_FALSE(has("exp_avg." + hidden)) << hidden;
  }
  for (const std::string other : {"v.blk.0.ln1.weight", "v.blk.0.ls1", "token_embd.weight",
                                  "output.weight", "v.patch_embd.weight", "blk.0.mix_q_q.weight"}) {
    EXPECT_TRUE(has("exp_avg." + other)) << other;
    EXPECT_FALSE(has("momentum_buffer." + other)) << other;
  }
}

// Decoupled: the update without decay, and the weight's own share taken off it.
TEST(Muon, DecayTakesAShareOfTheWeight) {
  const std::string name = "blk.0.ffn_up.weight";
  const auto after = [&](double decay) {
    const TorchModel model = init_torch_model(small_config_with_ids(), 1);
    set_gradients(model);
    Recipe recipe = muon_recipe();
    recipe.weight_decay = decay;
    Optimizer optimizer(recipe, model);
    SideBySide threads(1);
    optimizer.step(0.01, threads);
    return model.parameters.at(name).detach();
  };
  const torch::Tensor weight =
      init_torch_model(small_config_with_ids(), 1).parameters.at(name).detach();
  EXPECT_TRUE(torch::allclose(after(0) - after(0.5), weight * 0.01 * 0.5, 1e-4, 1e-8));
}

// PyTorch's AdamW, written out in double: three steps with gradients of their own.
TEST(AdamW, StepsFollowTheFormula) {
  Recipe recipe;
  recipe.adam_beta1 = 0.8, recipe.adam_beta2 = 0.95, recipe.adam_epsilon = 1e-3;
  recipe.weight_decay = 0.1;
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  Optimizer optimizer(recipe, model);
  SideBySide threads(1);
  const auto wide = [](const torch::Tensor& x) { return x.detach().to(torch::kFloat64).clone(); };
  NamedTensors weights, first, second;
  for (const auto& [name, parameter] : model.parameters) {
    weights[name] = wide(parameter);
    first[name] = second[name] = torch::zeros_like(weights[name]);
  }
  torch::manual_seed(7);
  for (int step = 1; step <= 3; ++step) {
    const double rate = 0.02 * step;
    for (const auto& [name, parameter] : model.parameters) {
      parameter.mutable_grad() =
          torch::randn_like(parameter) * 1e-3;  // epsilon is not small beside
      const torch::Tensor g = wide(parameter.grad());
      first[name] = 0.8 * first[name] + 0.2 * g;
      second[name] = 0.95 * second[name] + 0.05 * g * g;
      const Role role = model.specs.at(name).role;
      const bool decays = role == Role::linear || role == Role::embedding || role == Role::mixer ||
                          (role == Role::gate && name.ends_with(".weight"));
      const torch::Tensor mean = first[name] / (1 - std::pow(0.8, step));
      const torch::Tensor size = (second[name] / (1 - std::pow(0.95, step))).sqrt() + 1e-3;
      weights[name] = weights[name] * (1 - rate * (decays ? 0.1 : 0)) - rate * mean / size;
    }
    optimizer.step(rate, threads);
  }
  for (const auto& [name, parameter] : model.parameters)
    EXPECT_TRUE(torch::allclose(wide(parameter), weights[name], 1e-4, 1e-6)) << name;
}

// With no gradient to speak of only decay moves a weight: by its role, whatever its shape.
TEST(AdamW, DecayIsByRole) {
  Recipe recipe;
  recipe.weight_decay = 0.5;
  for (const bool clip : {false, true}) {
    const TorchModel model =
        init_torch_model(clip ? small_clip_config() : small_config_with_ids(), 1);
    NamedTensors before;
    for (const auto& [name, parameter] : model.parameters) {
      const torch::NoGradGuard no_grad;
      parameter.add_(1);
      before[name] = parameter.clone();
      parameter.mutable_grad() = torch::zeros_like(parameter);
    }
    Optimizer optimizer(recipe, model);
    SideBySide threads(1);
    optimizer.step(0.1, threads);
    const auto moved = [&](const std::string& name) {
      const torch::Tensor now = model.parameters.at(name).detach();
      if (torch::equal(now, before[name])) return false;
      EXPECT_TRUE(torch::allclose(now, before[name] * (1 - 0.1 * 0.5))) << name;
      return true;
    };
    for (const std::string name : {"token_embd.weight", "blk.0.attn_q.weight", "output.weight",
                                   "v.patch_embd.weight", "v.blk.0.ffn_up.weight", "mm.0.weight"})
      EXPECT_TRUE(moved(name)) << name;
    for (const std::string name :
         {"v.class_embd", "v.position_embd.weight", "v.blk.0.ln1.weight", "v.blk.0.attn_q.bias",
          "blk.0.attn_norm.weight", "mm.0.bias", "output_norm.weight"})
      EXPECT_FALSE(moved(name)) << name;
    if (clip) continue;
    for (const std::string name : {"blk.0.mix_v_o.weight", "blk.0.phantom_gate1.weight"})
      EXPECT_TRUE(moved(name)) << name;
    for (const std::string name : {"v.blk.0.ls1", "blk.0.phantom_gate2.bias", "mm.norm.weight"})
      EXPECT_FALSE(moved(name)) << name;
  }
}

TEST(AdamW, AGroupHasItsOwnRateDecayAndEpsilon) {
  Recipe recipe;
  recipe.learning_rate = 0.1, recipe.weight_decay = 0, recipe.adam_epsilon = 1e-12;
  recipe.parameter_groups = {{{"blk.0.mix_*"}, 0.025, 0.5, 1.0}, {{"mechanism"}, 0.05, {}, {}}};
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  NamedTensors before;
  for (const auto& [name, parameter] : model.parameters) {
    before[name] = parameter.detach().clone();
    parameter.mutable_grad() = torch::full_like(parameter, 1e-3);
  }
  Optimizer optimizer(recipe, model);
  SideBySide threads(1);
  optimizer.step(0.05, threads);  // half the height: groups follow in proportion
  const auto change = [&](const std::string& name) {
    return before[name] - model.parameters.at(name).detach();
  };
  const auto is = [](const torch::Tensor& x, const torch::Tensor& y) {
    return torch::allclose(x, y, 1e-3, 1e-8);
  };
  EXPECT_TRUE(is(change("blk.0.attn_q.weight"), torch::full({32, 32}, 0.05)));
  EXPECT_TRUE(is(change("blk.1.mix_q_q.weight"), torch::full({16, 16}, 0.025)));
  const std::string own = "blk.0.mix_q_q.weight";  // the first group that selects it
  EXPECT_TRUE(is(change(own), before[own] * 0.0125 * 0.5 + 0.0125 * 1e-3 / (1e-3 + 1)));
}

TEST(Muon, StateOfAnotherOptimiserIsRefused) {
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  set_gradients(model);
  Recipe adamw = muon_recipe();
  adamw.optim = Recipe::Optim::adamw_torch;
  Optimizer one(adamw, model), other(muon_recipe(), model);
  SideBySide threads(1);
  one.step(0.01, threads);
  EXPECT_THROW(other.load(one.state(), "one"), Error);
}

}  // namespace
}  // namespace revenant
