// Objectives against their formulas, and Phantom Optimization against the authors' numbers.
#include "train/objective.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/cases.h"
#include "train/gradients.h"

namespace revenant {
namespace {

using Kind = ObjectiveConfig::Kind;

// Two pairs with log-probabilities and lengths of their own; spans in an order of their own.
struct Made {
  TorchBatch batch;
  AnswerScores scores;
  const std::vector<double> chosen = {-3, -1.5}, rejected = {-4, -7};
  const std::vector<int64_t> chosen_tokens = {2, 5}, rejected_tokens = {4, 3};

  Made() {
    batch.pairs = {{2, 0}, {1, 3}};
    batch.labels = {-100, 1, 1, -100, 1};
    scores.sums = torch::tensor({rejected[0], chosen[1], chosen[0], rejected[1]}, torch::kFloat64);
    scores.counts = {4, 5, 2, 3};
    batch.reference = {{-2, -2.5}, {-4.5, -6}};
  }
  double loss(ObjectiveConfig config) const {
    const Objective objective = objective_of(config);
    return objective.value(batch, scores).loss.item<double>() / objective.weight(batch);
  }
};

double log_sigmoid(double x) { return std::log(1 / (1 + std::exp(-x))); }

TEST(Objective, SftIsTheMeanOverAnswerTokens) {
  const Made made;
  EXPECT_NEAR(made.loss({}), (3 + 1.5 + 4 + 7) / 3.0, 1e-12);  // three labels
}

TEST(Objective, PhantomOptimization) {
  const Made made;
  for (const double beta : {2.0, 0.5})
    for (const double gamma : {0.5, -1.0})
      for (const double sft : {1.0, 0.25, 0.0}) {
        double expected = 0, preference = 0;
        for (size_t i = 0; i < 2; ++i) {
          const double c = made.chosen[i] / double(made.chosen_tokens[i]);
          const double r = made.rejected[i] / double(made.rejected_tokens[i]);
          preference -= log_sigmoid(beta * c - beta * r - gamma) / 2;
          expected -= sft * c / 2;
        }
        EXPECT_NEAR(made.loss({Kind::po, beta, gamma, sft}), expected + preference, 1e-9);
        EXPECT_NEAR(made.loss({Kind::simpo, beta, gamma, sft}), preference, 1e-9);
      }
}

TEST(Objective, WithAReference) {
  const Made made;
  const double beta = 0.3;
  double dpo = 0, ipo = 0;
  for (size_t i = 0; i < 2; ++i) {
    const double c = made.chosen[i] - made.batch.reference.chosen[i];
    const double r = made.rejected[i] - made.batch.reference.rejected[i];
    dpo -= log_sigmoid(beta * (c - r)) / 2;
    const double h = c / double(made.chosen_tokens[i]) - r / double(made.rejected_tokens[i]);
    ipo += std::pow(h - 1 / (2 * beta), 2) / 2;
  }
  EXPECT_NEAR(made.loss({Kind::dpo, beta}), dpo, 1e-9);
  EXPECT_NEAR(made.loss({Kind::ipo, beta}), ipo, 1e-9);
}

// TRL's names; sums over the pairs, as the loss.
TEST(Objective, Metrics) {
  const Made made;
  const auto metrics = objective_of({Kind::po, 2, 0.5}).value(made.batch, made.scores).metrics;
  const double c0 = -3 / 2.0, c1 = -1.5 / 5, r0 = -4 / 4.0, r1 = -7 / 3.0;
  EXPECT_NEAR(metrics.at("rewards/chosen"), 2 * (c0 + c1), 1e-12);
  EXPECT_NEAR(metrics.at("rewards/rejected"), 2 * (r0 + r1), 1e-12);
  EXPECT_NEAR(metrics.at("rewards/margins"), 2 * (c0 + c1 - r0 - r1), 1e-12);
  EXPECT_EQ(metrics.at("rewards/accuracies"), 1);  // of two: the first pair is the wrong way round
  EXPECT_NEAR(metrics.at("logps/chosen"), c0 + c1, 1e-12);
  EXPECT_NEAR(metrics.at("logps/rejected"), r0 + r1, 1e-12);
  EXPECT_NEAR(metrics.at("nll_loss"), -c0 - c1, 1e-12);
}

// Where exp overflows.
TEST(Objective, FarFromEachOther) {
  Made made;
  made.scores.sums = torch::tensor({-1.0, -1.0, -5e4, -5e4}, torch::kFloat32);
  const double loss = made.loss({Kind::po, 2, 0.5});
  EXPECT_TRUE(std::isfinite(loss));
  EXPECT_GT(loss, 1e4);
}

TorchBatch golden_pair(const Case& c) {
  TorchBatch batch;
  for (const std::string side : {"po/chosen_", "po/rejected_"}) {
    const auto ids = c.golden.i64(side + "input_ids"), labels = c.golden.i64(side + "labels");
    const std::vector<uint8_t> marks = c.pictures({ids.begin(), ids.end()});
    const int rows = int(ids.size());
    batch.step.add(int(batch.step.spans.size()), 0, rows, rows, true, marks);
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    for (size_t i = 0; i < labels.size(); ++i)  // the token that should follow
      batch.labels.push_back(i + 1 < labels.size() ? labels[i + 1] : -100);
    for (int tile = 0; tile < c.tiles("po"); ++tile) batch.tile_of_slot.push_back(tile);
  }
  batch.pairs = {{0, 1}};
  batch.pixels =
      torch::tensor(c.pixels("po")).view(c.golden.shape("po/pixel_values")).to(torch::kFloat64);
  return batch;
}

TorchModel model_of(const Case& c) {
  return load_torch_model(golden::conformance_root() / c.name, golden_settings(c.notes),
                          torch::kFloat64);
}

// The README's tolerances: losses 2e-5; gradients 2e-3 of their norm + 1e-7 of all gradients'.
TEST(PhantomOptimization, LossesPartsAndGradientsAreTheAuthors) {
  for_each_case("po/chosen_input_ids", [](const Case& c) {
    const TorchModel model = model_of(c);
    const TorchBatch batch = golden_pair(c);
    const AnswerScores scores = score_answers(model, batch);
    for (const int side : {0, 1}) {
      const std::string name = side ? "rejected" : "chosen";
      EXPECT_EQ(scores.counts[size_t(side)], c.golden.i64("po/n_" + name)[0]);
      EXPECT_NEAR(scores.sums[side].item<double>(), c.golden.f32("po/logp_" + name)[0],
                  2e-5 * double(scores.counts[size_t(side)]));
    }
    const auto settings = c.notes["po"]["settings"];
    ASSERT_GT(settings.size(), 0u);
    for (size_t j = 0; j < settings.size(); ++j) {
      const std::string at = "po/" + std::to_string(j) + "/";
      SCOPED_TRACE(at);
      const Objective objective =
          objective_of({Kind::po, settings[j]["beta"], settings[j]["gamma"]});
      SideBySide threads(1);
      const StepLoss loss = accumulate(model, objective, {batch}, false, threads);
      EXPECT_NEAR(loss.loss, c.golden.f32(at + "loss")[0], 2e-5);
      EXPECT_NEAR(loss.metrics.at("nll_loss"), c.golden.f32(at + "sft_term")[0], 2e-5);
      EXPECT_NEAR(loss.metrics.at("preference_loss"), c.golden.f32(at + "preference_term")[0],
                  2e-5);
      NamedTensors gradients;
      for (const auto& [name, parameter] : model.parameters)
        if (parameter.grad().defined()) gradients[name] = parameter.grad();
      const NamedTensors stored = as_stored(model, gradients);
      const auto norms = c.golden.f32(at + "grad_norms");
      double all = 0;
      for (const float norm : norms) all += double(norm) * norm;
      all = std::sqrt(all);
      const auto order = c.notes["po"]["grad_norm_order"];
      ASSERT_EQ(order.size(), norms.size());
      size_t compared = 0;
      for (size_t i = 0; i < norms.size(); ++i) {
        const std::string name = order[i];
        const auto it = stored.find(name);
        const double found = it == stored.end() ? 0 : it->second.norm().item<double>();
        EXPECT_NEAR(found, norms[i], 2e-3 * norms[i] + 1e-7 * all) << name;
        if (!c.golden.has(at + "grad/" + name)) continue;
        const torch::Tensor expected = torch::tensor(c.golden.f32(at + "grad/" + name));
        const torch::Tensor difference =
            it == stored.end() ? expected : it->second.reshape(-1) - expected;
        EXPECT_LE(difference.norm().item<double>(), 2e-3 * norms[i] + 1e-7 * all) << name;
        ++compared;
      }
      const bool whole = std::ranges::any_of(
          c.golden.tensors, [&](const auto& item) { return item.first.starts_with(at + "grad/"); });
      EXPECT_EQ(compared > 0, whole);
    }
  });
}

}  // namespace
}  // namespace revenant
