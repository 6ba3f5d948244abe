// What has been answered is kept: a run that stops goes on, with the same results.
#include "eval/answers_file.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using nlohmann::json;

class Answers : public testing::Test {
 protected:
  Answers() {
    write_random_phantom(place_.path / "model", 3);
    model_.emplace(place_.path / "model", ModelOptions{{}, 1});
    for (int i = 0; i < 7; ++i) {
      Row row;
      row.question = "what is number " + std::to_string(i) + "?";
      row.answer = "it";
      rows_.push_back(row);
    }
  }
  // Stops after so many further answers; 0: never. Batches of two.
  std::vector<Prediction> ask(const json& run, size_t stop_after = 0) {
    AnswersFile file(path_, run, rows_);
    PredictOptions options;
    told_ = 0;
    options.batch = 2;
    options.known = file.known();
    options.on_answer = [&](size_t row, const Prediction& p) {
      EXPECT_FALSE(file.known()[row]) << row;
      file.add(row, p);
      ++told_;
    };
    options.go_on = [&] { return stop_after == 0 || told_ < stop_after; };
    return predict(*model_, rows_, options);
  }
  size_t lines() const {
    const std::string text = read_file(path_);
    return size_t(std::ranges::count(text, '\n'));
  }

  Temporary place_;
  Path path_ = place_.path / "answers.jsonl";
  std::optional<Model> model_;
  std::vector<Row> rows_;
  size_t told_ = 0;
  const json run_ = {{"model", "abc"}, {"beams", 1}};
};

void expect_equal(const std::vector<Prediction>& a, const std::vector<Prediction>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].text, b[i].text) << i;
    EXPECT_EQ(a[i].stopped, b[i].stopped) << i;
    EXPECT_EQ(a[i].tokens, b[i].tokens) << i;
    EXPECT_EQ(a[i].failure, b[i].failure) << i;
  }
}

TEST_F(Answers, AStoppedRunGoesOn) {
  const auto whole = predict(*model_, rows_);
  EXPECT_THROW(ask(run_, 3), Stopped);
  const size_t before = lines() - 1;
  EXPECT_GE(before, 3u);
  EXPECT_LT(before, 7u);
  expect_equal(ask(run_), whole);
  EXPECT_EQ(told_, 7 - before);
  EXPECT_EQ(lines(), 1u + 7);
  expect_equal(ask(run_), whole);
  EXPECT_EQ(told_, 0u);
  EXPECT_EQ(lines(), 1u + 7);
  std::istringstream text(read_file(path_));
  std::string first;
  std::getline(text, first);
  std::getline(text, first);
  const json line = json::parse(first);
  EXPECT_EQ(line["question"], rows_[line["row"].get<size_t>() - 1].question);
  EXPECT_EQ(line["answer"], "it");
}

// Killed while it wrote: the line is cut away and its row asked again.
TEST_F(Answers, ALineThatWasBrokenOffIsAskedAgain) {
  const auto whole = ask(run_);
  std::string text = read_file(path_);
  for (const size_t keep : {text.size() - 1, text.size() - 20, text.find('\n') - 3, size_t(0)}) {
    write_file(path_, text.substr(0, keep));
    expect_equal(ask(run_), whole);
    EXPECT_EQ(told_, keep > 200 ? 1u : 7u);
    EXPECT_EQ(lines(), 1u + 7);
    expect_equal(ask(run_), whole);  // nothing of the broken line is left before the next one
    EXPECT_EQ(told_, 0u);
  }
}

TEST_F(Answers, AFailedRowIsAskedAgain) {
  write_file(place_.path / "broken.png", "x");
  rows_[2].question = "<image>\nwhat is it?";
  rows_[2].images = {place_.path / "broken.png"};
  const auto first = ask(run_);
  EXPECT_NE(first[2].failure, "");
  EXPECT_EQ(lines(), 1u + 7);
  expect_equal(ask(run_), first);
  EXPECT_EQ(told_, 1u);
}

TEST_F(Answers, AnotherRunsFileIsRefusedByKey) {
  ask(run_);
  const std::string text = read_file(path_);
  const auto reason = [&](const json& run) -> std::string {
    try {
      ask(run);
      return "none";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_NE(reason({{"model", "abc"}, {"beams", 2}}).find("beams: expected 2, as now, found 1"),
            std::string::npos)
      << reason({{"model", "abc"}, {"beams", 2}});
  EXPECT_NE(reason({{"model", "abc"}, {"limit", 2}}).find("limit"), std::string::npos);
  write_file(path_,
             "{\"run\": {\"model\": \"abc\", \"beams\": 1}}\n{\"row\": 8, \"failure\": 1}\n");
  EXPECT_EQ(reason(run_), "none");  // a failure of any row says nothing
  for (const char* line : {"[]", "{\"row\": 0}",
                           "{\"row\": 8, \"prediction\": \"a\", \"stopped\": "
                           "true, \"tokens\": 3}",
                           "{\"row\": 1, \"prediction\": 3}"}) {
    write_file(path_, text.substr(0, text.find('\n') + 1) + line + "\n");
    EXPECT_NE(reason(run_).find("answers.jsonl:2"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace revenant
