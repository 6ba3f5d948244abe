// The program `revenant triples`: each option, signals, and kills at random moments.
#include <csignal>

#include "base/clock.h"
#include "base/random.h"
#include "cli/program.h"
#include "data/dataset.h"
#include "data/sources.h"
#include "support/temporary.h"
#include "triples/models.h"

namespace revenant {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class Program : public testing::Test {
 protected:
  void SetUp() override { write_file(place_ / "rows.jsonl", many_rows(3)); }
  std::string at(const char* name) const { return (place_ / name).string(); }
  Words words(const StandIn& server, const Words& more = {}) const {
    Words all = {"triples",  at("rows.jsonl"), "-o",      at("out.jsonl"),
                 "--server", server.url(),     "--model", "writer"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome run(const Words& all) const { return run_program(place_, all); }
  // Afresh.
  Outcome once(const StandIn& server, const Words& more = {}) const {
    for (const char* name : {"out.jsonl", "out.journal.jsonl", "out.review.json"})
      std::filesystem::remove(place_ / name);
    return run(words(server, more));
  }
  json numbers(const StandIn& server, Words more = {}) const {
    more.insert(more.end(), {"--json", "-"});
    const Outcome got = once(server, more);
    EXPECT_EQ(got.code, 0) << got.err;
    return json::parse(got.out);
  }
  std::string failure(const StandIn& server, const Words& more) const {
    const Outcome got = once(server, more);
    EXPECT_EQ(got.code, 1) << got.err;
    return got.err;
  }

  const Temporary folder_;
  const Path place_ = folder_.path;
};

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), text.npos) << text;
}

Sent unless_yes(const Asked& asked, const std::string& verdict) {
  return asks_for_verdict(asked) ? http_reply(200, completion(verdict, 7, 1)) : usual_answer(asked);
}

TEST_F(Program, TellsWhatCameOfIt) {
  StandIn server([](const Asked& asked) {
    return unless_yes(asked, question_of(asked) == "question 2" ? "No" : "Yes");
  });
  const Outcome got = once(server);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(
      got.out,
      "3 rows: 2 kept (accepted: 66.7 %), 1 dropped (1 refused by the judge), 0 for a person, "
      "0 without an answer\n"
      "kept: 0 had a wrong answer, 0 by a person\n"
      "writer: 3 answers, 60 + 15 tokens\njudge: 3 answers, 21 + 3 tokens\n"
      "this call: 6 requests, 0 of them again\n");
  EXPECT_EQ(got.err, "triples 0/3 rows, ? left, 0 kept\ntriples 3/3 rows, 0:00 left, 2 kept\n");
  EXPECT_EQ(read_rows(place_ / "out.jsonl").size(), 2u);
  const Outcome again = run(words(server));
  expect_part(again.out, "this call: 0 requests");
  EXPECT_EQ(server.asked().size(), 6u);
}

TEST_F(Program, AFailedRowIsTheExitCode) {
  StandIn server([](const Asked& asked) {
    return question_of(asked) == "question 2" ? http_reply(422, "{}") : usual_answer(asked);
  });
  const Outcome got = once(server);
  EXPECT_EQ(got.code, 1);
  expect_part(got.out, "3 rows: 2 kept");
  expect_part(got.err, "revenant: [triples] rows: 1 without an answer");
  expect_part(got.err, "row 2: ");
  EXPECT_EQ(read_rows(place_ / "out.jsonl").size(), 2u);
}

