// Objectives against their formulas; `revenant conformance` holds Phantom Optimization to the
// authors' numbers.
#include "train/objective.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace revenant
