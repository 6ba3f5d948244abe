// Scores, intervals and tables on fixed predictions; predictions on a small random model.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/report.h"
#include "eval/score.h"
#include "support/random_checkpoint.h"
#include "text/letter_case.h"

namespace revenant {
namespace {

TEST(Score, NormalisesCaseSpaceAndOneFinalPeriod) {
  EXPECT_EQ(normalised("  Red Circle. \n"), "red circle");
  EXPECT_EQ(normalised("3.5"), "3.5");
  EXPECT_EQ(normalised("yes.."), "yes.");
  EXPECT_EQ(normalised(" . "), "");
  EXPECT_EQ(normalised(""), "");
  EXPECT_EQ(normalised("U.S.A."), "u.s.a");
}

TEST(Score, ComparesAsUnicode) {
  EXPECT_EQ(normalised("ÄGYPTEN"), normalised("ägypten"));
  EXPECT_EQ(normalised("STRASSE"), normalised("Straße"));
  EXPECT_EQ(normalised("A\u030Aland Islands"), normalised("Åland islands"));  // composed or not
  EXPECT_EQ(normalised("\u00A0\u3000yes\u2003."), "yes");                     // blanks of all kinds
  EXPECT_NE(normalised("éland"), normalised("eland"));
  EXPECT_EQ(normalised("a\xFFz"), "a\uFFFDz");  // cut within a character
}

// Newcombe 1998, table I, method 3; the last two by hand.
TEST(Score, WilsonInterval) {
  const auto near = [](Interval i, double low, double high) {
    EXPECT_NEAR(i.low, low, 5e-5);
    EXPECT_NEAR(i.high, high, 5e-5);
  };
  near(wilson(81, 263), 0.2553, 0.3662);
  near(wilson(15, 148), 0.0624, 0.1605);
  near(wilson(0, 20), 0, 0.1611);
  near(wilson(1, 29), 0.0061, 0.1718);
  near(wilson(29, 29), 0.8830, 1);
  near(wilson(0, 0), 0, 1);
}

Row row(const std::string& source, const std::string& task, const std::string& wording,
        const std::string& answer) {
  Row r;
  r.source = source;
  r.split = "test";
  r.task = task;
  r.wording = wording;
  r.answer = answer;
  return r;
}

const std::vector<Row> rows = {
    row("a", "colour", "seen", "Red"),   row("a", "colour", "new", "blue"),
    row("a", "colour", "seen", "red."),  row("a", "count", "seen", "2"),
    row("b", "colour", "seen", "green"), row("b", "colour", "seen", "grey")};
const std::vector<Prediction> predictions = {{"red", true},    {"Blue. ", true}, {"", true},
                                             {"2 2 2", false}, {"green", true},  {"green", true}};

const Tally& find(const std::vector<Group>& groups, const GroupKey& key) {
  for (const Group& group : groups)
    if (group.key == key) return group.tally;
  throw std::runtime_error("no such group");
}

TEST(Report, MajorityByTaskOfEachSource) {
  const Majorities m = majority_answers(rows);
  EXPECT_EQ(m.at({"a", "colour"}), "red");
  EXPECT_EQ(m.at({"a", "count"}), "2");
  EXPECT_EQ(m.at({"b", "colour"}), "green");  // the first among equals
}

TEST(Report, CountsEveryLevel) {
  const auto groups = tally(rows, predictions, majority_answers(rows));
  std::vector<GroupKey> keys;
  for (const Group& group : groups) keys.push_back(group.key);
  const std::vector<GroupKey> expected = {{"", "", "", ""},
                                          {"a", "test", "", ""},
                                          {"a", "test", "colour", ""},
                                          {"a", "test", "colour", "new"},
                                          {"a", "test", "colour", "seen"},
                                          {"a", "test", "count", "seen"},
                                          {"b", "test", "colour", "seen"}};
  EXPECT_EQ(keys, expected);
  const Tally all = find(groups, {});
  EXPECT_EQ(all.rows, 6);
  EXPECT_EQ(all.right, 3);
  EXPECT_EQ(all.unparsed, 2);
  EXPECT_EQ(all.majority, 4);
  const Tally colour = find(groups, {"a", "test", "colour", ""});
  EXPECT_EQ(colour.rows, 3);
  EXPECT_EQ(colour.right, 2);
  EXPECT_EQ(colour.unparsed, 1);
  EXPECT_EQ(colour.majority, 2);
}

TEST(Report, SaysWhereTheBaselineIsUnknown) {
  const auto groups = tally(rows, predictions, {{{"a", "colour"}, "red"}});
  EXPECT_FALSE(find(groups, {}).majority);
  EXPECT_FALSE(find(groups, {"a", "test", "count", "seen"}).majority);
  EXPECT_EQ(find(groups, {"a", "test", "colour", ""}).majority, 2);
  EXPECT_TRUE(table_json(groups)[0]["majority"].is_null());
}

TEST(Report, FailedRowsAreLeftOutAndCounted) {
  std::vector<Prediction> some = predictions;
  EXPECT_EQ(failure_note(some), "");
  EXPECT_EQ(table_text(tally(rows, some, {})).find("failed"), std::string::npos);
  some[0].failure = "no such file", some[5].failure = "broken PNG";
  EXPECT_EQ(failure_note(some),
            "2 of 6 rows have no answer and are left out, the first of them row 1: no such file");
  const auto groups = tally(rows, some, majority_answers(rows));
  const Tally all = find(groups, {}), colour = find(groups, {"a", "test", "colour", ""});
  EXPECT_EQ(all.rows, 4);
  EXPECT_EQ(all.failed, 2);
  EXPECT_EQ(all.right, 2);
  EXPECT_EQ(all.unparsed, 2);
  EXPECT_EQ(all.majority, 3);
  EXPECT_EQ(colour.rows, 2);
  EXPECT_EQ(colour.failed, 1);
  EXPECT_EQ(table_json(groups)[0]["failed"], 2);
  const std::string text = table_text(groups);
  EXPECT_NE(text.find("unparsed  failed\n"), std::string::npos) << text;
}

TEST(Report, JsonHasTheNumbersOfTheTable) {
  const auto json = table_json(tally(rows, predictions, majority_answers(rows)));
  ASSERT_EQ(json.size(), 7u);
  const auto& colour = json[2];
  EXPECT_EQ(colour["source"], "a");
  EXPECT_EQ(colour["split"], "test");
  EXPECT_EQ(colour["task"], "colour");
  EXPECT_EQ(json[3]["wording"], "new");
  EXPECT_EQ(colour["rows"], 3);
  EXPECT_EQ(colour["right"], 2);
  EXPECT_EQ(colour["unparsed"], 1);
  EXPECT_DOUBLE_EQ(colour["accuracy"], 2.0 / 3);
  EXPECT_DOUBLE_EQ(colour["low"], wilson(2, 3).low);
  EXPECT_DOUBLE_EQ(colour["high"], wilson(2, 3).high);
  EXPECT_DOUBLE_EQ(colour["majority"], 2.0 / 3);
}

TEST(Report, TableIsAligned) {
  const std::string text = table_text(tally(rows, predictions, majority_answers(rows)));
  std::vector<std::string> lines;
  for (size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1)
    lines.push_back(text.substr(at, end - at));
  ASSERT_EQ(lines.size(), 8u);
  for (const std::string& line : lines) EXPECT_EQ(line.size(), lines[0].size()) << line;
  EXPECT_NE(lines[3].find("66.7 %"), std::string::npos) << lines[3];
}

// Pictures and a model in a fresh folder.
class Predict : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = Path(testing::TempDir()) / ("eval_" + std::to_string(::getpid()));
    std::filesystem::remove_all(directory_);
    write_random_phantom(directory_ / "model", 3);
    for (int i = 0; i < 3; ++i) {
      Image picture = blank_image(60 + 50 * i, 60);
      Random random{uint64_t(i)};
      for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
      write_file(directory_ / (std::to_string(i) + ".png"), encode_png(picture));
    }
    for (const int picture : {0, 0, 1, 2, 2, -1}) {
      Row r = row("s", "t", "seen", "x");
      r.question = "what is this, number " + std::to_string(rows_.size()) + "?";
      if (picture >= 0) {
        r.images = {directory_ / (std::to_string(picture) + ".png")};
        r.question = "<image>\n" + r.question;
      }
      rows_.push_back(r);
    }
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::vector<std::string> texts(const PredictOptions& options) {
    std::vector<std::string> all;
    for (const Prediction& p : predict(Model(directory_ / "model", {{}, 1}), rows_, options))
      all.push_back(p.text);
    return all;
  }
  Path directory_;
  std::vector<Row> rows_;
};

TEST_F(Predict, BatchesAnswerAsRowsAlone) {
  std::vector<size_t> done;
  PredictOptions together, alone;
  together.progress = [&](size_t n, size_t total) {
    done.push_back(n);
    EXPECT_EQ(total, 6u);
  };
  alone.batch = 1;
  const auto expected = texts(alone);
  EXPECT_EQ(texts(together), expected);
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(done.back(), 6u);
  const Model model(directory_ / "model", {{}, 1});
  for (size_t i = 0; i < rows_.size(); ++i)
    EXPECT_EQ(predict(model, std::span(rows_).subspan(i, 1))[0].text, expected[i]) << i;
}

// Without room for a second answer each row goes alone, and answers the same; without room for one
// it fails.
TEST_F(Predict, MemoryBoundsWhatIsHeldAtOnce) {
  const auto expected = texts({});
  size_t most = 0;
  const auto bounded = [&](size_t memory) {
    const Model model(directory_ / "model", {{}, 1, {}, memory});
    std::vector<std::string> all;
    for (const Prediction& p : predict(model, rows_)) all.push_back(p.text + p.failure);
    most = model.pages()->most();
    return all;
  };
  EXPECT_EQ(bounded(0), expected);
  const size_t page = Model(directory_ / "model").pages()->shape().bytes(), free = most;
  size_t least = page;
  while (bounded(least) != expected) {
    EXPECT_LE(most, least);
    least += page;
  }
  EXPECT_LT(least, free);
  EXPECT_NE(bounded(page - 1)[0].find("--cache-memory"), std::string::npos);
}

// A token whose embedding is no number: the row has no answer, the others have theirs.
TEST_F(Predict, ARowThatFailsIsToldAndTheOthersGoOn) {
  const auto expected = texts({});
  const auto ids = Tokenizer::open(directory_ / "model").encode("@", Specials::as_text);
  ASSERT_EQ(ids.size(), 1u);
  write_random_phantom(directory_ / "model", 3, [&](const TensorSpec& spec, auto& values) {
    if (spec.role == Role::embedding)
      values[size_t(ids[0]) * size_t(spec.shape.back())] = std::numeric_limits<float>::quiet_NaN();
  });
  rows_[1].question += "@";
  const auto answers = predict(Model(directory_ / "model", {{}, 1}), rows_, {});
  for (size_t i = 0; i < rows_.size(); ++i) {
    EXPECT_EQ(answers[i].failure.empty(), i != 1) << answers[i].failure;
    EXPECT_EQ(answers[i].text, i == 1 ? "" : expected[i]);
  }
  EXPECT_FALSE(answers[1].stopped);
}

TEST_F(Predict, BlankAndShuffledPicturesChangeAnswers) {
  const auto own = texts({});
  PredictOptions blank, shuffled;
  blank.shown = Shown::blank;
  shuffled.shown = Shown::shuffled;
  EXPECT_NE(texts(blank), own);
  EXPECT_NE(texts(shuffled), own);
  EXPECT_EQ(texts(blank)[5], own[5]);
  EXPECT_EQ(texts(shuffled)[5], own[5]);
}

// Of another size it would be cut into other tiles, and more than its content were taken away.
TEST_F(Predict, ABlankPictureIsAsLargeAsTheRowsOwn) {
  const Model model(directory_ / "model", {{}, 1});
  PredictOptions own, blank;
  own.max_new_tokens = blank.max_new_tokens = 1;
  blank.shown = Shown::blank;
  const auto seen = predict(model, rows_, own), unseen = predict(model, rows_, blank);
  for (size_t i = 0; i < rows_.size(); ++i) EXPECT_EQ(unseen[i].tokens, seen[i].tokens) << i;
  EXPECT_NE(seen[3].tokens, seen[0].tokens);  // two tiles and one
}

// Cut off behind its header, so that only decoding finds it.
TEST_F(Predict, ADamagedPictureFailsItsOwnRowsOnly) {
  const auto expected = texts({});
  const Path damaged = directory_ / "0.png";
  std::filesystem::resize_file(damaged, std::filesystem::file_size(damaged) / 2);
  std::vector<size_t> done;
  PredictOptions options;
  options.progress = [&](size_t n, size_t) { done.push_back(n); };
  const auto found = predict(Model(directory_ / "model", {{}, 1}), rows_, options);
  EXPECT_EQ(done.back(), 6u);
  for (size_t i = 0; i < rows_.size(); ++i) {
    EXPECT_EQ(found[i].failure.find("0.png") != std::string::npos, i < 2) << found[i].failure;
    EXPECT_EQ(found[i].text, i < 2 ? "" : expected[i]) << i;
  }
  const auto groups = tally(rows_, found, {});
  EXPECT_EQ(groups[0].tally.rows, 4);
  EXPECT_EQ(groups[0].tally.failed, 2);
  std::filesystem::remove(damaged);  // since it was listed
  EXPECT_FALSE(predict(Model(directory_ / "model", {{}, 1}), rows_)[1].failure.empty());
}

TEST_F(Predict, StoppedOnlyByAStopToken) {
  PredictOptions one, five;
  one.max_new_tokens = 1, five.max_new_tokens = 5;
  const Model model(directory_ / "model", {{}, 1});
  const auto row = std::span(rows_).last(1);  // without a picture
  const Prediction cut = predict(model, row, one)[0], longer = predict(model, row, five)[0];
  EXPECT_FALSE(cut.stopped);
  EXPECT_FALSE(longer.stopped);
  EXPECT_EQ(longer.tokens, cut.tokens + 4);
  GenerateOptions first;
  first.max_new_tokens = 1;
  const int id = answer(model, {}, rows_.back().question, first).ids.at(0);
  const Model stops(directory_ / "model", {{"eos_token_id=" + std::to_string(id)}, 1});
  const Prediction ended = predict(stops, row, five)[0];
  EXPECT_TRUE(ended.stopped);
  EXPECT_EQ(ended.text, "");
  EXPECT_EQ(ended.tokens, cut.tokens);
}

// In any batch, and without another answer.
TEST_F(Predict, GroundingOfEveryAnswer) {
  const Model model(directory_ / "model", {{}, 1});
  PredictOptions options, alone;
  options.grounding = alone.grounding = true;
  options.max_new_tokens = alone.max_new_tokens = 7;
  alone.batch = 1;
  const auto made = predict(model, rows_, options), again = predict(model, rows_, alone);
  EXPECT_NE(made[5].failure.find("grounding: expected a picture, found none"), std::string::npos);
  options.grounding = false;
  const auto plain = predict(model, rows_, options);
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(made[i].grounding) << made[i].failure;
    EXPECT_EQ(made[i].text, plain[i].text);
    EXPECT_EQ(made[i].tokens, plain[i].tokens);
    EXPECT_FALSE(plain[i].grounding);
    EXPECT_EQ(made[i].grounding->log_prob, again[i].grounding->log_prob);
    EXPECT_EQ(made[i].grounding->log_prob_grey, again[i].grounding->log_prob_grey);
    // By hand: the answer, then the same over grey.
    const Image own = read_image(rows_[i].images[0].file),
                grey = grey_picture(own.width, own.height);
    GenerateOptions said;
    said.max_new_tokens = 7;
    said.stop_ids = model.speech().stop_ids;
    const auto likely = watch_log_prob(said);
    const std::string question = rows_[i].question.substr(8);
    const Generated answered = answer(model, std::span(&own, 1), question, said);
    EXPECT_EQ(*likely, made[i].grounding->log_prob);
    EXPECT_EQ(int(answered.ids.size()), made[i].grounding->tokens);
    GenerateOptions blind;
    blind.said = answered.ids;
    blind.max_new_tokens = int(answered.ids.size());
    const auto likely_blind = watch_log_prob(blind);
    answer(model, std::span(&grey, 1), question, blind);
    EXPECT_EQ(*likely_blind, made[i].grounding->log_prob_grey);
    EXPECT_NE(made[i].grounding->value(), 0);
  }
}

