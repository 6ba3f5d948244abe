// `chat --server` and `bench --server` against a server that stands in.
#include <gtest/gtest.h>

#include <csignal>

#include "base/base64.h"
#include "base/clock.h"
#include "cli/program.h"
#include "image/image.h"
#include "support/stand_in.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

std::string chunk(const json& delta, const json& finish = nullptr) {
  return "data: " +
         json{{"choices", {{{"index", 0}, {"delta", delta}, {"finish_reason", finish}}}}}.dump() +
         "\n\n";
}

// The answer to "x" is "re: x".
Sent echo(const Asked& asked) {
  if (asked.head.starts_with("GET /v1/models"))
    return http_reply(200, R"({"data": [{"id": "one"}]})");
  return http_reply(200, chunk({{"content", " re: "}}) + chunk({{"content", asked.text()}}) +
                             chunk({{"content", " \n"}}) + chunk(json::object(), "stop") +
                             "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 9, "
                             "\"completion_tokens\": 2}}\n\ndata: [DONE]\n\n");
}

class WithServer : public testing::Test {
 protected:
  WithServer() : server_(echo) {
    write_file(place_ / "a.png", encode_png(blank_image(3, 2, 9)));
    uri_ = "data:image/png;base64," + base64(read_file(place_ / "a.png"));
  }
  std::string at(const char* name) const { return (place_ / name).string(); }
  Outcome run(const char* command, const Words& more, const std::string& input = "") const {
    Words words = {command, "--server", server_.url()};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(place_, words, input);
  }
  Outcome chat(const std::string& lines, const Words& more = {}) const {
    return run("chat", more, lines);
  }
  // What was asked for an answer, from the `from`th request on.
  std::vector<json> asked(size_t from = 0) const {
    std::vector<json> all;
    for (const Asked& one : server_.asked())
      if (one.head.starts_with("POST /v1/chat/completions")) all.push_back(one.json());
    return {all.begin() + std::ptrdiff_t(from), all.end()};
  }

  const Temporary folder_;
  const Path place_ = folder_.path;
  std::string uri_;
  StandIn server_;
};

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), text.npos) << text;
}

json user(const json& content) { return {{"role", "user"}, {"content", content}}; }
json assistant(const std::string& text) { return {{"role", "assistant"}, {"content", text}}; }

TEST_F(WithServer, AConversation) {
  const Outcome got = chat("hello\n/image " + at("a.png") + "\nand now?\n/reset\nlast\n");
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, "re: hello\nre: and now?\nre: last\n");
  const std::vector<json> all = asked();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["model"], "one");
  EXPECT_EQ(all[0]["messages"], json::array({user("hello")}));
  const json seen = {{{"type", "image_url"}, {"image_url", {{"url", uri_}}}},
                     {{"type", "text"}, {"text", "and now?"}}};
  EXPECT_EQ(all[1]["messages"],
            json::array({user("hello"), assistant(" re: hello \n"), user(seen)}));
  EXPECT_EQ(all[2]["messages"], json::array({user("last")}));
  EXPECT_FALSE(all[0].contains("temperature"));  // the server's own
  EXPECT_FALSE(all[0].contains("max_tokens"));
}

TEST_F(WithServer, WithoutAPathItIsV1) {
  const std::string url = server_.url();
  const Outcome got = run_program(
      place_, {"chat", "--server", url.substr(0, url.size() - 3), "-m", "two"}, "hello\n");
  EXPECT_EQ(got.out, "re: hello\n") << got.err;
  EXPECT_EQ(asked().at(0)["model"], "two");
}

