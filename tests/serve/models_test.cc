// Several models of one server: who is loaded when, who goes, and who waits.
#include "serve/models.h"

#include "base/clock.h"
#include "serve/harness.h"

namespace revenant {
namespace {

const std::string chat = "/v1/chat/completions";

// Models called a, b and c, of one unit of memory each, that are one and the same.
class Several : public testing::Test {
 protected:
  void start(size_t budget = 0, ApiOptions options = {}) {
    std::vector<ModelToServe> all;
    for (const char* name : {"a", "b", "c"})
      all.push_back({name, 1, [this, name = std::string(name)] {
                       ++loads_[name];
                       if (failing_) throw Error("test", "a model", "one", "none");
                       static const auto one =
                           std::make_shared<const Model>(nano, ModelOptions{.threads = 2});
                       return one;
                     }});
    models_ = std::make_unique<Models>(options, all, budget);
    models_->begin();
  }
  std::shared_ptr<Heard> send(const std::string& path, const json& body,
                              const std::string& method = "POST") {
    auto heard = std::make_shared<Heard>();
    const Client client{.reply = [heard](Reply reply) { heard->reply = std::move(reply); },
                        .event = [heard](std::string event) { heard->events.push_back(event); },
                        .end = [heard] { heard->ended = true; },
                        .gone = heard->gone};
    models_->answer({method, path, body.is_null() ? "" : body.dump(), ""}, client);
    return heard;
  }
  std::shared_ptr<Heard> ask(const std::string& model, json more = {}) {
    json body = with(question("what shape is in the image?"), {{"max_tokens", 8}});
    if (!model.empty()) body["model"] = model;
    return send(chat, with(body, more));
  }
  void run_until(const std::function<bool()>& done) {
    const Stopwatch watch;
    while (!done() && watch.seconds() < 30)
      if (!models_->turn()) models_->wait();
    EXPECT_TRUE(done());
  }
  json answered(const std::shared_ptr<Heard>& heard) {
    run_until([&] { return heard->done(); });
    EXPECT_EQ(heard->reply->status, 200) << heard->reply->body;
    return heard->body();
  }
  json get(const std::string& path) { return json::parse(send(path, nullptr, "GET")->reply->body); }
  using Names = std::vector<std::string>;

