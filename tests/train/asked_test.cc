// Rows that are asked for, and TroL's threshold and budget, in training.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <numeric>

#include "noise.h"
#include "train/mechanism_stats.h"
#include "train/model.h"
#include "train/objective.h"
#include "train/parameters.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

std::vector<torch::Tensor> gradients_of(const TorchModel& model, const torch::Tensor& sum) {
  std::vector<torch::Tensor> weights;
  for (const auto& [name, weight] : trained(model)) weights.push_back(weight);
  return torch::autograd::grad({sum}, weights, {}, {}, false, true);
}

// In any order, twice too, as the rows that fill a batch up.
TEST(Asked, RowsAreThoseOfAllRows) {
  Json both = small_config_with_ids(), clip = small_clip_config(), once = clip;
  both["revenant"]["trol"] = true;
  once["revenant"]["trol"] = false;  // with the picture rows' low-rank branches
  const torch::Tensor rows = torch::tensor({3, 13, 8, 6, 0, 0}, torch::kLong);
  for (const Json& config : {small_config_with_ids(), both, clip, once})
    for (const bool recompute : {false, true}) {
      TorchModel model = noisy_model(config);
      model.recompute = recompute;
      Step step;
      step.add(0, 0, 9, 9, true, {0, 0, 0, 1, 1, 1, 1, 0, 0});
      step.add(1, 0, 5, 5, true);
      std::vector<int64_t> ids(14);
      std::iota(ids.begin(), ids.end(), 8);
      torch::manual_seed(2);
      const torch::Tensor features = torch::randn({4, 32}, torch::kFloat64);
      const auto logits = [&](const torch::Tensor& of) {
        return forward(model, step, ids, features, of);
      };
      const torch::Tensor expected = logits({}).index_select(0, rows), some = logits(rows);
      EXPECT_LE((some - expected).abs().max().item<double>(), 1e-12);
      const auto all = gradients_of(model, expected.square().sum()),
                 found = gradients_of(model, some.square().sum());
      size_t reached = 0;
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(found[i].defined(), all[i].defined());
        if (!all[i].defined()) continue;
        ++reached;
        EXPECT_LE((found[i] - all[i]).norm().item<double>(),
                  1e-9 * all[i].norm().item<double>() + 1e-12);
      }
      EXPECT_GT(reached, 20u);
    }
}

class Budget : public Noise {
 protected:
  Recipe trol_recipe(const std::string& name, double threshold) {
    Json config = small_config();
    config["revenant"].update({{"phantom", false}, {"trol", true}, {"trol_threshold", threshold}});
    write_file(root_ / "trol.json", config.dump());
    Recipe r = recipe(name);
    r.config = root_ / "trol.json";
    return r;
  }
};

// The mean over rows of sequences that answer, as it stands under the threshold; its gradient does
// not stop there.
TEST_F(Budget, AddsTheMeanGateToTheLoss) {
  const OneStep made(trol_recipe("mean", 0.45), 2);
  TorchBatch batch = made.batch(0, 1);
  batch.pixels = batch.pixels.to(torch::kFloat64);
  TorchModel model = load_torch_model(made.recipe.output_dir, {}, torch::kFloat64);
  for (auto& [name, parameter] : model.parameters) parameter.requires_grad_(true);
  torch::Tensor& bias = model.parameters.at("trol_gate.bias");
  ObjectiveConfig sft, budget;
  budget.traverse_budget = 3;
  const auto loss = [&](const ObjectiveConfig& c) {
    return mean_loss(objective_of(c), model, batch);
  };
  const auto set_bias = [&](double value) {
    const torch::NoGradGuard no_grad;
    bias.fill_(value);
    model.parameters.at("trol_gate.weight").zero_();
  };
  set_bias(0.2);
  const double gate = 0.5 * std::tanh(0.2) + 0.5;
  EXPECT_NEAR((loss(budget) - loss(sft)).item<double>(), 3 * gate, 1e-6);
  set_bias(-0.2);  // under the threshold: nothing of the second pass, and a gradient all the same
  EXPECT_NEAR((loss(budget) - loss(sft)).item<double>(), 0, 1e-12);
  const auto slope = torch::autograd::grad({loss(budget) - loss(sft)}, {bias})[0];
  EXPECT_NEAR(slope.item<double>(), 3 * 0.5 * (1 - std::pow(std::tanh(0.2), 2)), 1e-6);
  // Sequences that fill a batch up do not count.
  const auto cost = [&] { return (loss(budget) - loss(sft)).item<double>(); };
  {
    const torch::NoGradGuard no_grad;
    torch::manual_seed(4);
    torch::Tensor& weight = model.parameters.at("trol_gate.weight");
    weight.copy_(torch::randn(weight.sizes()));
  }
  const double without = cost();
  batch.step.add(int(batch.step.spans.size()), 0, 5, 5, true);
  batch.ids.insert(batch.ids.end(), {7, 6, 9, 8, 7});
  batch.labels.resize(batch.ids.size(), -100);
  EXPECT_NEAR(cost(), without, 1e-9);
  EXPECT_GT(without, 0);
  const torch::NoGradGuard no_grad;  // an evaluation measures answers
  set_bias(0.2);
  EXPECT_EQ(loss(budget).item<double>(), loss(sft).item<double>());
}

TEST_F(Budget, ClosesTheGate) {
  double last[2];
  for (const bool closes : {false, true}) {
    Recipe r = trol_recipe(closes ? "closes" : "open", 0);
    r.objective.traverse_budget = closes ? 20 : 0;
    r.learning_rate = 0.02;
    r.max_steps = 12;
    ASSERT_TRUE(train(r));
    const Json line = log_of(r.output_dir).back();
    EXPECT_EQ(line.contains("traverse_gate"), closes);
    last[closes] = line.at("trol_gate").at("mean").at(0);
  }
  EXPECT_LT(last[1], 0.5 * last[0]);
}

TEST_F(Budget, FiguresAreOfRowsThatTraverse) {
  const OneStep made(trol_recipe("figures", 0), 2);
  TorchBatch batch = made.batch(0, 1);
  const torch::Tensor gates = torch::ones({batch.step.rows, 1});
  for (Span& span : batch.step.spans) {  // as in inference
    span.generated = 2;
    gates.narrow(0, span.first_row + span.rows - 2, 2).zero_();
  }
  MechanismStats stats(made.model);
  stats.note(batch, batch.step.rows)({0, 2}, Note::trol_gate, gates);
  const Json told = stats.json().at("trol_gate");
  EXPECT_EQ(told.at("mean").at(0), 1);
  EXPECT_EQ(told.at("above_half").at(0), 1);
}

TEST_F(Budget, WantsAModelThatTraverses) {
  Recipe r = recipe("phantom");
  r.objective.traverse_budget = 1;
  EXPECT_PRED2(has, refusal(r), "traverse_budget: expected a model whose prompts traverse");
  r = trol_recipe("second", 0);
  r.config_set = {"revenant.trol_mixing=second"};
  r.objective.traverse_budget = 1;
  EXPECT_PRED2(has, refusal(r), "trol_mixing second");
}

}  // namespace
}  // namespace revenant