TEST_F(WithServer, WhatWasSetIsSent) {
  write_file(place_ / "key", "sesame\n", 0600);
  const Outcome got = chat("hello\n", {"-m",
                                       "two",
                                       "--api-key-file",
                                       at("key"),
                                       "--body",
                                       R"({"stop": "x"})",
                                       "-n",
                                       "7",
                                       "--temp",
                                       "0.5",
                                       "--top-k",
                                       "4",
                                       "--top-p",
                                       "0.9",
                                       "--min-p",
                                       "0.1",
                                       "--repeat-penalty",
                                       "1.5",
                                       "-s",
                                       "3",
                                       "-v",
                                       "--image",
                                       at("a.png")});
  EXPECT_EQ(got.code, 0) << got.err;
  expect_part(got.err, "prompt: 9 tokens (0 cached); answer: 2 tokens");
  const json body = asked().at(0);
  const json sent = {{"model", "two"},     {"stop", "x"}, {"max_tokens", 7},
                     {"temperature", 0.5}, {"top_k", 4},  {"top_p", 0.9},
                     {"min_p", 0.1},       {"seed", 3},   {"repetition_penalty", 1.5},
                     {"stream", true}};
  for (const auto& [field, value] : sent.items()) EXPECT_EQ(body[field], value) << field;
  EXPECT_EQ(body["messages"][0]["content"][0]["image_url"]["url"], uri_);
  EXPECT_EQ(server_.asked().at(0).field("Authorization"), "Bearer sesame");
  ::setenv("CHAT_TEST_KEY", "from-the-environment", 1);
  chat("hello\n", {"--api-key-env", "CHAT_TEST_KEY"});
  EXPECT_EQ(server_.asked().back().field("Authorization"), "Bearer from-the-environment");
}

TEST_F(WithServer, FailuresAreTold) {
  StandIn broken(
      [](const Asked&) { return http_reply(500, "{\"error\": {\"message\": \"oh\"}}"); });
  const Outcome got =
      run_program(place_, {"chat", "--server", broken.url(), "-m", "x"}, "hello\nyou\n");
  EXPECT_EQ(got.code, 1);
  expect_part(got.err, "revenant: [chat] " + broken.url() + ": expected an answer");
  expect_part(got.err, "status 500: \"oh\"");
  EXPECT_EQ(broken.asked().size(), 1u);
  StandIn two(
      [](const Asked&) { return http_reply(200, R"({"data": [{"id": "a"}, {"id": "b"}]})"); });
  expect_part(run_program(place_, {"chat", "--server", two.url()}, "hello\n").err,
              "expected one model (-m NAME chooses), found a, b");
  StandIn slow([](const Asked&) { return Sent{"", 8}; });
  const Stopwatch watch;
  expect_part(run_program(place_, {"chat", "--server", slow.url(), "-m", "x", "--timeout", "0.2"},
                          "hello\n")
                  .err,
              "it took too long");
  EXPECT_LT(watch.seconds(), 5);
}

// What would be ignored is refused.
TEST_F(WithServer, OptionsOfTheOtherKindAreWrongUsage) {
  for (const Words& option : std::vector<Words>{{"-t", "2"},
                                                {"--beams", "2"},
                                                {"--weights", "Q8_0"},
                                                {"--cache-memory", "8"},
                                                {"-c", "99"},
                                                {"--exif", "ignore"}}) {
    const Outcome got = chat("hello\n", option);
    EXPECT_EQ(got.code, 2) << option[0];
    expect_part(got.err, "not with --server");
  }
  EXPECT_EQ(run("bench", {"-b", "2"}).code, 2);
  EXPECT_EQ(run("bench", {"--no-tower"}).code, 2);
  for (const char* command : {"chat", "bench"}) {
    expect_part(run_program(place_, {command, "-m", "x", "--timeout", "3"}).err,
                "only with --server");
    expect_part(run_program(place_, {command}).err, "-m or --server is required");
  }
  expect_part(run_program(place_, {"bench", "-m", "x", "--clients", "3"}).err,
              "only with --server");
  EXPECT_TRUE(asked().empty());
}

