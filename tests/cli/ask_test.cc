// revenant ask: the answers of `run`, many at once; what fails and what is stopped.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "cli/fixture.h"

namespace revenant {
namespace {

class Ask : public Cli {
 protected:
  std::string questions(const std::string& text) const {
    write_file(place_ / "questions.txt", text);
    return (place_ / "questions.txt").string();
  }
};

TEST_F(Ask, AnswersAreThoseOfRun) {
  const Words names = {"what is it?", "where?", "which colour has the thing in the picture?"};
  const std::string file = questions(names[0] + "\r\n\n" + names[1] + "\n" + names[2]);
  const Outcome text =
      run({"ask", "-m", model_, "--image", picture_, "--questions", file, "-n", "9"});
  ASSERT_EQ(text.code, 0) << text.err;
  const Outcome got =
      run({"ask", "-m", model_, "--image", picture_, "--questions", file, "-n", "9", "--json"});
  ASSERT_EQ(got.code, 0) << got.err;
  const json answers = json::parse(got.out)["answers"];
  ASSERT_EQ(answers.size(), 3u);
  std::string expected;
  for (size_t i = 0; i < 3; ++i) {
    Outcome alone = run({"run", "-m", model_, "--image", picture_, "-p", names[i], "-n", "9"});
    ASSERT_EQ(alone.out.back(), '\n');
    alone.out.pop_back();
    EXPECT_EQ(answers[i]["question"], names[i]);
    EXPECT_EQ(answers[i]["answer"], alone.out);
    EXPECT_GT(answers[i]["tokens"], 0);
    expected += "> " + names[i] + "\n" + alone.out + "\n\n";
  }
  EXPECT_EQ(text.out, expected);
  const Outcome piped =
      run({"ask", "-m", model_, "--image", picture_, "--questions", "-", "-n", "9"},
          names[0] + "\n" + names[1] + "\n" + names[2] + "\n");
  EXPECT_EQ(piped.out, expected);
}

TEST_F(Ask, WhatCannotBeAskedIsAnError) {
  EXPECT_EQ(run({"ask", "-m", model_}).code, 2);
  const Outcome none = run({"ask", "-m", model_, "--questions", questions("\n  \n")});
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.err.find("a question a line"), std::string::npos);
  EXPECT_EQ(run({"ask", "-m", model_, "--questions", (place_ / "absent").string()}).code, 1);
}

// After an interrupt what is done is told, and the code says so.
TEST_F(Ask, IsStoppedByAnInterrupt) {
  std::string many;
  for (int i = 0; i < 40; ++i) many += "question " + std::to_string(i) + "?\n";
  const std::string file = questions(many);
  const pid_t child =
      start_program(place_, {"ask", "-m", model_, "--questions", file, "-n", "2000000", "--json"});
  std::this_thread::sleep_for(std::chrono::seconds(2));
  ::kill(child, SIGINT);
  const Outcome got = outcome_of(place_, child);
  EXPECT_EQ(got.code, 130);
  const json answers = json::parse(got.out)["answers"];
  ASSERT_EQ(answers.size(), 40u);
  for (const json& one : answers) EXPECT_NE(one["finish"], "failed");
}

}  // namespace
}  // namespace revenant
