// revenant calibrate, and serve with what it wrote.
#include "cli/fixture.h"
#include "engine/calibration.h"

namespace revenant {
namespace {

// Every second answer is the model's own.
class Calibrate : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    std::string lines;
    for (int i = 0; i < 30; ++i) {
      const std::string question = "what is number " + std::to_string(i) + "?";
      const std::string said =
          run({"run", "-m", model_, "-n", "8", "--image", picture_, "-p", question}).out;
      lines += json{{"question", "<image>\n" + question},
                    {"answer", i % 2 ? said.substr(0, said.size() - 1) : "nothing"},
                    {"image", "picture.png"}}
                   .dump() +
               "\n";
    }
    write_file(place_ / "rows.jsonl", lines);
  }
  Words words(const Words& more = {}) const {
    Words all = {"calibrate",
                 "-m",
                 model_,
                 "--data",
                 (place_ / "rows.jsonl").string(),
                 "-o",
                 file_().string(),
                 "-n",
                 "8",
                 "--examples",
                 "20",
                 "--risk",
                 "0.4"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static Words changed(Words words, const char* option, const std::string& value) {
    *(std::ranges::find(words, option) + 1) = value;
    return words;
  }
  Path file_() const { return place_ / "made.json"; }
};

TEST_F(Calibrate, WritesWhatItTells) {
  const Outcome got = run(words({"--others", "10", "--json"}));
  ASSERT_EQ(got.code, 0) << got.err;
  const json told = json::parse(got.out);
  const Calibration made = read_calibration(file_());
  EXPECT_EQ(told["threshold"], made.threshold);
  EXPECT_EQ(told["by"], "probability");
  EXPECT_EQ(made.risk, 0.4);
  EXPECT_EQ(made.examples.questions, 20);
  EXPECT_EQ(told["examples"]["answered"], made.examples.answered);
  EXPECT_LE(made.examples.wrong + 1, 0.4 * 21);
  EXPECT_EQ(told["others"]["questions"], 10);
  EXPECT_EQ(told["curves"]["grounding"]["surest"].size(), 5u);
  EXPECT_EQ(told["curves"]["probability"]["surest"][0]["answered"], 10);
  const Outcome table = run(words());
  EXPECT_NE(table.out.find("at most 40 % are answered wrongly"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("by grounding: AUROC"), std::string::npos) << table.out;
}

TEST_F(Calibrate, GoesOnWithItsAnswers) {
  const Outcome whole = run(words({"--json"}));
  const Words kept = words({"--json", "--answers", (place_ / "answers.jsonl").string()});
  EXPECT_EQ(run(kept).out, whole.out);
  const std::string lines = read_file(place_ / "answers.jsonl");
  EXPECT_NE(lines.find("log_prob_grey"), std::string::npos);
  write_file(place_ / "answers.jsonl", lines.substr(0, lines.size() / 2));
  EXPECT_EQ(run(kept).out, whole.out);
  EXPECT_EQ(read_file(place_ / "answers.jsonl").size(), lines.size());
  EXPECT_NE(run(changed(kept, "-n", "5")).err.find("max_new_tokens: expected 5, as now, found 8"),
            std::string::npos);
}

TEST_F(Calibrate, WhatCannotBe) {
  expect_failure(words({"--others", "11"}), "rows.jsonl: expected 31 rows, found 30");
  expect_failure(changed(words(), "--risk", "0.02"),
                 "examples: expected at least 49 for a risk of 0.02, found 20");
  const std::string text = "{\"question\": \"what?\", \"answer\": \"x\"}\n";
  write_file(place_ / "text.jsonl", text + text + text);
  const Outcome none = run(changed(changed(words({"--json"}), "--examples", "3"), "--data",
                                   (place_ / "text.jsonl").string()));
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.err.find("grounding: expected a picture, found none"), std::string::npos)
      << none.err;
}

// Of other weights: the server does not begin.
TEST_F(Calibrate, OfAnotherModelIsRefused) {
  ASSERT_EQ(run(words()).code, 0);
  write_random_phantom(place_ / "other", 4);
  const auto serve = [&](const std::string& model, const std::string& abstain) {
    return run({"serve", "-m", model, "--port", "0", "--abstain", abstain});
  };
  const Outcome other = serve((place_ / "other").string(), file_().string());
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.err.find("made.json: expected the calibration of"), std::string::npos)
      << other.err;
  const Outcome nobody = serve(model_, "other=" + file_().string());
  EXPECT_NE(nobody.err.find("expected the name of a model of this server, found other"),
            std::string::npos)
      << nobody.err;
  EXPECT_NE(serve(model_, (place_ / "none.json").string()).err.find("none.json"),
            std::string::npos);
}

}  // namespace
}  // namespace revenant