TEST_F(WithServer, BenchSweeps) {
  const Outcome got = run("bench", {"--clients", "1,3", "-p", "4,9", "-n", "5", "-r", "2", "--json",
                                    "--image", at("a.png"), "--body", R"({"ignore_eos": true})"});
  ASSERT_EQ(got.code, 0) << got.err;
  const json rows = json::parse(got.out);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[3]["clients"], 3);
  EXPECT_EQ(rows[3]["prompt"], 9);
  EXPECT_EQ(rows[3]["predict"], 5);
  EXPECT_EQ(rows[3]["answered"], 6);
  EXPECT_EQ(rows[3]["failed"], 0);
  EXPECT_EQ(rows[3]["tokens"], 12);
  EXPECT_EQ(rows[3]["prompt_tokens"], 54);
  for (const char* name : {"ttft", "itl", "e2e"}) {
    const auto at = [&](const char* share) {
      return rows[3][std::string(name) + "_ms_" + share].get<double>();
    };
    EXPECT_LE(at("p50"), at("p95"));
    EXPECT_LE(at("p95"), at("p99"));
  }
  EXPECT_GT(rows[3]["ttft_ms_p50"], 0.0);
  EXPECT_GE(rows[3]["e2e_ms_p50"], rows[3]["ttft_ms_p50"]);
  EXPECT_GT(rows[3]["tokens_per_s"], 0.0);
  const std::vector<json> all = asked();
  ASSERT_EQ(all.size(), 2u * (3 + 7));  // each row has one before it
  std::set<std::string> texts;
  for (const json& one : all) {
    EXPECT_EQ(one["max_tokens"], 5);
    EXPECT_EQ(one["ignore_eos"], true);
    EXPECT_EQ(one["messages"][0]["content"][0]["image_url"]["url"], uri_);
    const std::string text = one["messages"][0]["content"][1]["text"];
    EXPECT_TRUE(texts.insert(text).second) << text;  // nothing to reuse
    const auto blanks = std::count(text.begin(), text.end(), ' ');
    EXPECT_TRUE(blanks == 3 || blanks == 8) << text;
  }
  const Outcome table = run("bench", {"--clients", "1", "-p", "4", "-n", "5", "-r", "1"});
  expect_part(table.out, "clients   prompt    predict   answered  failed    tokens_per_s");
  EXPECT_EQ(std::count(table.out.begin(), table.out.end(), '\n'), 2);
  expect_part(run("bench", {"--clients", "1", "-p", "4", "-n", "5", "-r", "1", "-o", "csv"}).out,
              "clients,prompt,predict,");
}

TEST_F(WithServer, BenchTellsWhoHadNoAnswer) {
  std::atomic<int> calls{0};
  StandIn full([&](const Asked& asked) {
    return calls++ % 2 ? http_reply(503, "{\"error\": {\"message\": \"full\"}}") : echo(asked);
  });
  const Words words = {"bench", "--server", full.url(), "-m", "x", "--clients",
                       "2",     "-p",       "3",        "-n", "2", "--json"};
  const Outcome got = run_program(place_, words);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(json::parse(got.out)[0]["failed"], 5);
  expect_part(json::parse(got.out)[0]["failure"], "full");
  expect_part(got.err, "5 requests had no answer; the first: ");
  StandIn broken([](const Asked&) { return http_reply(500, "{}"); });
  const Outcome none = run_program(place_, {"bench", "--server", broken.url(), "-m", "x"});
  EXPECT_EQ(none.code, 1);
  EXPECT_EQ(none.out, "");
  expect_part(none.err, "expected an answer");
}

TEST_F(WithServer, BenchIsStopped) {
  StandIn slow([](const Asked&) { return Sent{"", 8}; });
  const Stopwatch watch;
  const pid_t child = start_program(place_, {"bench", "--server", slow.url(), "-m", "x"});
  while (slow.asked().empty() && watch.seconds() < 10)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(child, SIGINT);
  EXPECT_EQ(outcome_of(place_, child).code, 130);
  EXPECT_LT(watch.seconds(), 6);
}

}  // namespace
}  // namespace revenant