// The first 3 rows have pictures of 1 and 2 rows: in batches of one picture each row's own is used.
TEST_F(Predict, EachRowIsShownItsOwnPicture) {
  const Model model(directory_ / "model", {{}, 1});
  const auto all = texts({});
  for (const size_t i : {0, 2, 3}) {
    std::vector<Row> swapped = {rows_[i]};
    const auto own = predict(model, swapped)[0].text;
    EXPECT_EQ(own, all[i]);
    swapped[0].images = rows_[i == 3 ? 0 : 3].images;
    EXPECT_NE(predict(model, swapped)[0].text, own) << i;
  }
}

TEST_F(Predict, ShuffleNeverShowsTheOwnPicture) {
  const auto groups = group_rows(rows_);
  ASSERT_EQ(groups.size(), 4u);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto order = shuffled_groups(rows_, groups, seed);
    for (size_t g = 0; g < 3; ++g) EXPECT_NE(order[g], g);
    EXPECT_EQ(order[3], 3u);  // the row without a picture
  }
  EXPECT_THROW(shuffled_groups(std::span(rows_).first(2), std::span(groups).first(1), 1), Error);
}

TEST_F(Predict, ShuffleKeepsToASource) {
  std::vector<Row> rows;
  for (const std::string source : {"a", "b", "b", "a", "a", "b"}) {
    rows.push_back(row(source, "t", "seen", "x"));
    rows.back().images = {directory_ / (std::to_string(rows.size()) + ".png")};
  }
  const auto groups = group_rows(rows);
  ASSERT_EQ(groups.size(), rows.size());
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto order = shuffled_groups(rows, groups, seed);
    for (size_t g = 0; g < rows.size(); ++g) EXPECT_EQ(rows[order[g]].source, rows[g].source);
  }
}

}  // namespace
}  // namespace revenant
