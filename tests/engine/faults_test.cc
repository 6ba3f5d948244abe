// A fault planted from outside the product: the goldens of beam search must notice it.
#include "engine/beam.h"
#include "support/cases.h"

namespace revenant {
namespace {

enum class Caches { follow, stay };

// The search with one session a beam; with `stay` a beam that goes on from another keeps its own
// cache.
double score_misfit(const Case& c, const std::string& group, int beams, Caches caches) {
  const Model model(golden::conformance_root() / c.name,
                    {golden_settings(c.notes), 1, Format::f32});
  Session first(model);
  const auto& ends = c.config().eos_tokens;
  const int length = int(c.golden.shape(group + "tokens")[1]);
  BeamSearch search({beams, length, {ends.begin(), ends.end()}, 1});
  search.take(first.feed(c.ids("prefill/input_ids"), see(model.native(), c.pixels("vision"),
                                                         c.tiles("vision"), c.side("vision"))));
  std::vector<Session> sessions;
  for (int b = 0; b < beams; ++b) sessions.push_back(first.fork());
  while (!search.done()) {
    std::vector<Session> next;
    std::vector<Session*> lanes;
    Ids ids;
    for (size_t b = 0; b < search.open().size(); ++b) {
      const auto& beam = search.open()[b];
      next.push_back(sessions[caches == Caches::follow ? size_t(beam.parent) : b].fork());
      ids.push_back(beam.ids.back());
    }
    sessions = std::move(next);
    for (Session& session : sessions) lanes.push_back(&session);
    search.take(Session::step(lanes, ids));
  }
  const Hypothesis best = search.best();
  if (best.ids != c.ids(group + "tokens")) return INFINITY;
  const float score = float(best.score);
  return misfit(&score, c.golden.f32(group + "score"));
}

TEST(Faults, BeamsNotReorderedWithTheirCaches) {
  for (const int beams : {3, 5}) {
    const std::string group = "beam" + std::to_string(beams) + "/";
    for_each_case(group + "tokens", [&](const Case& c) {
      EXPECT_LE(score_misfit(c, group, beams, Caches::follow), 1);
      EXPECT_GT(score_misfit(c, group, beams, Caches::stay), 10);
    });
  }
}

}  // namespace
}  // namespace revenant
