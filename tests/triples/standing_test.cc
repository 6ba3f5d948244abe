// What becomes of a row, by what was said about it.
#include "triples/standing.h"

#include <gtest/gtest.h>

#include "triples/prompts.h"

namespace revenant {
namespace {

TEST(Standing, WhatCannotBeAWrongAnswer) {
  const Rules rules;
  const std::string right = "A red circle stands above a blue square.";  // 40 letters
  const auto fault = [&](const std::string& said, bool whole = true) {
    return fault_of(right, {said, whole}, rules);
  };
  EXPECT_EQ(fault("A round thing of some colour stands there."), "");
  EXPECT_EQ(fault("A round thing of some colour stands there.", false), "not whole");
  EXPECT_EQ(fault(" \n"), "blank");
  EXPECT_EQ(fault("\"\""), "blank");
  EXPECT_EQ(fault("<think>A round thing of some colour.</think>\n"), "blank");
  EXPECT_EQ(fault(" a RED circle stands above a blue square"), "the right answer");
  EXPECT_EQ(fault("\"A red circle stands above a blue square.\""), "the right answer");
  EXPECT_EQ(fault(std::string(20, 'x')), "");  // half of it less, or more
  EXPECT_EQ(fault(std::string(60, 'x')), "");
  EXPECT_EQ(fault(std::string(19, 'x')), "another length");
  EXPECT_EQ(fault(std::string(61, 'x')), "another length");
  EXPECT_EQ(fault_of("a cat", {"a tortoise or a hare", true}, rules), "");  // 15 more
  EXPECT_EQ(fault_of("a cat", {std::string(22, 'x'), true}, rules), "another length");
  EXPECT_EQ(fault_of("", {std::string(16, 'x'), true}, rules), "");
  Rules wide;
  wide.length = 2;
  EXPECT_EQ(fault_of(right, {std::string(120, 'x'), true}, wide), "");
}

TEST(Standing, LettersAreCountedNotBytes) {
  EXPECT_EQ(letters_in("Größe"), 5u);
  EXPECT_EQ(letters_in("\u4E00\u4E8C\u4E09"), 3u);
  EXPECT_EQ(letters_in("a\xFFz"), 3u);
  std::string three_times;
  for (int i = 0; i < 40; ++i) three_times += "\u4E00";
  EXPECT_EQ(fault_of(std::string(40, 'x'), {three_times, true}, {}), "");
}

TEST(Standing, AnswersComeWithoutThoughtsAndQuotes) {
  EXPECT_EQ(answer_in("<think>hm</think>\n\n a dog \n"), "a dog");
  EXPECT_EQ(answer_in("\" a dog\""), "a dog");
  EXPECT_EQ(answer_in("\"a\" or \"b\""), "\"a\" or \"b\"");
  EXPECT_EQ(answer_in("\""), "\"");
}

TEST(Standing, Verdicts) {
  for (const char* yes : {"Yes", "yes.", " **YES**, it is", "<think>No?</think> Yes"})
    EXPECT_EQ(verdict_in(yes), true) << yes;
  for (const char* no : {"No", "no, it is right", "\"NO\"", "<think>Yes</think>No"})
    EXPECT_EQ(verdict_in(no), false) << no;
  for (const char* none :
       {"", "...", "Maybe", "Yesterday", "Not yes", "nö", "The answer is yes", "1"})
    EXPECT_EQ(verdict_in(none), std::nullopt) << none;
}

class Course : public testing::Test {
 protected:
  std::string now() const {
    const Standing s = standing_of(row, history, rules);
    const char* names[] = {"ask", "judge", "kept", "dropped", "queued"};
    return std::string(names[int(s.stage)]) + "|" + s.rejected + "|" + s.why;
  }
  Row row;
  History history;
  Rules rules;
  void SetUp() override { row.question = "q", row.answer = "a cat"; }
};

TEST_F(Course, FromAskedToKept) {
  EXPECT_EQ(now(), "ask||");
  history.tries = {{" a dog \n", true}};
  EXPECT_EQ(now(), "judge|a dog|");
  history.verdicts = {{"Yes", true}};
  EXPECT_EQ(now(), "kept|a dog|");
  rules.review = Review::all;
  EXPECT_EQ(now(), "queued|a dog|kept by the judge");
  history.verdicts = {{"No", true}};
  EXPECT_EQ(now(), "dropped||refused by the judge");
}

// With another --length an earlier try may be fine, and is nothing to complain of.
TEST_F(Course, OnlyWhatCannotBeUsedIsComplainedOf) {
  history.tries = {{"a dog", true}, {std::string(40, 'x'), true}};
  EXPECT_EQ(now(), "ask||");
  const auto messages = wrong_answer_messages(row, {}, history, rules);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[1]["content"], std::string(40, 'x'));
}

TEST_F(Course, WhatCannotBeUsedIsAskedForAgain) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(now(), "ask||");
    history.tries.push_back({i % 2 ? "" : "A cat.", true});
  }
  EXPECT_EQ(now(), "dropped||the right answer");
  history.tries.back().text = "a dog";
  EXPECT_EQ(now(), "judge|a dog|");
  history.tries.pop_back();
  EXPECT_EQ(now(), "ask||");
  rules.tries = 2;
  EXPECT_EQ(now(), "dropped||blank");
}

TEST_F(Course, WithoutAVerdictAPersonIsAsked) {
  history.tries = {{"a dog", true}};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(now(), "judge|a dog|");
    history.verdicts.push_back({"Hard to say", true});
  }
  EXPECT_EQ(now(), "queued|a dog|the judge said: Hard to say");
  history.verdicts.back() = {"Yes", false};  // it was cut
  EXPECT_EQ(now(), "queued|a dog|the judge said: Yes");
  history.person = {true, "a fox"};
  EXPECT_EQ(now(), "kept|a fox|");
  history.person = {false, "a fox"};
  EXPECT_EQ(now(), "dropped||by a person");
}

TEST_F(Course, RowsThatHaveOneKeepIt) {
  row.rejected = "a hen";
  EXPECT_EQ(now(), "kept|a hen|");
}

// Of a conversation the last answer counts.
TEST_F(Course, TheLastAnswerIsTheRightOne) {
  row.later = {{"and now?", "a dog"}};
  history.tries = {{"a dog", true}};
  EXPECT_EQ(now(), "ask||");
  history.tries = {{"a cat", true}};
  EXPECT_EQ(now(), "judge|a cat|");
}

}  // namespace
}  // namespace revenant
