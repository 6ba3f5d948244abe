#include "engine/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "base/error.h"

namespace revenant {
namespace {

const std::vector<float> logits = {1, 3, 2, 3, -1};

std::map<int, double> shares(const Sampling& sampling, const std::vector<int>& seen = {}) {
  Random random(5);
  std::map<int, double> counts;
  for (int i = 0; i < 20000; ++i) counts[pick(sampling, logits, seen, random)] += 1 / 20000.0;
  return counts;
}

TEST(Sampling, GreedyTakesTheFirstOfEquals) {
  Random random(0);
  EXPECT_EQ(pick({}, logits, {}, random), 1);
}

TEST(Sampling, FollowsTheSoftmax) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) / 0.7);
  const auto counts = shares({.temperature = 0.7});
  for (const auto& [id, share] : counts)
    EXPECT_NEAR(share, std::exp(double(logits[size_t(id)]) / 0.7) / sum, 0.02) << id;
  EXPECT_EQ(counts.size(), 5u);
}

TEST(Sampling, CutsAsAsked) {
  EXPECT_EQ(shares({.temperature = 1, .top_k = 3}).size(), 3u);
  EXPECT_EQ(shares({.temperature = 1, .top_p = 0.5}).size(), 2u);  // 0.40 alone is not enough
  EXPECT_EQ(shares({.temperature = 1, .top_p = 0.39}).size(), 1u);
  EXPECT_EQ(shares({.temperature = 1, .min_p = 0.3}).size(), 3u);  // e^-1 stays, e^-2 goes
  EXPECT_EQ(shares({.temperature = 1, .min_p = 1}).size(), 2u);    // equals of the best stay
}

TEST(Sampling, PenaltyWorksOnBothSigns) {
  Random random(0);
  EXPECT_EQ(pick({.repetition_penalty = 2}, logits, std::vector<int>{1, 1}, random), 3);
  const std::vector<float> negative = {-1, -1.5f};
  EXPECT_EQ(pick({.repetition_penalty = 2}, negative, std::vector<int>{0}, random), 1);
}

TEST(Sampling, TheSeedDecides) {
  const auto run = [](uint64_t seed) {
    Random random(seed);
    std::vector<int> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(pick({.temperature = 1}, logits, {}, random));
    return ids;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(Sampling, RefusesWhatMeansNothing) {
  EXPECT_THROW(check({.temperature = -1}), Error);
  EXPECT_THROW(check({.temperature = NAN}), Error);
  EXPECT_THROW(check({.top_p = 0}), Error);
  EXPECT_THROW(check({.min_p = 2}), Error);
  EXPECT_THROW(check({.repetition_penalty = 0}), Error);
  EXPECT_NO_THROW(check({}));
  Random random(0);
  EXPECT_THROW(pick({}, std::vector<float>{1, NAN}, {}, random), Error);
}

}  // namespace
}  // namespace revenant
