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

// No later than when no open beam can become better.
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

// As many have ended as there are beams, and an open one is still better by its mean.
TEST(BeamSearch, GoesOnWhileABetterOneIsOpen) {
  const Probabilities model = [](const Ids& before) -> std::vector<double> {
    if (before.empty()) return {0.4, 0.55, 0.05};
    if (before == Ids{1}) return {0.3, 0.6, 0.1};
    if (before.size() < 4) return {0.05, 0.9, 0.05};
    return {0.9, 0.05, 0.05};
  };
  int steps = 0;
  const Hypothesis best = search({2, 10, {0}, 1}, model, &steps).best();
  EXPECT_EQ(best.ids, (Ids{1, 1, 1, 1, 0}));
  EXPECT_NEAR(best.score, std::log(0.55 * 0.6 * 0.9 * 0.9 * 0.9) / 5, 1e-6);
  EXPECT_GE(steps, 5);
}

// The second stop has rank 2 of 2 beams: it is none of the ended, so the search goes on.
TEST(BeamSearch, AnEndOfLowRankSettlesNothing) {
  const Probabilities model = [](const Ids& before) {
    std::vector<double> p(50, 0.02);
    if (before.empty()) p = {0.4, 0.3, 0.1, 0.2};
    p.resize(50, 1e-9);
    if (!before.empty()) p[0] = p[3] = 1e-12;
    return p;
  };
  int steps = 0;
  EXPECT_EQ(search({2, 6, {0, 3}, 1}, model, &steps).best().ids, Ids{0});
  EXPECT_EQ(steps, 6);
}

// Log-probabilities rounded as the search rounds them, so that equal sums are equal in both.
std::vector<double> logs(const std::vector<double>& p) {
  std::vector<double> all;
  double top = -INFINITY, sum = 0;
  for (const double x : p) top = std::max(top, all.emplace_back(float(std::log(x))));
  for (const double x : all) sum += std::exp(x - top);
  for (double& x : all) x -= top + std::log(sum);
  return all;
}

// transformers 4.37, step by step: BeamSearchScorer.process, BeamHypotheses.add and is_done,
// finalize; written anew.
Hypothesis released(const BeamOptions& o, const Probabilities& model) {
  struct Beam {
    Ids ids;
    double sum;
  };
  std::vector<Beam> beams = {{{}, 0}};
  std::vector<Hypothesis> ended;
  const size_t n = size_t(o.beams);
  const auto worst = [&] {
    size_t at = 0;
    for (size_t i = 1; i < ended.size(); ++i)
      if (ended[i].score < ended[at].score) at = i;
    return at;
  };
  const auto add = [&](const Ids& ids, double sum) {
    const double score = sum / double(ids.size());
    if (ended.size() == n && score <= ended[worst()].score) return;
    ended.push_back({ids, score});
    if (ended.size() > n) ended.erase(ended.begin() + long(worst()));
  };
  bool done = false;
  for (int length = 1; length <= o.max_new_tokens && !done; ++length) {
    std::vector<Beam> all;
    for (const Beam& beam : beams) {
      const auto next = logs(model(beam.ids));
      for (int id = 0; id < int(next.size()); ++id) {
        const double log = next[size_t(id)];
        const bool seen = std::count(beam.ids.begin(), beam.ids.end(), id) > 0;
        all.push_back({beam.ids, beam.sum + log + (seen ? log * (o.repetition_penalty - 1) : 0)});
        all.back().ids.push_back(id);
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Beam& a, const Beam& b) { return a.sum > b.sum; });
    beams.clear();
    for (size_t rank = 0; rank < all.size() && beams.size() < n; ++rank)
      if (!o.stop_ids.contains(all[rank].ids.back()))
        beams.push_back(all[rank]);
      else if (rank < n)
        add(all[rank].ids, all[rank].sum);
    done = ended.size() == n && ended[worst()].score >= all.front().sum / length;
  }
  if (!done)
    for (const Beam& beam : beams) add(beam.ids, beam.sum);
  std::stable_sort(ended.begin(), ended.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score < b.score; });
  return ended.back();
}

// Few levels of probability: equal sums and equal hypotheses are frequent.
TEST(BeamSearch, EqualsTheReleasedSearch) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const Probabilities model = [&](const Ids& before) {
      uint64_t key = seed;
      for (const int id : before) key = key * 31 + uint64_t(id) + 1;
      Random random(key);
      std::vector<double> p = {0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125};
      if (seed % 3 == 0) p = {0.25, 0.25, 0.125, 0.125, 0.125, 0.125};
      random.shuffle(p);
      return p;
    };
    const BeamOptions options{int(1 + seed % 5), int(1 + seed % 7),
                              seed % 2 ? std::set{0} : std::set{0, 3}, seed % 4 ? 1.0 : 1.25};
    const Hypothesis expected = released(options, model), found = search(options, model).best();
    EXPECT_EQ(found.ids, expected.ids) << seed;
    EXPECT_NEAR(found.score, expected.score, 1e-6) << seed;
  }
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
  int all = 0, times = 0;
  asked.options.go_on = [&] { return ++all > 0; };
  const int tokens = int(generate(asked).ids.size());
  ASSERT_GT(tokens, 4);
  session.rewind(0);
  asked.options.go_on = [&] {
    return ++times < all - tokens + 3;
  };  // the prompt asks, then each step
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
