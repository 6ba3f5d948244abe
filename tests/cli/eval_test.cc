// revenant eval as a program that is stopped.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "cli/fixture.h"

namespace revenant {
namespace {

TEST_F(Cli, EvalGoesOnWithItsAnswers) {
  json rows = json::array();
  for (int i = 0; i < 40; ++i)
    rows.push_back({{"question", "what is number " + std::to_string(i)}, {"answer", "x"}});
  write_file(place_ / "rows.json", rows.dump());
  const Words words = {"eval", "-m",     model_, "--data", (place_ / "rows.json").string(),
                       "-n",   "500",    "-t",   "1",      "--batch",
                       "1",    "--json", "-"};
  const Outcome whole = run(words);
  ASSERT_EQ(whole.code, 0) << whole.err;
  Words kept = words;
  const Path answers = place_ / "answers.jsonl";
  kept.insert(kept.end(), {"--answers", answers.string()});
  const auto lines = [&] {
    if (!std::filesystem::exists(answers)) return 0;
    const std::string text = read_file(answers);
    return int(std::ranges::count(text, '\n'));
  };
  const pid_t child = start_program(place_, kept);
  while (lines() < 3) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  ::kill(child, SIGINT);
  const Outcome stopped = outcome_of(place_, child);
  EXPECT_EQ(stopped.code, 130);
  EXPECT_NE(stopped.err.find("goes on from " + answers.string()), std::string::npos);
  const int before = lines();
  EXPECT_LT(before, 41);
  const Outcome rest = run(kept);
  EXPECT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(rest.out, whole.out);
  EXPECT_EQ(lines(), 41);
  kept[6] = "499";
  const Outcome other = run(kept);
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.err.find("max_new_tokens: expected 499, as now, found 500"), std::string::npos)
      << other.err;
}

}  // namespace
}  // namespace revenant
