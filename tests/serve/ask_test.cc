// What requests may say, and how what they may not say is refused: by name.
#include "serve/ask.h"

#include "harness.h"

namespace revenant {
namespace {

struct Refused {
  const char *body, *param, *code;
};

const json good = {{"messages", {{{"role", "user"}, {"content", "what?"}}}}};

TEST(Ask, EveryParameterArrives) {
  json body = {{"model", "m"},
               {"temperature", 0.5},
               {"top_p", 0.25},
               {"top_k", 7},
               {"min_p", 0.125},
               {"repetition_penalty", 1.5},
               {"seed", 11},
               {"n", 3},
               {"stop", {"a", "b"}},
               {"logit_bias", {{"5", -100}}},
               {"logprobs", true},
               {"top_logprobs", 4},
               {"max_completion_tokens", 9},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}},
               {"user", "me"}};
  body.update(good);
  const Ask ask = chat_ask(body, {});
  EXPECT_EQ(ask.model, "m");
  EXPECT_EQ(ask.sampling.temperature, 0.5);
  EXPECT_EQ(ask.sampling.top_p, 0.25);
  EXPECT_EQ(ask.sampling.top_k, 7);
  EXPECT_EQ(ask.sampling.min_p, 0.125);
  EXPECT_EQ(ask.sampling.repetition_penalty, 1.5);
  EXPECT_EQ(ask.sampling.seed, 11u);
  EXPECT_TRUE(ask.seeded);
  EXPECT_EQ(ask.choices, 3);
  EXPECT_EQ(ask.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ask.sampling.bias, (std::vector<std::pair<int, double>>{{5, -100}}));
  EXPECT_EQ(ask.top_logprobs, 4);
  EXPECT_EQ(ask.max_tokens, 9);
  EXPECT_TRUE(ask.stream && ask.usage_chunk);
  EXPECT_EQ(ask.ignored, std::vector<std::string>{"user"});
}

TEST(Ask, DefaultsAreTheServers) {
  EXPECT_EQ(chat_ask(good, {}, {.temperature = 0.75}).sampling.temperature, 0.75);
  EXPECT_FALSE(chat_ask(good, {}).seeded);
  EXPECT_EQ(chat_ask(good, {}).top_logprobs, -1);
}

TEST(Ask, WhatIsWrongIsNamed) {
  const Refused all[] = {
      {R"({"temperatur": 1})", "temperatur", "unknown_parameter"},
      {R"({"temperature": "1"})", "temperature", "invalid_type"},
      {R"({"temperature": -1})", "temperature", "invalid_value"},
      {R"({"top_p": 0})", "top_p", "invalid_value"},
      {R"({"min_p": 2})", "min_p", "invalid_value"},
      {R"({"top_k": -2})", "top_k", "invalid_value"},
      {R"({"top_k": 1.5})", "top_k", "invalid_type"},
      {R"({"repetition_penalty": 0})", "repetition_penalty", "invalid_value"},
      {R"({"seed": 18446744073709551615})", "seed", "invalid_value"},
      {R"({"n": 0})", "n", "invalid_value"},
      {R"({"n": 1000})", "n", "invalid_value"},
      {R"({"stop": ["", "a"]})", "stop", "invalid_value"},
      {R"({"stop": 5})", "stop", "invalid_value"},
      {R"({"logit_bias": {"x": 1}})", "logit_bias", "invalid_value"},
      {R"({"logit_bias": {"1": 101}})", "logit_bias", "invalid_value"},
      {R"({"top_logprobs": 3})", "top_logprobs", "unsupported_value"},
      {R"({"logprobs": true, "top_logprobs": 21})", "top_logprobs", "invalid_value"},
      {R"({"max_tokens": 0})", "max_tokens", "invalid_value"},
      {R"({"max_tokens": 5, "max_completion_tokens": 6})", "max_tokens", "invalid_value"},
      {R"({"stream": 1})", "stream", "invalid_type"},
      {R"({"stream_options": {}})", "stream_options", "unsupported_value"},
      {R"({"stream": true, "stream_options": {"x": 1}})", "stream_options.x", "unknown_parameter"},
      {R"({"frequency_penalty": 0.5})", "frequency_penalty", "unsupported_value"},
      {R"({"presence_penalty": 1})", "presence_penalty", "unsupported_value"},
      {R"({"tools": [1]})", "tools", "unsupported_value"},
      {R"({"store": true})", "store", "unsupported_value"},
      {R"({"messages": []})", "messages", "invalid_type"},
      {R"({"messages": null})", "messages", "missing_parameter"},
      {R"({"messages": [{"role": "cook", "content": "x"}]})", "messages[0].role",
       "unsupported_value"},
      {R"({"messages": [{"role": "user"}]})", "messages[0].content", "missing_parameter"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content", "invalid_type"},
      {R"({"messages": [{"role": "user", "content": "x", "y": 1}]})", "messages[0].y",
       "unknown_parameter"},
      {R"({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]})",
       "messages[0].content[0].type", "unsupported_value"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"},
                                                     {"type": "image_url"}]}]})",
       "messages[0].content[1].image_url", "missing_parameter"},
      {R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]})",
       "messages[1].role", "invalid_value"},
      {R"({"messages": [{"role": "assistant", "content": "y"}]})", "messages[0].role",
       "invalid_value"},
      {R"({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]})",
       "messages[1].role", "invalid_value"},
  };
  for (const Refused& refused : all) {
    json body = good;
    body.update(json::parse(refused.body));
    try {
      chat_ask(body, {});
      ADD_FAILURE() << refused.body;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, 400) << refused.body;
      EXPECT_EQ(failure.param, refused.param) << refused.body;
      EXPECT_EQ(failure.code, refused.code) << refused.body;
    }
  }
}

