// What is shared never shows in an answer; who leaves frees a place; who waits has a turn.
#include <algorithm>

#include "harness.h"

namespace revenant {
namespace {

const std::string chat = "/v1/chat/completions";

std::shared_ptr<const Model> model() {
  static const auto opened = std::make_shared<const Model>(nano, ModelOptions{.threads = 2});
  return opened;
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "red circle blue ";
  return text;
}

// Short and long, with pictures and without, sampled and greedy; some begin alike.
json request(int i) {
  json body = question(i % 3 ? "what is in this picture? " + std::to_string(i) : long_text(),
                       i % 2 ? data_uri(random_picture(64 + i % 4, 40, uint64_t(i % 4))) : "");
  body["max_tokens"] = 3 + i;
  body["logprobs"] = true;
  body["top_logprobs"] = 3;
  if (i % 2) body.update({{"temperature", 1.3}, {"seed", i}, {"n", 2}});
  return body;
}
constexpr int requests = 8;

// Tokens and log-probabilities to the last digit.
std::string told(const json& completion) { return completion["choices"].dump(); }

TEST(SameAnswer, AloneInCompanyColdAndWarm) {
  std::vector<std::string> alone;
  for (int i = 0; i < requests; ++i) alone.push_back(told(Harness(model(), {}).chat(request(i))));
  for (uint64_t seed = 0; seed < 6; ++seed) {
    Random random(seed);
    ApiOptions options;
    options.schedule.parallel = 1 + random.below(12);
    options.schedule.step_seconds = random.below(2) ? 1e-5 : 0.1;
    options.schedule.picture_bytes = random.below(2) ? 1 << 30 : 0;
    Harness server(model(), options);
    for (int round = 0; round < 2; ++round) {  // the second one finds everything warm
      std::vector<int> order(requests);
      for (int i = 0; i < requests; ++i) order[size_t(i)] = i;
      random.shuffle(order);
      std::vector<std::shared_ptr<Heard>> heard(requests);
      for (const int i : order) {
        heard[size_t(i)] = server.send(chat, request(i));
        for (uint64_t turns = random.below(4); turns > 0; --turns) server.turn();
      }
      server.finish();
      for (int i = 0; i < requests; ++i)
        EXPECT_EQ(told(heard[size_t(i)]->body()), alone[size_t(i)]) << seed << " " << i;
    }
  }
}

double pictures_encoded(Harness& server) {
  return server.api.metrics().counted("pictures_encoded_total");
}

TEST(Reuse, BeginningsAreCountedAndPicturesEncodedOnce) {
  Harness server(model(), {});
  const json body =
      with(question(long_text(), data_uri(random_picture(64, 64, 1))), {{"max_tokens", 2}});
  const json cold = server.chat(body), warm = server.chat(body);
  EXPECT_EQ(cold["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  const int cached = warm["usage"]["prompt_tokens_details"]["cached_tokens"];
  EXPECT_GE(cached, 64);
  EXPECT_LT(cached, warm["usage"]["prompt_tokens"]);
  EXPECT_EQ(pictures_encoded(server), 1);
  // Somebody else shares nothing of it.
  const json other = server.chat(body, "somebody");
  EXPECT_EQ(other["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(pictures_encoded(server), 2);
  EXPECT_EQ(told(other), told(cold));
  // Choices of one request reuse the first one's; that is nothing found.
  const json many = server.chat(with(body, {{"n", 3}}), "a third");
  EXPECT_EQ(many["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(pictures_encoded(server), 3);
}

TEST(Reuse, SamePixelsInAnotherShapeAreAnotherPicture) {
  Image wide = random_picture(96, 24, 5), high = wide;
  std::swap(high.width, high.height);
  const auto ask = [](Harness& server, const Image& picture) {
    return told(server.chat(
        with(question("what?", data_uri(picture)), {{"max_tokens", 4}, {"logprobs", true}})));
  };
  Harness one(model(), {}), other(model(), {}), both(model(), {});
  const std::string first = ask(one, wide), second = ask(other, high);
  ASSERT_NE(first, second);
  EXPECT_EQ(ask(both, wide), first);
  EXPECT_EQ(ask(both, high), second);
  EXPECT_EQ(pictures_encoded(both), 2);
}

TEST(Pictures, KeysAndBudget) {
  const Image image = random_picture(8, 4, 1);
  const TileRule rule;
  std::set<std::string> keys = {picture_key(image, rule, "m", "")};
  Image turned = image;
  std::swap(turned.width, turned.height);
  keys.insert(picture_key(turned, rule, "m", ""));
  keys.insert(picture_key(image, rule, "n", ""));
  keys.insert(picture_key(image, rule, "m", "s"));
  TileRule smaller = rule;
  smaller.size = 64;
  keys.insert(picture_key(image, smaller, "m", ""));
  keys.insert(picture_key(random_picture(8, 4, 2), rule, "m", ""));
  EXPECT_EQ(keys.size(), 6u);
  EXPECT_TRUE(keys.contains(picture_key(image, rule, "m", "")));

  PictureCache cache(3 * 40 * sizeof(float));
  for (const char* key : {"a", "b", "c"}) cache.put(key, Tensor(4, 1, 10));
  EXPECT_TRUE(cache.find("a"));
  cache.put("d", Tensor(4, 1, 10));
  EXPECT_TRUE(cache.find("a") && cache.find("c") && cache.find("d"));
  EXPECT_FALSE(cache.find("b"));
  EXPECT_EQ(cache.bytes(), 3 * 40 * sizeof(float));
}

json endless(const std::string& text = "tell me") {
  return with(question(text), {{"max_tokens", 1500},
                               {"stream", true},
                               {"logit_bias", {{"2044", -100}}}});  // never ends by itself
}

TEST(Leaving, FreesThePlaceWithinATurn) {
  Harness server(model(), ApiOptions{.schedule = {.parallel = 1}});
  const auto first = server.send(chat, endless());
  const auto queued = server.send(chat, endless("second")),
             third = server.send(chat, endless("third"));
  for (int i = 0; i < 5; ++i) server.turn();
  EXPECT_EQ(server.api.scheduler()->running(), 1u);
  EXPECT_EQ(server.api.scheduler()->waiting(), 2u);
  *queued->gone = true;
  server.turn();
  EXPECT_EQ(server.api.scheduler()->waiting(), 1u);
  *first->gone = true;
  server.turn();  // its place is free after this one
  EXPECT_EQ(server.api.scheduler()->running(), 0u);
  server.turn();
  EXPECT_EQ(server.api.scheduler()->running(), 1u);
  EXPECT_EQ(server.api.scheduler()->waiting(), 0u);
  const size_t before = third->events.size();
  for (int i = 0; i < 20; ++i) server.turn();
  EXPECT_GT(third->events.size(), before);
  *third->gone = true;
  EXPECT_TRUE(server.turn());
  EXPECT_FALSE(server.turn());
  EXPECT_EQ(model()->pages()->held(), 0u) << "nothing whole was computed, so nothing is kept";
}

// Who waits for memory is in no step that could ask.
TEST(Leaving, WhoWaitsForMemoryGoesToo) {
  const auto small =
      std::make_shared<const Model>(nano, ModelOptions{.threads = 1, .cache_memory = 1 << 20});
  Harness server(small, {});
  const json body = with(endless(), {{"max_tokens", 250}});
  const auto first = server.send(chat, body), waiting = server.send(chat, body);
  for (int i = 0; i < 5; ++i) server.turn();
  EXPECT_GT(first->events.size(), 2u);
  EXPECT_EQ(server.api.scheduler()->running(), 2u);
  *waiting->gone = true;
  server.turn();
  EXPECT_EQ(server.api.scheduler()->running(), 1u);
  EXPECT_FALSE(first->done());
  *first->gone = true;
  server.finish();
}

// Asked before each product: a step over a long prompt takes half a minute at 7B.
TEST(Leaving, EndsAStepWithinAProduct) {
  Metrics metrics("nano");
  Scheduler scheduler(*model(), {}, metrics);
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  int asked = 0;
  Request request;
  request.ids.assign(300, 7);
  request.options.go_on = [&] { return *gone = ++asked == 3, true; };
  std::vector<Finish> finishes;
  scheduler.submit({.sender = "",
                    .pictures = {},
                    .choices = {request},
                    .gone = gone,
                    .done = [&](size_t, Generated made) -> std::unique_ptr<Work> {
                      finishes.push_back(made.finish_reason);
                      return nullptr;
                    }});
  EXPECT_TRUE(scheduler.turn());
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(finishes, std::vector{Finish::cancelled});
  EXPECT_EQ(scheduler.running(), 0u);
}

// While one is answered, another one's picture is encoded: tokens keep coming, and who leaves then
// ends the encoding.
TEST(Leaving, PicturesHoldNobodyUp) {
  Harness server(model(), {});
  const auto talker = server.send(chat, endless());
  for (int i = 0; i < 5; ++i) server.turn();
  const size_t before = talker->events.size();
  const auto seer =
      server.send(chat, with(question("what?", data_uri(random_picture(64, 64, 9))), {}));
  server.turn();  // the encoding
  EXPECT_EQ(pictures_encoded(server), 1);
  EXPECT_GT(talker->events.size(), before + 2);

  const auto leaver =
      server.send(chat, with(question("what?", data_uri(random_picture(64, 64, 10))), {}));
  talker->on_event = [&] { *leaver->gone = true; };
  while (!seer->done()) server.turn();
  EXPECT_EQ(pictures_encoded(server), 1);
  EXPECT_EQ(server.api.scheduler()->running(), 1u);
  EXPECT_TRUE(leaver->reply);  // told, though nobody listens
  *talker->gone = true;
  server.finish();
}

TEST(Queue, IsBoundedAndFair) {
  Harness server(model(), ApiOptions{.schedule = {.parallel = 1, .queue = 6, .queue_each = 4}});
  const json body = with(question("x"), {{"max_tokens", 2}});
  std::vector<std::string> order;
  std::vector<std::shared_ptr<Heard>> heard;
  const auto send = [&](const std::string& sender) {
    heard.push_back(server.send(chat, with(body, {{"stream", true}}), sender));
    heard.back()->on_event = [&order, sender, last = heard.back().get()] {
      if (last->events.back() == "[DONE]") order.push_back(sender);
    };
    return heard.back();
  };
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(send("a")->reply);
  const auto too_many = send("a");
  ASSERT_TRUE(too_many->reply);
  EXPECT_EQ(too_many->reply->status, 429);
  EXPECT_EQ(too_many->body()["error"]["type"], "rate_limit_error");
  EXPECT_EQ(too_many->reply->headers.at(0).first, "Retry-After");
  EXPECT_GE(std::stoi(too_many->reply->headers.at(0).second), 1);
  EXPECT_FALSE(send("b")->reply);
  EXPECT_FALSE(send("c")->reply);
  const auto full = send("d");
  ASSERT_TRUE(full->reply);
  EXPECT_EQ(full->reply->status, 503);
  EXPECT_EQ(full->reply->headers.at(0).first, "Retry-After");
  server.finish();
  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "c", "a", "a", "a"}));
}

TEST(Drain, FinishesOrCuts) {
  Harness server(model(), ApiOptions{.schedule = {.parallel = 1}});
  const auto last = server.send(chat, with(question("x"), {{"max_tokens", 3}}));
  server.turn();
  server.api.scheduler()->drain();
  const auto late = server.send(chat, question("y"));
  EXPECT_EQ(late->reply->status, 503);
  server.finish();
  EXPECT_EQ(last->reply->status, 200);
  EXPECT_TRUE(server.api.scheduler()->idle());

  Harness cut(model(), {});
  const auto stream = cut.send(chat, endless());
  for (int i = 0; i < 5; ++i) cut.turn();
  cut.api.scheduler()->drain();
  EXPECT_FALSE(cut.api.scheduler()->idle());
  cut.api.scheduler()->cancel_all();
  cut.finish();
  EXPECT_TRUE(stream->ended);
  EXPECT_EQ(json::parse(stream->events.back())["error"]["code"], "shutting_down");
}

}  // namespace
}  // namespace revenant
