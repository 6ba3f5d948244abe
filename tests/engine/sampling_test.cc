#include "engine/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Sampling, PenaltyCountsATokenOnce) {
  Random random(0);
  const std::vector<float> close = {1, 3, 2};
  for (const std::vector<int>& seen : {std::vector<int>{1}, {1, 1}, {1, 1, 1}})
    EXPECT_EQ(pick({.repetition_penalty = 1.4}, close, seen, random), 1);  // 2.14, not 1.53
}

// What `pick` is meant to do, with everything sorted and nothing left out.
int plain_pick(const Sampling& s, const std::vector<float>& logits, const std::vector<int>& seen,
               Random& random) {
  struct One {
    int id;
    double score;
  };
  std::vector<One> all;
  for (size_t i = 0; i < logits.size(); ++i) all.push_back({int(i), double(logits[i])});
  for (One& one : all)
    if (std::count(seen.begin(), seen.end(), one.id) > 0)
      one.score =
          one.score > 0 ? one.score / s.repetition_penalty : one.score * s.repetition_penalty;
  std::stable_sort(all.begin(), all.end(),
                   [](const One& a, const One& b) { return a.score > b.score; });
  if (s.temperature == 0) return all.front().id;
  if (s.top_k > 0 && size_t(s.top_k) < all.size()) all.resize(size_t(s.top_k));
  const double top = all.front().score;
  for (One& one : all) one.score = std::exp((one.score - top) / s.temperature);
  const auto ids = [](const One& a, const One& b) { return a.id < b.id; };
  const auto total = [&](std::vector<One> some) {
    std::sort(some.begin(), some.end(), ids);
    double sum = 0;
    for (const One& one : some) sum += one.score;
    return sum;
  };
  const double mass = s.top_p * total(all);
  double sum = 0;
  size_t keep = 0;
  while (keep < all.size() && (s.top_p == 1 || keep == 0 || sum < mass)) sum += all[keep++].score;
  all.resize(keep);
  std::erase_if(all, [&](const One& one) { return one.score < s.min_p; });
  std::sort(all.begin(), all.end(), ids);
  double left = random.uniform() * total(all);
  for (const One& one : all)
    if ((left -= one.score) < 0) return one.id;
  return all.back().id;
}

// Levels of few values have many equals, at the cuts too.
TEST(Sampling, EqualsItsPlainTwin) {
  Random random(11);
  for (int round = 0; round < 410; ++round) {
    std::vector<float> levels(size_t(round < 400 ? 1 + random.below(600) : 30000));
    const bool equals = random.below(2) == 0;
    for (float& x : levels) x = equals ? float(random.below(5)) : 3 * float(random.normal());
    std::vector<int> seen;
    for (int i = 0; i < 6; ++i) seen.push_back(int(random.below(levels.size())));
    const auto one_of = [&](auto... values) {
      const double all[] = {double(values)...};
      return all[random.below(sizeof...(values))];
    };
    const Sampling s{.repetition_penalty = one_of(1, 1.3, 0.7),
                     .temperature = one_of(0, 0.5, 1, 3),
                     .top_k = int(one_of(0, 0, 1, 5, 70, 1000)),
                     .top_p = one_of(1, 1, 0.2, 0.9, 0.999),
                     .min_p = one_of(0, 0, 0.05, 1)};
    Random mine{uint64_t(round)}, theirs{uint64_t(round)};
    for (int draw = 0; draw < 20; ++draw)
      ASSERT_EQ(pick(s, levels, seen, mine), plain_pick(s, levels, seen, theirs))
          << round << ": temperature " << s.temperature << " top-k " << s.top_k << " top-p "
          << s.top_p << " min-p " << s.min_p << " penalty " << s.repetition_penalty;
  }
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

TEST(Sampling, BiasesAndMasks) {
  const std::vector<float> levels = {1, 3, 2, 0};
  Random random(0);
  EXPECT_EQ(pick({.bias = {{3, 4}}}, levels, {}, random), 3);
  EXPECT_EQ(pick({.bias = {{1, -100}}}, levels, {}, random), 2);
  const std::vector<uint8_t> allowed = {1, 0, 0, 1}, none(4);
  EXPECT_EQ(pick({}, levels, {}, random, allowed), 0);
  for (int i = 0; i < 50; ++i) {
    const int id = pick({.temperature = 5}, levels, {}, random, allowed);
    EXPECT_TRUE(id == 0 || id == 3) << id;
  }
  EXPECT_THROW(pick({}, levels, {}, random, none), Error);
  EXPECT_THROW(check({.bias = {{-1, 2}}}), Error);
  EXPECT_THROW(check({.bias = {{1, INFINITY}}}), Error);
}

TEST(Sampling, Logprobs) {
  const std::vector<float> levels = {1, 3, 2, 3};
  const auto got = logprobs(levels, 2, 3);
  const double whole = std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0));
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0].first, 2);
  EXPECT_NEAR(got[0].second, 2 - whole, 1e-12);
  EXPECT_EQ(got[1].first, 1);  // among equals the lowest id
  EXPECT_EQ(got[2].first, 3);
  EXPECT_EQ(got[3], got[0]);
  EXPECT_EQ(logprobs(levels, 0, 99).size(), 5u);
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