TEST(Ask, ErrorsHaveFourFields) {
  const json error = error_json(invalid("n", "too many"))["error"];
  EXPECT_EQ(error.size(), 4u);
  EXPECT_EQ(error["message"], "n: too many");
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(error["param"], "n");
  EXPECT_EQ(error["code"], "invalid_value");
  EXPECT_TRUE(error_json(Failure(404, "no"))["error"]["param"].is_null());
}

TEST(Ask, Talks) {
  std::vector<std::string> ignored;
  const json messages = json::parse(R"([
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "a"},
                                 {"type": "image_url", "image_url": "data:1"},
                                 {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": "c", "name": "x"},
    {"role": "user", "content": "d"},
    {"role": "user", "content": [{"type": "image_url",
                                  "image_url": {"url": "data:2", "detail": "low"}}]}])");
  const Talk talk = talk_of(messages, "messages", {}, ignored);
  ASSERT_EQ(talk.turns.size(), 2u);
  EXPECT_EQ(talk.turns[0].question, "Be brief.\n\na\nb");
  EXPECT_EQ(talk.turns[0].pictures, 1);
  EXPECT_EQ(talk.turns[0].answer, "c");
  EXPECT_EQ(talk.turns[1].question, "d");
  EXPECT_EQ(talk.turns[1].pictures, 1);
  EXPECT_EQ(talk.turns[1].answer, "");
  ASSERT_EQ(talk.pictures.size(), 2u);
  EXPECT_EQ(talk.pictures[0].uri, "data:1");
  EXPECT_EQ(talk.pictures[1].uri, "data:2");
  EXPECT_EQ(talk.pictures[1].param, "messages[4].content[0].image_url");
  EXPECT_EQ(ignored, (std::vector<std::string>{"messages[2].name",
                                               "messages[4].content[0].image_url.detail"}));
  EXPECT_THROW(talk_of(messages, "messages", {.pictures = 1}, ignored), Failure);
}

TEST(Ask, TextCompletions) {
  const Ask text = completion_ask({{"prompt", "x"}}, {});
  EXPECT_EQ(std::get<std::string>(text.prompts.at(0)), "x");
  const Ask ids = completion_ask({{"prompt", {1, 2}}}, {});
  EXPECT_EQ(std::get<std::vector<int>>(ids.prompts.at(0)), (std::vector<int>{1, 2}));
  EXPECT_EQ(completion_ask({{"prompt", {"a", "b"}}}, {}).prompts.size(), 2u);
  EXPECT_EQ(completion_ask({{"prompt", {{1}, {2, 3}}}}, {}).prompts.size(), 2u);
  const Refused all[] = {{R"({})", "prompt", "missing_parameter"},
                         {R"({"prompt": []})", "prompt", "invalid_type"},
                         {R"({"prompt": [1, "a"]})", "prompt[1]", "invalid_type"},
                         {R"({"prompt": [-1]})", "prompt[0]", "invalid_type"},
                         {R"({"prompt": "a", "suffix": "b"})", "suffix", "unsupported_value"},
                         {R"({"prompt": "a", "best_of": 3})", "best_of", "unsupported_value"},
                         {R"({"prompt": "a", "messages": []})", "messages", "unknown_parameter"}};
  for (const Refused& refused : all) try {
      completion_ask(json::parse(refused.body), {});
      ADD_FAILURE() << refused.body;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.param, refused.param) << refused.body;
      EXPECT_EQ(failure.code, refused.code) << refused.body;
    }
}

}  // namespace
}  // namespace revenant