  std::map<std::string, int> loads_;
  std::atomic<bool> failing_ = false;
  std::unique_ptr<Models> models_;
};

TEST_F(Several, AreLoadedWhenTheyAreAskedFor) {
  start();
  EXPECT_EQ(models_->loaded(), Names{"a"});
  const json none = answered(ask("")), a = answered(ask("a"));
  EXPECT_EQ(none["model"], "a");
  EXPECT_EQ(models_->loaded(), Names{"a"});
  const auto waiting = ask("b"), beside = ask("b");
  EXPECT_FALSE(waiting->done());
  const json b = answered(waiting);
  answered(beside);
  EXPECT_EQ(b["model"], "b");
  EXPECT_EQ(b["choices"][0]["message"], a["choices"][0]["message"]);
  EXPECT_EQ(models_->loaded(), (Names{"a", "b"}));
  EXPECT_EQ(loads_["b"], 1);
  EXPECT_EQ(loads_["c"], 0);
}

TEST_F(Several, TheLeastRecentlyUsedGoes) {
  start(2);
  answered(ask("b"));
  answered(ask("a"));
  answered(ask("c"));
  EXPECT_EQ(models_->loaded(), (Names{"a", "c"}));
  answered(ask("b"));
  EXPECT_EQ(models_->loaded(), (Names{"b", "c"}));
  EXPECT_EQ(send("/health", nullptr, "GET")->reply->status, 200);  // though the first is gone
  answered(ask(""));
  EXPECT_EQ(models_->loaded(), (Names{"a", "b"}));
  EXPECT_EQ(loads_["a"], 2);
  EXPECT_EQ(loads_["b"], 2);
}

// What was begun is finished first; who comes meanwhile waits, and is answered all the same.
TEST_F(Several, NobodysAnswerIsCut) {
  start(1);
  const auto slow = ask("a", {{"max_tokens", 200}, {"ignore_eos", true}});
  for (int i = 0; i < 5; ++i) models_->turn();
  const auto other = ask("b");
  for (int i = 0; i < 5; ++i) models_->turn();
  EXPECT_FALSE(slow->done());
  EXPECT_EQ(loads_["b"], 0);
  const auto late = ask("a");
  EXPECT_EQ(answered(slow)["usage"]["completion_tokens"], 200);
  EXPECT_FALSE(late->done());
  const json b = answered(other), a = answered(late);
  EXPECT_EQ(a["choices"][0]["message"], b["choices"][0]["message"]);
  EXPECT_EQ(loads_["a"], 2);
  EXPECT_EQ(models_->loaded(), Names{"a"});
}

TEST_F(Several, AreListed) {
  start(2);
  answered(ask("b"));
  const json list = get("/v1/models");
  ASSERT_EQ(list["data"].size(), 3u);
  for (const int i : {0, 1, 2}) {
    EXPECT_EQ(list["data"][i]["id"], std::string(1, char('a' + i)));
    EXPECT_EQ(list["data"][i]["loaded"], i < 2);
    EXPECT_EQ(list["data"][i].contains("max_model_len"), i < 2);
  }
  EXPECT_EQ(get("/v1/models/c")["id"], "c");
  EXPECT_EQ(send("/v1/models/d", nullptr, "GET")->reply->status, 404);
  EXPECT_EQ(models_->loaded(), (Names{"a", "b"}));
}

TEST_F(Several, AnUnknownOneIsA404) {
  start();
  for (const char* path :
       {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"}) {
    const auto heard = send(path, {{"model", "d"}, {"prompt", "x"}});
    ASSERT_TRUE(heard->reply) << path;
    EXPECT_EQ(heard->reply->status, 404);
    const json error = heard->body()["error"];
    EXPECT_EQ(error["code"], "model_not_found");
    EXPECT_EQ(error["param"], "model");
    EXPECT_EQ(error["type"], "not_found_error");
    EXPECT_EQ(error["message"], "this server has the models a, b, c, not \"d\"");
  }
}

TEST_F(Several, MetricsAreOfAll) {
  start(1);
  answered(ask("a"));
  answered(ask("b"));
  const std::string text = send("/metrics", nullptr, "GET")->reply->body;
  std::set<std::string> types;
  std::string family;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(types.insert(line).second) << line;
      family = line.substr(7, line.find(' ', 7) - 7);
    } else {
      EXPECT_TRUE(line.starts_with(family)) << line;
    }
  }
  for (const char* model : {"a", "b"})  // also of the one that is gone
    EXPECT_NE(text.find("revenant:e2e_request_latency_seconds_count{model_name=\"" +
                        std::string(model) + "\"} 1"),
              text.npos);
}

TEST_F(Several, OneThatCannotBeLoadedIsTriedAgain) {
  start();
  failing_ = true;
  const auto failed = ask("b"), beside = ask("b");
  run_until([&] { return failed->done() && beside->done(); });
  EXPECT_EQ(failed->reply->status, 500);
  EXPECT_EQ(failed->body()["error"]["code"], "model_not_loaded");
  EXPECT_EQ(failed->body()["error"]["message"], "the model \"b\" could not be loaded");
  failing_ = false;
  answered(ask("a"));
  answered(ask("b"));
}

TEST_F(Several, WhoWaitsLeavesOrIsTurnedAway) {
  start(1, ApiOptions{.schedule = {.queue = 2}});
  const auto slow = ask("a", {{"max_tokens", 200}, {"ignore_eos", true}});
  for (int i = 0; i < 3; ++i) models_->turn();
  const auto one = ask("b"), two = ask("b"), three = ask("b");
  EXPECT_EQ(three->reply->status, 503);
  EXPECT_EQ(three->body()["error"]["code"], "queue_full");
  *one->gone = true;
  EXPECT_FALSE(ask("b")->done());
  models_->drain();
  EXPECT_EQ(two->reply->status, 503);
  EXPECT_EQ(two->body()["error"]["code"], "shutting_down");
  EXPECT_EQ(ask("c")->reply->status, 503);
  EXPECT_EQ(answered(slow)["usage"]["completion_tokens"], 200);
  models_->end();
  EXPECT_EQ(loads_["b"], 0);
}

TEST(Models, NamesAndBudgets) {
  const auto why = [](std::vector<ModelToServe> models, size_t budget) -> std::string {
    try {
      Models(ApiOptions{}, std::move(models), budget);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_NE(why({{"a"}, {"a"}}, 0).find("two called a"), std::string::npos);
  EXPECT_NE(why({{"a", 5}, {"b", 9}}, 8).find("b: expected at most 8 bytes, found 9"),
            std::string::npos);
  EXPECT_EQ(why({{"a", 5}, {"b", 8}}, 8), "none");
}

TEST(Models, TheNameInABody) {
  EXPECT_EQ(model_in(R"({"model": "x", "messages": [{"model": "y"}]})"), "x");
  EXPECT_EQ(model_in(R"({"messages": [{"model": "y"}], "b": {"model": "z"}, "model": "x"})"), "x");
  for (const char* none :
       {"", "[]", "{}", "x", R"({"model": 3})", R"({"model": ["x"]})", R"({"a": {"model": "x"}})",
        R"({"model": {"model": "x"}})", R"({"model": "x")", R"([{"model": "x"}])"})
    EXPECT_EQ(model_in(none), "") << none;
}

}  // namespace
}  // namespace revenant
