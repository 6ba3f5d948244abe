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
  recipe.optim = "muon";
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

TEST(Muon, EachWeightOfAFusedTensorHasItsOwnUpdate) {
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  const std::string name = "vision_model.encoder.layers.0.attn.qkv.weight";
  const torch::Tensor parameter = model.parameters.at(name);
  const torch::Tensor before = parameter.detach().clone();
  set_gradients(model);
  parameter.mutable_grad().narrow(0, 0, 16).mul_(1e-3);  // q's gradient is small beside k's
  Optimizer optimizer(muon_recipe(), model);
  SideBySide threads(1);
  optimizer.step(0.01, threads);
  const torch::Tensor change = (before - parameter.detach()) / (0.01 * 0.2 * 4);  // sqrt(16)
  for (const int row : {0, 16, 32}) {
    const torch::Tensor values = spectrum(change.narrow(0, row, 16));
    EXPECT_GT(values[8].item<double>(), 0.6) << "rows from " << row;
    EXPECT_LT(values[0].item<double>(), 1.3) << "rows from " << row;
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
  const std::string tower = "vision_model.encoder.layers.0.", language = "language_model.model.";
  for (const std::string& hidden :
       {tower + "attn.qkv.weight", tower + "mlp.fc2.weight", std::string("vision_proj.1.weight"),
        language + "layers.0.mlp.gate_proj.weight"}) {
    EXPECT_TRUE(has("momentum_buffer." + hidden)) << hidden;
    EXPECT_FALSE(has("exp_avg." + hidden)) << hidden;
  }
  for (const std::string& other :
       {tower + "norm1.weight", tower + "ls1", language + "embed_tokens.weight",
        std::string("language_model.lm_head.weight"),
        std::string("vision_model.embeddings.patch_embedding.weight"),
        language + "layers.0.self_attn.xattn_query_phantom.linear_q.weight"}) {
    EXPECT_TRUE(has("exp_avg." + other)) << other;
    EXPECT_FALSE(has("momentum_buffer." + other)) << other;
  }
}

TEST(Muon, StateOfAnotherOptimiserIsRefused) {
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  set_gradients(model);
  Recipe adamw = muon_recipe();
  adamw.optim = "adamw_torch";
  Optimizer one(adamw, model), other(muon_recipe(), model);
  SideBySide threads(1);
  one.step(0.01, threads);
  EXPECT_THROW(other.load(one.state(), "one"), Error);
}

}  // namespace
}  // namespace revenant
