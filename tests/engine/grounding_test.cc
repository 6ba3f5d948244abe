// What an answer owes to its pictures, and when it is sure enough.
#include "engine/grounding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "engine/calibration.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

class Grounded : public testing::Test {
 protected:
  Grounded() {
    write_random_phantom(place_.path, 3);
    model_.emplace(place_.path, ModelOptions{{}, 2});
    const Image picture = blank_image(60, 60, 90);
    pictures_ = model_->encode(std::span(&picture, 1));
    const Speech& speech = model_->speech();
    const Turn turn{"what is this?", 1, ""};
    const EncodedPrompt prompt =
        encode_prompt(speech.tokenizer, speech.rule, chat_pieces(speech.rule, std::span(&turn, 1)),
                      pictures_.tokens);
    ids_.assign(prompt.ids.begin(), prompt.ids.end());
  }
  Request request(int tokens) const {
    Request made{.ids = ids_, .features = pictures_.features};
    made.options.max_new_tokens = tokens;
    return made;
  }
  Generated made(Request request) const {
    Session session(*model_);
    request.session = &session;
    return generate(request);
  }

  const Temporary place_;
  std::optional<Model> model_;
  Pictures pictures_;
  std::vector<int> ids_;
};

TEST_F(Grounded, AnAnswerSaidAgainIsAsLikely) {
  Request first = request(9);
  const auto likely = watch_log_prob(first.options);
  const Generated answer = made(first);
  ASSERT_EQ(answer.ids.size(), 9u);
  Request again = said_again(request(1), answer.ids);
  const auto again_likely = watch_log_prob(again.options);
  EXPECT_EQ(made(again).ids, answer.ids);
  EXPECT_EQ(*likely, *again_likely);
  EXPECT_LT(*likely, 0);
}

// Whatever is said: token by token, by hand.
TEST_F(Grounded, OfAnyWordsOverOtherPictures) {
  const std::vector<int> words = {7, 200, 7, 12};
  const Image grey = grey_picture(60, 60);
  EXPECT_EQ(std::set(grey.rgb.begin(), grey.rgb.end()), std::set<uint8_t>{128});
  const Tensor features = model_->encode(std::span(&grey, 1)).features;
  Request said = said_again(Request{.ids = ids_, .features = features}, words);
  const auto likely = watch_log_prob(said.options);
  EXPECT_EQ(made(said).ids, words);
  Session session(*model_);
  double sum = 0;
  Tensor logits = session.prompt(ids_, features);
  for (const int word : words) {
    sum += logprobs({logits.data(), size_t(logits.width)}, word, 0)[0].second;
    logits = session.step(word);
  }
  EXPECT_EQ(*likely, sum);
}

TEST_F(Grounded, WhatIsSaidComesFirst) {
  Request free = request(6);
  const Generated own = made(free);
  Request begun = request(6);
  begun.options.said = {own.ids[0] == 5 ? 6 : 5};
  const Generated other = made(begun);
  ASSERT_EQ(other.ids.size(), 6u);
  EXPECT_EQ(other.ids[0], begun.options.said[0]);
  begun.options.said = {own.ids[0], own.ids[1]};
  EXPECT_EQ(made(begun).ids, own.ids);
}

TEST_F(Grounded, WatchersDoNotReplaceEachOther) {
  Request first = request(4);
  int told = 0;
  first.options.on_choice = [&](int, std::span<const float>) { ++told; };
  const auto likely = watch_log_prob(first.options);
  made(first);
  EXPECT_EQ(told, 4);
  EXPECT_LT(*likely, 0);
}

TEST_F(Grounded, WhatMeansNothingIsRefused) {
  Request unknown = request(2);
  unknown.options.said = {1 << 20};
  EXPECT_THROW(made(unknown), Error);
  Request beams = request(2);
  beams.options.said = {1};
  beams.options.beams = 2;
  EXPECT_THROW(made(beams), Error);
}

std::vector<Scored> examples(std::initializer_list<std::pair<double, bool>> all) {
  std::vector<Scored> made;
  for (const auto& [score, right] : all) made.push_back({score, right});
  return made;
}

// 9 examples and a risk of 0.2: (wrong + 1) / 10 may be 0.2.
TEST(Calibrated, TheLowestThresholdThatKeepsTheRisk) {
  const auto some = examples({{9, true},
                              {8, true},
                              {7, false},
                              {6, true},
                              {5, true},
                              {4, false},
                              {3, true},
                              {2, true},
                              {1, false}});
  EXPECT_EQ(threshold_for(some, 0.2), 5);
  EXPECT_EQ(threshold_for(some, 0.3), 2);
  EXPECT_EQ(threshold_for(some, 0.4), 1);
  EXPECT_EQ(threshold_for(some, 0.1), 8);
  EXPECT_THROW(threshold_for(some, 0.09), Error);  // 1 / 10 alone is more
}

