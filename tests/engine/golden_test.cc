// Generation against the authors' tokens and logits, every case that the folder has.
#include <deque>

#include "engine/generate.h"
#include "support/cases.h"

namespace revenant {
namespace {

const Model& model_of(const Case& c) {
  static std::map<std::string, std::unique_ptr<Model>> open;
  auto& model = open[c.name];
  if (!model)
    model = std::make_unique<Model>(golden::conformance_root() / c.name,
                                    ModelOptions{golden_settings(c.notes), 2, Format::f32});
  return *model;
}

Tensor features_of(const Case& c, const std::string& group) {
  return see(model_of(c).native(), c.pixels(group), c.tiles(group), c.side(group));
}

int greedy(const Tensor& logits, int row) {
  return int(std::max_element(logits.row(row), logits.row(row) + logits.width) - logits.row(row));
}

// Generates as many tokens as the goldens have; both tokens and logits must agree. `row` counts in
// the golden tensors.
void expect_generation(const Case& c, const Ids& prompt, const Tensor& features,
                       const std::string& tokens, const std::string& values, size_t row = 0) {
  const size_t steps = size_t(c.golden.shape(tokens)[1]), vocab = size_t(c.config().vocab);
  const auto expected_tokens = c.golden.i64(tokens);
  const auto expected = c.golden.f32(values);
  Session session(model_of(c));
  Tensor logits = session.feed(prompt, features);
  for (size_t t = 0; t < steps; ++t) {
    const int id = greedy(logits, 0);
    EXPECT_LE(misfit(logits.data(), expected, (row * steps + t) * vocab, vocab), 1)
        << values << " row " << row << " step " << t;
    ASSERT_EQ(id, expected_tokens[row * steps + t]) << tokens << " row " << row << " step " << t;
    if (t + 1 < steps) logits = session.step(id);
  }
}

TEST(GoldenGeneration, WithPictures) {
  for_each_case("gen/tokens", [](const Case& c) {
    expect_generation(c, c.ids("prefill/input_ids"), features_of(c, "vision"), "gen/tokens",
                      "gen/logits");
  });
}

// The shipped default, and bf16: prompt and steps against the authors' f32 logits. How far rounding
// may carry them: tests/native/cache_test.cc, whose bound is for as many layers.
TEST(GoldenGeneration, UnderSixteenBitCaches) {
  for_each_case("gen/logits", [](const Case& c) {
    const auto expected = c.golden.f32("gen/logits");
    const Ids told = c.ids("gen/tokens");
    double largest = 0;
    for (const float x : expected) largest = std::max(largest, std::abs(double(x)));
    for (const auto& [type, u] :
         {std::pair{Format::f16, 0x1p-11}, std::pair{Format::bf16, 0x1p-8}}) {
      const Model model(golden::conformance_root() / c.name, {golden_settings(c.notes), 2, type});
      Session session(model);
      Tensor logits = session.feed(c.ids("prefill/input_ids"), features_of(c, "vision"));
      double worst = 0;
      for (size_t t = 0; t < told.size(); ++t) {
        for (int i = 0; i < logits.width; ++i)
          worst = std::max(worst, std::abs(double(logits.data()[i]) -
                                           expected[t * size_t(logits.width) + size_t(i)]));
        if (t + 1 < told.size()) logits = session.step(told[t]);
      }
      EXPECT_LE(worst / largest, 12 * u) << c.name << " " << worst / largest / u;
      RecordProperty(c.name + (type == Format::f16 ? " f16" : " bf16"),
                     std::to_string(worst / largest / u));
    }
  });
}

TEST(GoldenGeneration, TextOnly) {
  for_each_case("text/gen_tokens", [](const Case& c) {
    expect_generation(c, c.ids("text/input_ids"), {}, "text/gen_tokens", "text/gen_logits");
  });
}

TEST(GoldenGeneration, StopToken) {
  for_each_case("gen_stop/tokens", [](const Case& c) {
    Session session(model_of(c));
    GenerateOptions options;
    options.stop_ids = c.ids("gen_stop/stop_id");
    const Generated made =
        generate({&session, c.ids("prefill/input_ids"), features_of(c, "vision"), options});
    EXPECT_EQ(made.ids, c.ids("gen_stop/tokens"));
    EXPECT_EQ(made.finish_reason, Finish::stop);
  });
}

// One pass everywhere; the goldens have the gate forced to 0.
TEST(GoldenGeneration, TraverseOff) {
  for_each_case("prefill/layer.0.pass2", [](const Case& c) {
    std::vector<std::string> settings = golden_settings(c.notes);
    settings.push_back("revenant.trol_traverse=off");
    const Model model(golden::conformance_root() / c.name, {settings, 2});
    const Ids ids = c.ids("prefill/input_ids");
    const Tensor features = features_of(c, "vision");
    Sequence sequence(model.config());
    Sequence* const sequences[] = {&sequence};
    Step step;
    step.add(0, 0, int(ids.size()), int(ids.size()), true, c.pictures(ids));
    const Tensor x = forward(model.native(), step, sequences, ids, &features);
    EXPECT_TRUE(matches(logits(model.native(), x), c.golden, "off/logits"));
  });
}

struct Batch {
  std::deque<Session> sessions;
  std::vector<Request> requests;
};

Batch batch_of(const Case& c, const GenerateOptions& options) {
  Batch batch;
  const Tensor all = features_of(c, "batch");
  int used = 0;
  for (const Prompt& prompt : c.batch()) {
    const auto marks = c.pictures(prompt.ids);
    const int count = int(std::count(marks.begin(), marks.end(), 1));
    batch.requests.push_back({&batch.sessions.emplace_back(model_of(c)), prompt.ids,
                              count ? all.slice(used, count) : Tensor(), options});
    used += count;
  }
  return batch;
}

// The rows together, each by its own rules. Where the reference's rows disturb one another, the
// goldens hold the row run alone ("batch_row.1"), which is what we compute.
TEST(GoldenGeneration, Batch) {
  for_each_case("batch/gen_tokens", [](const Case& c) {
    GenerateOptions options;
    options.max_new_tokens = int(c.golden.shape("batch/gen_tokens")[1]);
    Batch batch = batch_of(c, options);
    const auto made = generate(batch.requests);
    const Ids together = c.ids("batch/gen_tokens");
    for (size_t r = 0; r < made.size(); ++r) {
      const std::string alone = "batch_row." + std::to_string(r) + "/gen_";
      const size_t steps = size_t(options.max_new_tokens);
      const bool own = c.golden.has(alone + "tokens");
      const Ids expected =
          own ? c.ids(alone + "tokens")
              : Ids(together.begin() + long(r * steps), together.begin() + long((r + 1) * steps));
      EXPECT_EQ(made[r].ids, expected) << "row " << r;
      expect_generation(c, batch.requests[r].ids, batch.requests[r].features,
                        own ? alone + "tokens" : "batch/gen_tokens",
                        own ? alone + "logits" : "batch/gen_logits", own ? 0 : r);
    }
  });
}

TEST(GoldenGeneration, BatchStopsRowByRow) {
  for_each_case("batch_stop/tokens", [](const Case& c) {
    GenerateOptions options;
    options.stop_ids = c.ids("batch_stop/stop_id");
    options.max_new_tokens = int(c.golden.shape("batch_stop/tokens")[1]);
    Batch batch = batch_of(c, options);
    Ids all;
    for (const Generated& made : generate(batch.requests)) {
      all.insert(all.end(), made.ids.begin(), made.ids.end());
      all.resize(all.size() + size_t(options.max_new_tokens) - made.ids.size(),
                 options.stop_ids.front());
    }
    EXPECT_EQ(all, c.ids("batch_stop/tokens"));
  });
}

// Ten new tokens; no case ends before.
void expect_beams(const Case& c, int beams) {
  const std::string group = "beam" + std::to_string(beams) + "/";
  const Ids expected = c.ids(group + "tokens");
  GenerateOptions options;
  options.beams = beams;
  options.max_new_tokens = int(expected.size());
  options.stop_ids = c.config().eos_tokens;
  Session session(model_of(c));
  const Ids prompt = c.ids("prefill/input_ids");
  const Generated made = generate({&session, prompt, features_of(c, "vision"), options});
  EXPECT_EQ(made.ids, expected);
  const float score = float(made.score);
  EXPECT_LE(misfit(&score, c.golden.f32(group + "score")), 1);
  EXPECT_EQ(session.ids(), prompt);  // given back as it was
}

TEST(GoldenGeneration, ThreeBeams) {
  for_each_case("beam3/tokens", [](const Case& c) { expect_beams(c, 3); });
}

TEST(GoldenGeneration, FiveBeams) {
  for_each_case("beam5/tokens", [](const Case& c) { expect_beams(c, 5); });
}

}  // namespace
}  // namespace revenant
