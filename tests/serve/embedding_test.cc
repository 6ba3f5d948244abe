// Embeddings of texts and pictures: what they are, and that nothing else shows in them.
#include <cmath>
#include <cstring>

#include "engine/batch.h"
#include "serve/harness.h"

namespace revenant {
namespace {

const std::shared_ptr<const Model>& model() {
  static const auto one = std::make_shared<const Model>(nano, ModelOptions{.threads = 2});
  return one;
}

std::vector<std::vector<float>> vectors_of(const json& body) {
  std::vector<std::vector<float>> all;
  for (size_t i = 0; i < body["data"].size(); ++i) {
    EXPECT_EQ(body["data"][i]["index"], i);
    EXPECT_EQ(body["data"][i]["object"], "embedding");
    all.push_back(body["data"][i]["embedding"].get<std::vector<float>>());
  }
  return all;
}

std::vector<std::vector<float>> embedded(Harness& server, const json& input, json more = {}) {
  return vectors_of(server.post("/v1/embeddings", with({{"input", input}}, more)));
}

json seen(const std::string& text, uint64_t seed) {
  return question(text, data_uri(random_picture(40, 30, seed)))["messages"];
}

// Texts, ids, chats with pictures; some that begin alike for more than a page.
json inputs() {
  std::string common;
  for (int i = 0; i < 100; ++i) common += "a red triangle and a blue circle ";
  return {"hello",          "hello there",          common + "one",
          common + "two",   json::array({5, 6, 7}), seen("what?", 1),
          seen("what?", 2), seen("who?", 1)};
}

TEST(Embeddings, AreTheStateOfTheLastToken) {
  Harness server(model(), {});
  const json body =
      server.post("/v1/embeddings", {{"input", {"a red triangle"}}, {"model", "nano"}});
  const auto ids = model()->speech().tokenizer.with_frame(
      model()->speech().tokenizer.encode("a red triangle", Specials::as_text));
  Session session(*model());
  session.put(std::vector<int>(ids.begin(), ids.end()));
  const Entry entry{&session};
  const Computed made = compute_rows({&entry, 1});
  ASSERT_EQ(made.states.rows, 1);
  double sum = 0;
  for (int i = 0; i < made.states.width; ++i) sum += std::pow(double(made.states.row(0)[i]), 2);
  const std::vector<float> got = vectors_of(body).at(0);
  ASSERT_EQ(got.size(), size_t(made.states.width));
  double length = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i], float(made.states.row(0)[i] / std::sqrt(sum)));
    length += double(got[i]) * got[i];
  }
  EXPECT_NEAR(length, 1, 1e-5);
  EXPECT_EQ(body["object"], "list");
  EXPECT_EQ(body["model"], "nano");
  EXPECT_EQ(body["usage"]["prompt_tokens"], ids.size());
  EXPECT_EQ(body["usage"]["total_tokens"], ids.size());
  EXPECT_EQ(body["revenant"]["parameters"]["pooling"], "last");
}

TEST(Embeddings, TheSameBitsAloneAndInCompany) {
  const json all = inputs();
  std::vector<std::vector<float>> alone;
  for (const json& input : all) {
    Harness server(model(), {});
    alone.push_back(embedded(server, json::array({input})).at(0));
  }
  EXPECT_EQ(std::set<std::vector<float>>(alone.begin(), alone.end()).size(), all.size());
  Harness server(model(), {});
  const auto chat =
      server.send("/v1/chat/completions",
                  with(question("tell me"), {{"max_tokens", 30}, {"ignore_eos", true}}));
  for (int warm = 0; warm < 2; ++warm) EXPECT_EQ(embedded(server, all), alone) << warm;
  json backwards = all;
  std::reverse(backwards.begin(), backwards.end());
  auto turned = embedded(server, backwards);
  std::ranges::reverse(turned);
  EXPECT_EQ(turned, alone);
  EXPECT_TRUE(chat->done());
  Harness one(ApiOptions{}, nano, {.threads = 1});
  EXPECT_EQ(embedded(one, all), alone);
  EXPECT_EQ(server.api.metrics().counted("pictures_encoded_total"), 2);
}

TEST(Embeddings, WhatBeginsAlikeIsComputedOnce) {
  Harness server(model(), {});
  const json input = inputs()[2];
  EXPECT_EQ(server.post("/v1/embeddings",
                        {{"input", input}})["usage"]["prompt_tokens_details"]["cached_tokens"],
            0);
  EXPECT_GT(server.post("/v1/embeddings",
                        {{"input", input}})["usage"]["prompt_tokens_details"]["cached_tokens"],
            64);
}

TEST(Embeddings, InBase64) {
  Harness server(model(), {});
  const json all = inputs();
  const auto floats = embedded(server, all);
  const json body = server.post("/v1/embeddings", {{"input", all}, {"encoding_format", "base64"}});
  for (size_t i = 0; i < floats.size(); ++i) {
    const std::string bytes = *bytes_of_base64(body["data"][i]["embedding"].get<std::string>());
    ASSERT_EQ(bytes.size(), floats[i].size() * 4);
    EXPECT_EQ(std::memcmp(bytes.data(), floats[i].data(), bytes.size()), 0);
  }
}