// Those of one score are answered together or not at all.
TEST(Calibrated, EqualScoresStayTogether) {
  const auto some = examples({{9, true},
                              {5, true},
                              {5, false},
                              {5, false},
                              {4, true},
                              {4, true},
                              {4, true},
                              {4, true},
                              {4, true}});
  EXPECT_EQ(threshold_for(some, 0.2), 9);
  EXPECT_EQ(threshold_for(some, 0.3), 4);
  const auto wrong = examples({{9, false}, {9, false}, {3, true}});
  EXPECT_THROW(threshold_for(wrong, 0.5), Error);  // nothing could be answered
}

// What it promises: the chance that the next question is answered wrongly, over many sets of
// examples. The score says nothing here, every second answer is wrong: the chance is half of what
// is answered.
TEST(Calibrated, TheRiskIsKeptOnAverage) {
  Random random(5);
  double sum = 0;
  constexpr int sets = 4000;
  for (int i = 0; i < sets; ++i) {
    std::vector<Scored> some(50);
    for (Scored& one : some) one = {random.uniform(), random.below(2) == 0};
    sum += 0.5 * (1 - threshold_for(some, 0.1));
  }
  EXPECT_LT(sum / sets, 0.1);
  EXPECT_GT(sum / sets, 0.07);  // and not for nothing
}

TEST(Calibrated, CountsWhatIsAnswered) {
  const auto some = examples({{1, false}, {3, true}, {2, true}, {2, false}, {5, true}});
  const Coverage at_two = coverage(some, 2);
  EXPECT_EQ(at_two.questions, 5);
  EXPECT_EQ(at_two.answered, 4);
  EXPECT_EQ(at_two.wrong, 1);
  const Coverage surest = coverage_at(some, 0.4);
  EXPECT_EQ(surest.answered, 2);
  EXPECT_EQ(surest.wrong, 0);
  EXPECT_EQ(coverage_at(some, 1).wrong, 2);
  // Of 3 x 2 pairs one is tied, all others are in order.
  EXPECT_DOUBLE_EQ(separation(some), 5.5 / 6);
  EXPECT_EQ(separation(examples({{1, true}})), 0.5);
}

TEST(Calibrated, ByEitherScore) {
  const Grounding answer{-2, -5, 3};
  EXPECT_EQ(score_of(answer, Score::probability), -2);
  EXPECT_EQ(score_of(answer, Score::grounding), 3);
}

TEST(Calibrated, ThereAndBack) {
  const Temporary place;
  const Path file = place.path / "c.json";
  const Calibration some{"abc", Score::grounding, -0.123456789012345678, 0.05, {200, 150, 7}};
  write_calibration(file, some);
  const Calibration read = read_calibration(file);
  EXPECT_EQ(read.model, "abc");
  EXPECT_EQ(read.by, Score::grounding);
  EXPECT_EQ(read.threshold, some.threshold);
  EXPECT_EQ(read.risk, 0.05);
  EXPECT_EQ(read.examples.questions, 200);
  EXPECT_EQ(read.examples.answered, 150);
  EXPECT_EQ(read.examples.wrong, 7);
}

TEST(Calibrated, WhatIsNoneIsToldByItsField) {
  const Temporary place;
  const Path file = place.path / "c.json";
  const std::string whole =
      R"({"revenant": "calibration 1", "model": "m", "by": "probability", "threshold": -1,)"
      R"( "risk": 0.1, "examples": 9, "answered": 8, "wrong": 0})";
  write_file(file, whole);
  EXPECT_EQ(read_calibration(file).by, Score::probability);
  const auto fails = [&](const std::string& from, const std::string& to, const char* field) {
    std::string text = whole;
    text.replace(text.find(from), from.size(), to);
    write_file(file, text);
    try {
      read_calibration(file);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(field), std::string::npos) << error.what();
    }
  };
  fails("calibration 1", "calibration 2", "revenant");
  fails("\"m\"", "4", "model");
  fails("probability", "chance", "by");
  fails("-1", "\"-1\"", "threshold");
  fails("0.1", "1.1", "risk");
  fails("9", "-9", "examples");
  fails("\"answered\": 8, ", "", "answered");
  fails("\"wrong\": 0", "\"wrong\": 0.5", "wrong");
  write_file(file, "[]");
  EXPECT_THROW(read_calibration(file), Error);
}

}  // namespace
}  // namespace revenant
