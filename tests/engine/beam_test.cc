// The rules of the search on tables of probabilities, and its sessions on a small model.
#include "engine/beam.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "engine/generate.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Probabilities = std::function<std::vector<double>(const Ids& before)>;

Tensor logits_of(const std::vector<Ids>& rows, const Probabilities& model) {
  std::vector<float> values;
  for (const Ids& before : rows)
    for (const double p : model(before)) values.push_back(float(std::log(p)));
  return Tensor::from(values.data(), int(rows.size()), int(values.size() / rows.size()));
}

BeamSearch search(const BeamOptions& options, const Probabilities& model, int* steps = nullptr) {
  BeamSearch search(options);
  int count = 0;
  for (; !search.done(); ++count) {
    std::vector<Ids> rows;
    for (const auto& beam : search.open()) rows.push_back(beam.ids);
    search.take(logits_of(rows, model));
  }
  if (steps) *steps = count;
  return search;
}

// Every answer of at most `length` tokens: the best by mean log-probability.
Hypothesis best_of_all(const Probabilities& model, int stop, int length, const Ids& before = {},
                       double sum = 0) {
  Hypothesis best{{}, -INFINITY};
  const std::vector<double> next = model(before);
  for (int id = 0; id < int(next.size()); ++id) {
    Ids ids = before;
    ids.push_back(id);
    const double more = sum + std::log(next[size_t(id)]);
    const bool ended = id == stop || int(ids.size()) == length;
    const Hypothesis one = ended ? Hypothesis{ids, more / double(ids.size())}
                                 : best_of_all(model, stop, length, ids, more);
    if (one.score > best.score) best = one;
  }
  return best;
}

TEST(BeamSearch, WithBeamsForAllItFindsTheBest) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Probabilities model = [&](const Ids& before) {
      uint64_t key = seed;
      for (const int id : before) key = key * 31 + uint64_t(id) + 1;
      Random random(key);
      std::vector<double> p(4);
      double sum = 0;
      for (double& x : p) sum += x = 0.02 + random.uniform();
      for (double& x : p) x /= sum;
      return p;
    };
    const Hypothesis expected = best_of_all(model, 0, 4);
    const Hypothesis found = search({300, 4, {0}, 1}, model).best();
    EXPECT_EQ(found.ids, expected.ids) << seed;
    EXPECT_NEAR(found.score, expected.score, 1e-6);
  }
}

// Not when the first ends, and no later than when no open beam can become better.
TEST(BeamSearch, StopsWhenNothingBetterIsOpen) {
  const Probabilities model = [](const Ids& before) -> std::vector<double> {
    if (before.empty()) return {0.6, 0.3, 0.1};
    if (before.back() == 1) return {0.5, 0.3, 0.2};
    return {0.98, 0.01, 0.01};
  };
  int steps = 0;
  const Hypothesis best = search({2, 10, {0}, 1}, model, &steps).best();
  EXPECT_EQ(steps, 2);
  EXPECT_EQ(best.ids, Ids{0});
  EXPECT_NEAR(best.score, std::log(0.6), 1e-6);
}

// What ends beyond the best n candidates does not count, whatever comes of the others.
TEST(BeamSearch, EndsOfLowRankDoNotCount) {
  const Probabilities model = [](const Ids& before) {
    std::vector<double> p(50, before.empty() ? 1e-9 : 0.02);
    if (before.empty()) p[0] = 0.2, p[1] = 0.5, p[2] = 0.3;
    return p;
  };
  EXPECT_EQ(search({2, 2, {0}, 1}, model).best().ids.size(), 2u);
  EXPECT_EQ(search({3, 2, {0}, 1}, model).best().ids, Ids{0});
}

TEST(BeamSearch, RepetitionPenaltyTurnsItAway) {
  const Probabilities model = [](const Ids&) -> std::vector<double> { return {0.01, 0.6, 0.39}; };
  EXPECT_EQ(search({2, 4, {0}, 1}, model).best().ids, (Ids{1, 1, 1, 1}));
  const Ids varied = search({2, 2, {0}, 3}, model).best().ids;
  EXPECT_NE(varied[0], varied[1]);
}

const Model& model(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Model>> open;
  auto& m = open[name];
  if (!m)
    m = std::make_unique<Model>(Path(REVENANT_SOURCE_DIR) / "tests/conformance/data" / name,
                                ModelOptions{{}, 2});
  return *m;
}

Request request(Session& session, int i) {
  GenerateOptions options;
  options.beams = i;
  options.max_new_tokens = 6 + i;
  options.stop_ids = {7};
  Ids ids;
  for (int t = 0; t < 5 + 4 * i; ++t) ids.push_back((t * 37 + i * 11) % 250);
  return {&session, ids, {}, options};
}

TEST(Beams, ABatchEqualsEachAlone) {
  for (const char* name : {"phantom-7b", "trol-3.8b"}) {
    SCOPED_TRACE(name);
    std::deque<Session> sessions;
    std::vector<Request> requests;
    std::vector<Ids> alone;
    for (int i = 0; i < 5; ++i) {
      requests.push_back(request(sessions.emplace_back(model(name)), i));
      Session session(model(name));
      alone.push_back(generate(request(session, i)).ids);
    }
    const auto together = generate(requests);
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(together[i].ids, alone[i]) << i;
  }
}

TEST(Beams, TheSessionComesBackWithItsPrompt) {
  for (const char* name : {"phantom-7b", "trol-3.8b"}) {
    SCOPED_TRACE(name);
    Session session(model(name)), fresh(model(name));
    const Request asked = request(session, 3);
    generate(asked);
    EXPECT_EQ(session.ids(), asked.ids);
    fresh.feed(asked.ids);
    const Tensor a = session.step(9), b = fresh.step(9);
    EXPECT_TRUE(std::equal(a.data(), a.data() + a.size(), b.data()));
  }
}

TEST(Beams, TheCallerMayEndTheSearch) {
  Session session(model("phantom-7b"));
  Request asked = request(session, 3);
  int steps = 0;
  asked.options.go_on = [&] { return ++steps < 3; };
  const Generated made = generate(asked);
  EXPECT_EQ(made.ids.size(), 3u);
  EXPECT_EQ(made.finish_reason, Finish::cancelled);
}

TEST(Beams, AreNotSampled) {
  Session session(model("phantom-7b"));
  Request asked = request(session, 3);
  asked.options.sampling.temperature = 1;
  EXPECT_THROW(generate(asked), Error);
}

}  // namespace
}  // namespace revenant