TEST(Embeddings, MessagesAreOneInput) {
  Harness server(model(), {});
  const json messages = seen("what?", 1);
  const auto one = vectors_of(server.post("/v1/embeddings", {{"messages", messages}}));
  EXPECT_EQ(one.size(), 1u);
  EXPECT_EQ(embedded(server, json::array({messages})), one);
  EXPECT_EQ(embedded(server, messages), one);
  EXPECT_EQ(embedded(server, json::array({5, 6, 7})), embedded(server, {{5, 6, 7}}));
  const int hidden = model()->config().hidden;
  const json told = server.post(
      "/v1/embeddings", {{"input", "x"}, {"dimensions", hidden}, {"user", "me"}})["revenant"];
  EXPECT_EQ(told["parameters"]["dimensions"], hidden);
  EXPECT_EQ(told["ignored"], json::array({"user"}));
}

TEST(Embeddings, WhatIsRefused) {
  ApiOptions options;
  options.ask.prompts = 3, options.ask.pictures = 2;
  Harness server(model(), options);
  const auto refused = [&](const json& body, const char* param, const char* code) {
    const auto heard = server.ask("/v1/embeddings", body);
    ASSERT_TRUE(heard->reply);
    EXPECT_EQ(heard->reply->status, 400) << heard->reply->body;
    EXPECT_EQ(heard->body()["error"]["param"], param) << heard->reply->body;
    EXPECT_EQ(heard->body()["error"]["code"], code) << heard->reply->body;
  };
  refused(json::object(), "input", "missing_parameter");
  refused({{"input", "x"}, {"messages", seen("x", 1)}}, "input", "missing_parameter");
  refused({{"input", ""}}, "input", "invalid_value");
  refused({{"input", json::array()}}, "input", "invalid_type");
  refused({{"input", 3}}, "input", "invalid_type");
  refused({{"input", {"x", 3}}}, "input[1]", "invalid_type");
  refused({{"input", {"x", ""}}}, "input[1]", "invalid_value");
  refused({{"input", {{1, -2}}}}, "input[0][1]", "invalid_type");
  refused({{"input", {{1, 99999999}}}}, "input[0]", "invalid_value");
  refused({{"input", {"1", "2", "3", "4"}}}, "input", "invalid_value");
  refused({{"input", {seen("x", 1), seen("x", 2), seen("x", 3)}}}, "input", "invalid_value");
  refused({{"input", {{{{"role", "user"}, {"content", {{{"type", "audio"}}}}}}}}},
          "input[0][0].content[0].type", "unsupported_value");
  refused({{"input", {"x", std::vector<int>(3000, 7)}}}, "input[1]", "context_length_exceeded");
  refused({{"input", "x"}, {"dimensions", 7}}, "dimensions", "unsupported_value");
  refused({{"input", "x"}, {"encoding_format", "int8"}}, "encoding_format", "unsupported_value");
  refused({{"input", "x"}, {"truncate_prompt_tokens", 7}}, "truncate_prompt_tokens",
          "unknown_parameter");
  const auto other = server.ask("/v1/embeddings", {{"input", "x"}, {"model", "other"}});
  EXPECT_EQ(other->reply->status, 404);
}

// All inputs of a request find places in the queue, or none does.
TEST(Embeddings, AllOrNone) {
  Harness server(model(), ApiOptions{.schedule = {.parallel = 1, .queue = 5, .queue_each = 4}});
  server.send("/v1/embeddings", {{"input", {"1", "2", "3"}}}, "a");
  const auto own = server.send("/v1/embeddings", {{"input", {"1", "2"}}}, "a"),
             other = server.send("/v1/embeddings", {{"input", {"1", "2", "3"}}}, "b");
  EXPECT_EQ(own->reply->status, 429);
  EXPECT_EQ(other->reply->status, 503);
  EXPECT_EQ(server.api.scheduler()->waiting(), 3u);
  EXPECT_FALSE(server.send("/v1/embeddings", {{"input", {"1", "2"}}}, "b")->done());
  EXPECT_EQ(server.api.scheduler()->waiting(), 5u);
  server.finish();
}

TEST(Embeddings, WhoLeavesFreesThePlace) {
  Harness server(model(), {});
  const auto heard = server.send("/v1/embeddings", {{"input", inputs()}});
  server.turn();
  *heard->gone = true;
  server.turn();
  EXPECT_TRUE(server.api.scheduler()->idle());
  EXPECT_EQ(server.api.metrics().counted("requests_disconnected_total"), 1);
}

TEST(Embeddings, AsLongAsOne) {
  EXPECT_EQ(normalised(std::vector<float>{3, 4}), (std::vector<float>{0.6f, 0.8f}));
  EXPECT_THROW(normalised(std::vector<float>{0, 0}), Error);
  EXPECT_THROW(normalised(std::vector<float>{1, NAN}), Error);
}

TEST(Chat, IgnoresTheEnd) {
  Harness server(model(), {});
  const json body =
      server.chat(with(question("what shape is in the image?"),
                       {{"ignore_eos", true}, {"max_tokens", 40}, {"logprobs", true}}));
  EXPECT_EQ(body["usage"]["completion_tokens"], 40);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["choices"][0]["logprobs"]["content"].size(), 40u);
  EXPECT_EQ(body["revenant"]["parameters"]["ignore_eos"], true);
  const auto refused = server.ask(
      "/v1/chat/completions",
      with(question("x"), {{"ignore_eos", true}, {"response_format", {{"type", "json_object"}}}}));
  EXPECT_EQ(refused->reply->status, 400);
  EXPECT_EQ(refused->body()["error"]["param"], "ignore_eos");
}

}  // namespace
}  // namespace revenant