TEST_F(Program, KeysComeFromTheEnvironmentOrAFile) {
  StandIn server(usual_answer), judge(usual_answer);
  const auto keys = [](const StandIn& asked) {
    std::set<std::string> all;
    for (const Asked& one : asked.asked()) all.insert(one.field("Authorization"));
    return all;
  };
  using Set = std::set<std::string>;
  write_file(place_ / "key", "# mine\nfrom-a-file\n", 0600);
  ::setenv("TRIPLES_TEST_KEY", "from-the-environment", 1);
  EXPECT_EQ(once(server, {"--api-key-env", "TRIPLES_TEST_KEY"}).code, 0);
  EXPECT_EQ(keys(server), (Set{"Bearer from-the-environment"}));  // the judge's is the same
  for (const char* name : {"out.jsonl", "out.journal.jsonl"})
    EXPECT_EQ(read_file(place_ / name).find("from-the"), std::string::npos);
  // A key goes to no other server.
  StandIn second(usual_answer);
  EXPECT_EQ(once(second, {"--api-key-file", at("key"), "--judge-server", judge.url()}).code, 0);
  EXPECT_EQ(keys(second), (Set{"Bearer from-a-file"}));
  EXPECT_EQ(keys(judge), (Set{""}));
  StandIn third(usual_answer), one(usual_answer), two(usual_answer);
  EXPECT_EQ(once(third, {"--judge-server", one.url(), "--judge-api-key-file", at("key")}).code, 0);
  EXPECT_EQ(
      once(third, {"--judge-server", two.url(), "--judge-api-key-env", "TRIPLES_TEST_KEY"}).code,
      0);
  EXPECT_EQ(keys(third), (Set{""}));
  EXPECT_EQ(keys(one), (Set{"Bearer from-a-file"}));
  EXPECT_EQ(keys(two), (Set{"Bearer from-the-environment"}));
  ::unsetenv("TRIPLES_TEST_KEY");
  expect_part(failure(server, {"--api-key-env", "TRIPLES_TEST_KEY"}),
              "TRIPLES_TEST_KEY: expected an API key in the environment, found none");
  ::chmod(at("key").c_str(), 0644);
  expect_part(failure(server, {"--api-key-file", at("key")}), "chmod 600");
  write_file(place_ / "key", "two words\n", 0600);
  const std::string told = failure(server, {"--api-key-file", at("key")});
  expect_part(told, "visible ASCII");
  EXPECT_EQ(told.find("words"), told.npos);
}

TEST_F(Program, EveryOptionArrives) {
  std::atomic<int> now{0}, most{0};
  StandIn server([&](const Asked& asked) {
    most = std::max(most.load(), ++now);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    --now;
    return usual_answer(asked);
  });
  const auto first_of = [](const StandIn& asked, bool verdict) {
    for (const Asked& one : asked.asked())
      if (asks_for_verdict(one) == verdict) return one.json();
    return json();
  };
  StandIn judge(usual_answer);
  numbers(server, {"--judge-server", judge.url(), "--judge-model", "jury", "--body",
                   R"({"temperature": 0.5})", "--judge-body", R"({"top_p": 0.25})"});
  EXPECT_EQ(server.asked().size(), 3u);
  EXPECT_EQ(judge.asked().size(), 3u);
  EXPECT_EQ(first_of(server, false)["model"], "writer");
  EXPECT_EQ(first_of(server, false)["temperature"], 0.5);
  EXPECT_FALSE(first_of(server, false).contains("top_p"));
  EXPECT_EQ(first_of(judge, true)["model"], "jury");
  EXPECT_EQ(first_of(judge, true)["top_p"], 0.25);
  EXPECT_FALSE(first_of(judge, true).contains("temperature"));
  EXPECT_EQ(numbers(server)["rows"], 3);
  EXPECT_EQ(first_of(server, true)["model"], "writer");  // the judge is the writer's

  EXPECT_EQ(numbers(server, {"--limit", "2"})["rows"], 2);
  EXPECT_EQ(numbers(server, {"--fields", "rejected=answer,answer=question"})["given"], 3);
  EXPECT_EQ(numbers(server, {"--review", "all"})["queued"], 3);
  EXPECT_EQ(numbers(server, {"--length", "0"})["kept"], 3);
  write_file(place_ / "rows.jsonl",
             R"({"question": "q", "answer": ")" + std::string(40, 'x') + "\"}\n");
  EXPECT_EQ(numbers(server)["writer"]["answers"], 3);  // 9 letters in place of 40
  EXPECT_EQ(numbers(server, {"--tries", "5"})["writer"]["answers"], 5);
  EXPECT_EQ(numbers(server, {"--length", "0.8"})["kept"], 1);

  write_file(place_ / "rows.jsonl", many_rows(6));
  most = 0;
  numbers(server, {"--parallel", "1"});
  EXPECT_EQ(most, 1);
  numbers(server);
  EXPECT_GT(most, 1);
  const Stopwatch watch;
  numbers(server, {"--rate", "600"});
  EXPECT_GE(watch.seconds(), 0.48);

  made_up::write_drawing(place_ / "a.png", "a");
  write_file(place_ / "rows.jsonl", R"({"question": "q", "answer": "a", "image": "a.png"})");
  StandIn seeing(usual_answer);
  numbers(seeing, {"--pictures"});
  for (const Asked& asked : seeing.asked())
    EXPECT_EQ(asked.json()["messages"][0]["content"].size(), 2u);

  const Outcome both = once(server, {"--json", at("numbers.json")});
  EXPECT_EQ(json::parse(read_file(place_ / "numbers.json"))["kept"], 1);
  expect_part(both.out, "1 rows: 1 kept");
}

TEST_F(Program, TimeoutAndRetriesArrive) {
  write_file(place_ / "rows.jsonl", many_rows(1));
  StandIn server(slow_answer(5));
  const Stopwatch watch;
  expect_part(failure(server, {"--timeout", "0.2", "--retries", "1"}), "it took too long");
  EXPECT_LT(watch.seconds(), 4.5);
  EXPECT_EQ(server.asked().size(), 2u);
}

TEST_F(Program, WhatIsWrongIsSaidBeforeAnythingIsAsked) {
  StandIn server(usual_answer);
  const auto told = [&](const Words& more) { return failure(server, more); };
  expect_part(told({"--body", "{"}), "[triples] --body: expected JSON");
  expect_part(told({"--body", "[]"}), "--body: expected an object of JSON, found []");
  expect_part(told({"--judge-body", R"({"model": "x"})"}), "--judge-body: model: expected nothing");
  expect_part(told({"--judge-server", "nowhere"}), "expected http(s)://HOST");
  expect_part(told({"--fields", "rejected=bad"}), "a field bad in some row");
  write_file(place_ / "rows.jsonl", "");
  expect_part(told({}), "expected at least one row, found none");
  const Outcome same = run({"triples", at("rows.jsonl"), "-o", at("rows.jsonl"), "--server",
                            server.url(), "--model", "m"});
  EXPECT_EQ(same.code, 1);
  expect_part(same.err, "another file than the rows'");
  EXPECT_EQ(
      run({"triples", at("rows.jsonl"), "-o", at("out.jsonl"), "--server", server.url()}).code, 2);
  EXPECT_EQ(server.asked().size(), 0u);
}

// Ctrl-C: what was asked for comes in, and the same command goes on.
TEST_F(Program, ASignalStopsItInOrder) {
  write_file(place_ / "rows.jsonl", many_rows(30));
  StandIn server(slow_answer(0.05));
  const Words all = words(server);
  const pid_t child = start_program(place_, all);
  while (server.asked().size() < 8) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  ::kill(child, SIGINT);
  const Outcome got = outcome_of(place_, child);
  EXPECT_EQ(got.code, 130) << got.err;
  expect_part(got.err, "stopping: ");
  expect_part(got.err, "stopped; the same command goes on from ");
  const size_t asked = server.asked().size();
  EXPECT_LT(asked, 60u);
  EXPECT_EQ(lines_in(place_ / "out.journal.jsonl"), 1 + asked);
  EXPECT_FALSE(std::filesystem::exists(place_ / "out.jsonl"));
  EXPECT_EQ(run(all).code, 0);
  EXPECT_EQ(server.asked().size(), 60u);
}

// Killed at any moment: at most what was under way, as many as are asked at a time, is asked again.
TEST_F(Program, KilledAtRandomItPaysForNothingTwice) {
  constexpr int rows = 60, at_a_time = 4;
  write_file(place_ / "rows.jsonl", many_rows(rows));
  const auto answer = [](const Asked& asked) {
    Sent told = unless_yes(asked, question_of(asked).back() == '7' ? "Who knows" : "Yes");
    told.wait = 0.01;
    return told;
  };
  std::string whole, open;
  {
    StandIn server(answer);
    EXPECT_EQ(once(server, {"--parallel", "4"}).code, 0);
    whole = read_file(place_ / "out.jsonl"), open = read_file(place_ / "out.review.json");
    EXPECT_EQ(server.asked().size(), size_t(2 * rows + 6 * 2));
    for (const char* name : {"out.jsonl", "out.journal.jsonl", "out.review.json"})
      std::filesystem::remove(place_ / name);
  }
  StandIn server(answer);
  const Words all = words(server, {"--parallel", "4"});
  Random random(uint64_t(::getpid()));
  size_t kills = 0, journalled = 1;
  for (bool finished = false; !finished;) {
    const pid_t child = start_program(place_, all);
    if (kills < 12) {
      std::this_thread::sleep_for(std::chrono::milliseconds(15 + random.below(120)));
      ::kill(child, SIGKILL);
    }
    finished = outcome_of(place_, child).code == 0;
    kills += !finished;
    if (!std::filesystem::exists(place_ / "out.journal.jsonl")) continue;
    const size_t lines = lines_in(place_ / "out.journal.jsonl");
    EXPECT_GE(lines + 1, journalled);  // nothing is lost but a line that was broken off
    journalled = lines;
  }
  EXPECT_GE(kills, 3u);
  EXPECT_EQ(read_file(place_ / "out.jsonl"), whole);
  EXPECT_EQ(read_file(place_ / "out.review.json"), open);
  EXPECT_LE(server.asked().size(), 2 * rows + 6 * 2 + kills * at_a_time);
}

}  // namespace
}  // namespace revenant
