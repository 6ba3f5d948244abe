// The routes: what they answer, stream and refuse.
#include "harness.h"

#include <sys/stat.h>

#include "base/sha256.h"
#include "engine/look.h"
#include "serve/page.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

const Path triangle = nano / "examples";

Image example() {
  for (const auto& file : std::filesystem::directory_iterator(triangle))
    if (file.path().extension() == ".png") return read_image(file.path());
  throw std::runtime_error("no example");
}

json message_of(const json& completion) { return completion["choices"][0]["message"]; }

TEST(Chat, AnswersAsTheEngineDoes) {
  Harness server;
  const Model model(nano);
  const Image picture = example();
  const std::string asked = "what shape is in the image?";
  const json got = server.chat(question(asked, data_uri(picture)));
  const Generated expected = answer(model, std::span(&picture, 1), asked);
  EXPECT_EQ(message_of(got)["content"], expected.text);
  EXPECT_EQ(message_of(got)["role"], "assistant");
  EXPECT_EQ(got["object"], "chat.completion");
  EXPECT_EQ(got["model"], "nano");
  EXPECT_EQ(got["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(got["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(got["usage"]["prompt_tokens"], expected.timings.prompt_tokens);
  EXPECT_EQ(got["usage"]["completion_tokens"], expected.ids.size());
  EXPECT_EQ(got["usage"]["total_tokens"],
            expected.timings.prompt_tokens + int(expected.ids.size()));
  // The bare form of the URL, and the picture before the text.
  const json bare = {{"messages",
                      {{{"role", "user"},
                        {"content",
                         {{{"type", "image_url"}, {"image_url", data_uri(picture)}},
                          {{"type", "text"}, {"text", asked}}}}}}}};
  EXPECT_EQ(message_of(server.chat(bare))["content"], expected.text);
}

TEST(Chat, GoesOnAfterAnswers) {
  Harness server;
  json body = {{"messages",
                {{{"role", "user"}, {"content", "what is it?"}},
                 {{"role", "assistant"}, {"content", "a red square"}},
                 {{"role", "user"}, {"content", "which colour?"}}}},
               {"max_tokens", 8}};
  const Model model(nano);
  const Speech& speech = model.speech();
  const Turn turns[] = {{"what is it?", 0, "a red square"}, {"which colour?", 0, ""}};
  const auto ids =
      encode_prompt(speech.tokenizer, speech.rule, chat_pieces(speech.rule, turns), {}).ids;
  EXPECT_EQ(server.post("/tokenize", {{"messages", body["messages"]}})["tokens"], json(ids));
  EXPECT_EQ(server.chat(body)["usage"]["prompt_tokens"], ids.size());
}

TEST(Chat, AStreamIsTheWholeAnswer) {
  Harness server;
  for (const bool usage : {false, true}) {
    json body =
        with(question("what shape is in the image?", data_uri(example())), {{"n", 2},
                                                                            {"logprobs", true},
                                                                            {"top_logprobs", 2},
                                                                            {"seed", 5},
                                                                            {"temperature", 1.0},
                                                                            {"max_tokens", 12}});
    const json whole = server.chat(body);
    body["stream"] = true;
    if (usage) body["stream_options"] = {{"include_usage", true}};
    const auto heard = server.ask("/v1/chat/completions", body);
    ASSERT_TRUE(heard->ended);
    const Streamed got = read_stream(heard->events, 2, true, usage);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(got.texts[i], whole["choices"][i]["message"]["content"]);
      EXPECT_EQ(got.finishes[i], whole["choices"][i]["finish_reason"]);
      EXPECT_EQ(got.logprobs[i], whole["choices"][i]["logprobs"]["content"]);
    }
    EXPECT_TRUE(!usage || got.usage["completion_tokens"] == whole["usage"]["completion_tokens"]);
    json told = whole["revenant"]["parameters"];
    told["stream"] = true;
    EXPECT_EQ(got.first["revenant"]["parameters"], told);
  }
}

TEST(Chat, ToldBack) {
  Harness server(ApiOptions{.sampling = {.temperature = 0.5, .top_k = 9}, .max_tokens = 6});
  const json first = server.chat(with(question("hello"), {{"top_p", 0.5}, {"user", "me"}}));
  const json told = first["revenant"]["parameters"];
  EXPECT_EQ(told["temperature"], 0.5);
  EXPECT_EQ(told["top_k"], 9);
  EXPECT_EQ(told["top_p"], 0.5);
  EXPECT_EQ(told["max_tokens"], 6);
  EXPECT_EQ(first["revenant"]["ignored"], json({"user"}));
  // With the seed that was chosen for it, the same again.
  const json again = server.chat(with(question("hello"), {{"top_p", 0.5}, {"seed", told["seed"]}}));
  EXPECT_EQ(message_of(again), message_of(first));
  EXPECT_LE(first["usage"]["completion_tokens"], 6);
}

TEST(Chat, EachChoiceHasASeedOfItsOwn) {
  Harness server;
  const json body = with(question("tell me"), {{"temperature", 1.5}, {"max_tokens", 12}});
  const json three = server.chat(with(body, {{"n", 3}, {"seed", 40}}));
  ASSERT_EQ(three["choices"].size(), 3u);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(message_of(server.chat(with(body, {{"seed", 40 + i}}))),
              three["choices"][size_t(i)]["message"]);
  EXPECT_NE(three["choices"][0]["message"], three["choices"][1]["message"]);
}

TEST(Chat, SamplingReachesTheEngine) {
  Harness server;
  const json body =
      with(question("tell me"), {{"temperature", 2.0}, {"seed", 3}, {"max_tokens", 16}});
  const std::string plain = message_of(server.chat(body))["content"];
  const std::string greedy = message_of(server.chat(with(body, {{"temperature", 0}})))["content"];
  for (const json& narrow : {json{{"top_k", 1}}, json{{"top_p", 1e-9}}, json{{"min_p", 1}}})
    EXPECT_EQ(message_of(server.chat(with(body, narrow)))["content"], greedy) << narrow;
  EXPECT_NE(plain, greedy);
  const json base = with(question("tell me"), {{"max_tokens", 16}, {"logprobs", true}});
  const json first = server.chat(base)["choices"][0]["logprobs"]["content"];
  const auto different = [&](const json& more) {
    std::set<std::string> tokens;
    const json without_end = {{"max_tokens", 60}, {"logit_bias", {{"2044", -100}}}};
    const json made = server.chat(with(with(base, without_end), more));
    for (const json& one : made["choices"][0]["logprobs"]["content"])
      tokens.insert(one["bytes"].dump());
    return tokens.size();
  };
  EXPECT_LT(different({}), 60u);
  EXPECT_EQ(different({{"repetition_penalty", 1e6}}), 60u);
  // The token that was chosen first is banned, another is forced.
  const std::string text = first[0]["token"];
  const json ids = server.post("/tokenize", {{"prompt", text}})["tokens"];
  ASSERT_EQ(ids.size(), 1u);
  const std::string id = std::to_string(ids[0].get<int>());
  const json banned = server.chat(with(base, {{"logit_bias", {{id, -100}}}}));
  EXPECT_NE(banned["choices"][0]["logprobs"]["content"][0]["token"], text);
  const json forced = server.chat(with(base, {{"logit_bias", {{id, 100}}}}));
  for (const json& one : forced["choices"][0]["logprobs"]["content"]) EXPECT_EQ(one["token"], text);
  EXPECT_EQ(forced["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(forced["usage"]["completion_tokens"], 16);
}

// Numbers, order and company: one code with `view`, and nothing of the answer changes.
TEST(Look, IsThatOfTheEngine) {
  Harness server;
  const Model model(nano);
  const Image picture = example();
  const json body = with(question("what shape is in the image?", data_uri(picture)),
                         {{"max_tokens", 9}, {"logprobs", true}});
  const json plain = server.chat(body);
  const json looked = with(body, {{"revenant", {{"look", true}}}});
  const json seen = server.chat(looked);
  EXPECT_EQ(seen["choices"], plain["choices"]);
  EXPECT_EQ(seen["revenant"]["parameters"]["look"], true);
  EXPECT_FALSE(plain["revenant"].contains("look"));

  const Turn turn{"what shape is in the image?", 1, ""};
  const Pictures encoded = model.encode(std::span(&picture, 1));
  const Speech& speech = model.speech();
  const EncodedPrompt prompt = encode_prompt(
      speech.tokenizer, speech.rule, chat_pieces(speech.rule, std::span(&turn, 1)), encoded.tokens);
  const std::vector<int> ids(prompt.ids.begin(), prompt.ids.end());
  const Look expected = look(model, ids, encoded.features, {{}, 9, speech.stop_ids, false});
  const LookAbout about{
      "nano", turn.question, {{picture.width, picture.height}}, prompt.picture_spans};
  EXPECT_EQ(seen["revenant"]["look"], look_json(model, expected, about));

  // Beside others, and another look; the whole look comes with a stream's last chunk.
  std::vector<std::shared_ptr<Heard>> company;
  for (int i = 0; i < 3; ++i)
    company.push_back(
        server.send("/v1/chat/completions", with(question("tell me"), {{"max_tokens", 20}})));
  const auto other = server.send("/v1/chat/completions", looked);
  const auto stream = server.ask("/v1/chat/completions", with(looked, {{"stream", true}}));
  EXPECT_EQ(other->body()["revenant"]["look"], seen["revenant"]["look"]);
  const Streamed got = read_stream(stream->events, 1, true, false);
  EXPECT_EQ(got.texts[0], message_of(plain)["content"]);
  const json last = json::parse(stream->events[stream->events.size() - 2]);
  EXPECT_EQ(last["revenant"]["look"], seen["revenant"]["look"]);
  for (const auto& heard : company) EXPECT_TRUE(heard->done());
}

TEST(Look, StopsAndLeavesAsOthersDo) {
  Harness server;
  const json body =
      with(question("tell me"),
           {{"max_tokens", 300}, {"logit_bias", {{"2044", -100}}}, {"revenant", {{"look", true}}}});
  const auto gone = server.send("/v1/chat/completions", body);
  const auto waiting = server.send("/v1/chat/completions", with(body, {{"max_tokens", 4}}));
  for (int i = 0; i < 20; ++i) server.turn();
  EXPECT_FALSE(gone->done());
  *gone->gone = true;
  server.finish();
  EXPECT_EQ(server.api.scheduler()->running(), 0u);
  EXPECT_EQ(waiting->body()["revenant"]["look"]["tokens"].size(),
            waiting->body()["usage"]["total_tokens"]);
}

TEST(Look, OfAPromptThatNobodyWaitsForEnds) {
  Harness server;
  std::string text;
  for (int i = 0; i < 200; ++i) text += "word ";
  const auto gone =
      server.send("/v1/chat/completions", with(question(text), {{"revenant", {{"look", true}}}}));
  for (int i = 0; i < 3; ++i) server.turn();
  EXPECT_FALSE(gone->done());
  *gone->gone = true;
  server.turn();
  EXPECT_EQ(server.api.scheduler()->running(), 0u);
}

TEST(Look, FitsBesideOthers) {
  Harness server({}, nano, {.threads = 1, .cache_memory = 1 << 20});
  std::vector<std::shared_ptr<Heard>> all;
  for (int i = 0; i < 8; ++i) {  // first and later than others
    const bool looks = i == 0 || i > 5;
    all.push_back(server.send("/v1/chat/completions", with(question(std::to_string(i) + " things"),
                                                           {{"max_tokens", 100},
                                                            {"logit_bias", {{"2044", -100}}},
                                                            {"revenant", {{"look", looks}}}})));
    for (int turns = 0; i == 5 && turns < 120; ++turns) server.turn();
  }
  server.finish();
  for (const auto& heard : all) {
    ASSERT_TRUE(heard->reply);
    EXPECT_EQ(heard->reply->status, 200) << heard->reply->body;
  }
}

TEST(Own, WhatIsRefused) {
  Harness server;
  const auto refused = [&](const json& more, const json& own, const char* param, const char* code) {
    const auto heard =
        server.ask("/v1/chat/completions", with(with(question("x"), more), {{"revenant", own}}));
    ASSERT_TRUE(heard->reply);
    EXPECT_EQ(heard->reply->status, 400) << own;
    EXPECT_EQ(heard->body()["error"]["param"], param) << heard->body();
    EXPECT_EQ(heard->body()["error"]["code"], code) << heard->body();
  };
  refused({}, {{"nonsense", 1}}, "revenant.nonsense", "unknown_parameter");
  refused({{"n", 2}}, {{"look", true}}, "revenant.look", "unsupported_value");
  refused({}, {{"look", true}, {"beams", 2}}, "revenant.look", "unsupported_value");
  refused({{"max_tokens", 1900}}, {{"look", true}}, "revenant.look", "unsupported_value");
  refused({}, {{"traverse", "all"}}, "revenant.traverse", "unsupported_value");
  refused({{"stream", true}}, {{"beams", 2}}, "revenant.beams", "unsupported_value");
  refused({{"temperature", 1}}, {{"beams", 2}}, "revenant.beams", "unsupported_value");
  refused({{"logprobs", true}}, {{"beams", 2}}, "revenant.beams", "unsupported_value");
}

TEST(Own, BeamsAreTheEngines) {
  Harness server;
  const Model model(nano);
  GenerateOptions options;
  options.beams = 3;
  options.max_new_tokens = 8;
  const Generated expected = answer(model, {}, "is", options);
  const json got =
      server.chat(with(question("is"), {{"max_tokens", 8}, {"revenant", {{"beams", 3}}}}));
  EXPECT_EQ(message_of(got)["content"], expected.text);
  EXPECT_NE(message_of(server.chat(with(question("is"), {{"max_tokens", 8}})))["content"],
            expected.text);
  EXPECT_EQ(got["revenant"]["parameters"]["beams"], 3);
}

TEST(Chat, StopsAtAText) {
  Harness server;
  const json body = with(question("what shape is in the image?", data_uri(example())), {});
  const std::string whole = message_of(server.chat(body))["content"];
  ASSERT_GT(whole.size(), 4u);
  const std::string stop = whole.substr(2, 2);
  const json got = server.chat(with(body, {{"stop", stop}}));
  EXPECT_EQ(message_of(got)["content"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(got["choices"][0]["finish_reason"], "stop");
}

TEST(Chat, Logprobs) {
  Harness server;
  const json body =
      with(question("tell me"), {{"max_tokens", 6}, {"logprobs", true}, {"top_logprobs", 20}});
  const json made = server.chat(body);
  EXPECT_GT(made["choices"][0]["logprobs"]["content"].size(), 2u);
  for (const json& token : made["choices"][0]["logprobs"]["content"]) {
    ASSERT_EQ(token["top_logprobs"].size(), 20u);
    EXPECT_EQ(token["top_logprobs"][0]["logprob"], token["logprob"]);  // greedy
    EXPECT_EQ(token["top_logprobs"][0]["token"], token["token"]);
    double before = 0, sum = 0;
    for (const json& one : token["top_logprobs"]) {
      EXPECT_LE(one["logprob"].get<double>(), before);
      before = one["logprob"];
      sum += std::exp(before);
    }
    EXPECT_GT(sum, 0.5);
    EXPECT_LE(sum, 1 + 1e-9);
  }
  // Whatever the sampling, they are the model's.
  const auto first = [&](double temperature) {
    return server.chat(
        with(body, {{"temperature", temperature},
                    {"seed", 1}}))["choices"][0]["logprobs"]["content"][0]["top_logprobs"];
  };
  EXPECT_EQ(first(0), first(2));
}

// A model of bytes that says two of them in any order: halves of characters at every place.
class Bytes : public testing::Test {
 protected:
  Bytes() {
    write_random_phantom(place_.path / "model", 7);
    server_.emplace(ApiOptions{.context = 400}, place_.path / "model");
  }
  json body() const {
    const Tokenizer tokenizer = Tokenizer::open(place_.path / "model");
    json bias = json::object();
    for (int id = 0; id < tokenizer.size(); ++id) {
      const std::string bytes = tokenizer.bytes_of(id);
      const bool half = bytes == "\xC3" || bytes == "\xA9" || bytes == "\xE2" || bytes == "\x82";
      bias[std::to_string(id)] = half && !tokenizer.is_special(id) ? 100 : -100;
    }
    return {{"logit_bias", bias},
            {"temperature", 3.0},
            {"seed", 2},
            {"max_tokens", 120},
            {"messages", question("x")["messages"]}};
  }
  Temporary place_;
  std::optional<Harness> server_;
};

TEST_F(Bytes, CharactersAreNeverSplit) {
  json asked = with(body(), {{"logprobs", true}});
  const json whole = server_->chat(asked)["choices"][0];
  std::string bytes;
  for (const json& token : whole["logprobs"]["content"])
    for (const json& byte : token["bytes"]) bytes += char(byte.get<int>());
  EXPECT_EQ(bytes.size(), 120u);
  EXPECT_NE(bytes.find("\xC3\xA9"), bytes.npos);
  EXPECT_EQ(whole["message"]["content"], repaired(bytes));
  asked["stream"] = true;
  const auto heard = server_->ask("/v1/chat/completions", asked);
  EXPECT_EQ(read_stream(heard->events, 1, true, false).texts[0], repaired(bytes));
}

TEST(Completions, TextAndIds) {
  Harness server;
  const json without_end = {{"2044", -100}};
  const auto complete = [&](const json& prompt, const json& more = {}) {
    return with({{"prompt", prompt}, {"max_tokens", 7}, {"logit_bias", without_end}}, more);
  };
  const json ids = server.post("/tokenize", {{"prompt", "a red circle"}})["tokens"];
  const json text = server.post("/v1/completions", complete("a red circle"));
  EXPECT_EQ(text["object"], "text_completion");
  EXPECT_EQ(text["choices"][0]["text"],
            server.post("/v1/completions", complete(ids))["choices"][0]["text"]);
  EXPECT_EQ(text["usage"]["prompt_tokens"], ids.size());
  const json echo = server.post("/v1/completions", complete("a red circle", {{"echo", true}}));
  EXPECT_EQ(echo["choices"][0]["text"],
            "a red circle" + text["choices"][0]["text"].get<std::string>());
  const json many = server.post(
      "/v1/completions",
      complete(json::array({"a red circle", "b"}), {{"n", 2}, {"max_tokens", 4}, {"logprobs", 2}}));
  ASSERT_EQ(many["choices"].size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const json& lists = many["choices"][i]["logprobs"];
    EXPECT_EQ(many["choices"][i]["index"], i);
    std::string joined;
    for (const json& token : lists["tokens"]) joined += token;
    EXPECT_EQ(joined, many["choices"][i]["text"]);
    EXPECT_EQ(lists["top_logprobs"].size(), lists["tokens"].size());
    EXPECT_EQ(lists["tokens"].size(), 4u);
    EXPECT_EQ(lists["text_offset"].at(0), 0);
    EXPECT_EQ(lists["text_offset"].at(1), lists["tokens"].at(0).get<std::string>().size());
  }
  const auto heard = server.ask("/v1/completions", complete("a red circle", {{"stream", true}}));
  EXPECT_EQ(read_stream(heard->events, 1, false, false).texts[0], text["choices"][0]["text"]);
}

TEST(Tokens, ThereAndBack) {
  Harness server;
  for (const char* text : {"hello", "two words, é and <|im_end|>", ""}) {
    const json got = server.post("/tokenize", {{"content", text}, {"with_pieces", true}});
    EXPECT_EQ(got["count"], got["tokens"].size());
    EXPECT_EQ(got["token_strs"].size(), got["tokens"].size());
    EXPECT_EQ(server.post("/detokenize", {{"tokens", got["tokens"]}})["prompt"], text);
  }
  EXPECT_EQ(server.ask("/detokenize", {{"tokens", {999999}}})->reply->status, 400);
}

void expect_refused(Harness& server, const std::string& path, const std::string& body, int status,
                    const json& param, const std::string& code) {
  const auto heard = server.call("POST", path, body);
  ASSERT_TRUE(heard->reply) << body;
  EXPECT_EQ(heard->reply->status, status) << body;
  const json error = heard->body()["error"];
  EXPECT_EQ(error["param"], param) << error;
  EXPECT_EQ(error["code"], code) << error;
}

TEST(Errors, OfRequests) {
  Harness server(ApiOptions{.pictures = {.pixels = 5000, .side = 80}});
  const std::string chat = "/v1/chat/completions";
  const auto refused = [&](const json& body, int status, const json& param, const char* code) {
    expect_refused(server, chat, body.dump(), status, param, code);
  };
  expect_refused(server, chat, "{\"a\": ", 400, nullptr, "invalid_json");
  expect_refused(server, chat, "{\"a\": 1, \"a\": 2}", 400, nullptr, "invalid_json");
  expect_refused(server, chat, "{\"a\": \"\xff\"}", 400, nullptr, "invalid_json");
  expect_refused(server, chat, std::string(65, '[') + std::string(65, ']'), 400, nullptr,
                 "invalid_json");
  expect_refused(server, chat, "[]", 400, nullptr, "invalid_type");
  refused(with(question("x"), {{"model", "other"}}), 404, "model", "model_not_found");
  refused(with(question("x"), {{"nonsense", 1}}), 400, "nonsense", "unknown_parameter");
  std::string long_text;
  for (int i = 0; i < 3000; ++i) long_text += "word ";
  refused(question(long_text), 400, "messages", "context_length_exceeded");
  const std::string part = "messages[0].content[1].image_url";
  for (const char* url : {"http://example.com/x.png", "https://example.com/x.png",
                          "file:///etc/passwd", "/etc/passwd"})
    refused(question("x", url), 400, part, "unsupported_url");
  for (const char* url :
       {"data:image/png;base64", "data:text/plain;base64,AAAA", "data:image/png,AAAA",
        "data:image/png;base64,@@@@", "data:image/png;base64,AAAA", "data:image/png;base64,"})
    refused(question("x", url), 400, part, "invalid_image");
  refused(question("x", data_uri(blank_image(71, 71))), 400, part, "invalid_image");
  refused(question("x", data_uri(blank_image(81, 2))), 400, part, "invalid_image");
  const std::string png = encode_png(blank_image(60, 60));
  refused(question("x", "data:image/png;base64," + base64(png.substr(0, png.size() / 2))), 400,
          part, "invalid_image");
  server.chat(with(question("x", data_uri(blank_image(1, 1))), {{"max_tokens", 1}}));
}

TEST(Errors, WhatNeverFitsIsRefused) {
  Harness server({}, nano, {.threads = 1, .cache_memory = 1 << 20});
  const json small = with(question("x"), {{"max_tokens", 20}});
  server.chat(small);
  expect_refused(server, "/v1/chat/completions", with(question("x"), {{"max_tokens", 2000}}).dump(),
                 400, "messages", "context_length_exceeded");
}

TEST(Routes, ModelsPropsMetricsHealth) {
  Harness server;
  EXPECT_EQ(server.get("/health")->body(), (json{{"status", "ok"}}));
  EXPECT_EQ(server.get("/v1/models")->body()["data"][0]["id"], "nano");
  EXPECT_EQ(server.get("/v1/models/nano")->body()["id"], "nano");
  EXPECT_EQ(server.get("/v1/models/x")->reply->status, 404);
  EXPECT_EQ(server.get("/props")->body()["n_ctx"], 2048);
  server.chat(with(question("x"), {{"max_tokens", 3}, {"logit_bias", {{"2044", -100}}}}));
  const std::string metrics = server.get("/metrics")->reply->body;
  for (const char* line : {"\nrevenant:generation_tokens_total{model_name=\"nano\"} 3\n",
                           "revenant:num_requests_running{model_name=\"nano\"} 0\n",
                           "revenant:e2e_request_latency_seconds_count{model_name=\"nano\"} 1\n",
                           "finished_reason=\"length\"} 1\n"})
    EXPECT_NE(metrics.find(line), metrics.npos) << line << metrics;
}

// The page itself is no secret, and asks for the key.
bool is_page(const Api::Route& route) {
  return std::ranges::any_of(page_files(), [&](const PageFile& file) {
    return file.path == std::string_view(route.path);
  });
}

TEST(Routes, NothingButThePageAndHealthWhileLoading) {
  Api api(ApiOptions{});
  for (const Api::Route& route : Api::routes()) {
    int status = 0;
    api.answer({route.method, route.path, "{}", ""},
               {.reply = [&](Reply reply) { status = reply.status; },
                .event = {},
                .end = {},
                .gone = std::make_shared<std::atomic<bool>>(false)});
    EXPECT_EQ(status, is_page(route) ? 200 : 503) << route.path;
  }
}

TEST(Page, FilesTypesAndPolicy) {
  Harness server;
  const std::string html = server.get("/")->reply->body;
  const auto field = [](const Reply& reply, const std::string& name) {
    for (const auto& [field, value] : reply.headers)
      if (field == name) return value;
    return std::string();
  };
  for (const PageFile& file : page_files()) {
    const auto heard = server.get(file.path);
    ASSERT_TRUE(heard->reply) << file.path;
    const Reply& reply = *heard->reply;
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.type, file.type);
    EXPECT_EQ(reply.body,
              read_file(Path(REVENANT_SOURCE_DIR) / "web/dist" /
                        (std::string_view(file.path) == "/" ? "index.html" : file.path + 1)));
    EXPECT_EQ(reply.cache, "no-cache");
    EXPECT_EQ(field(reply, "ETag"), "\"" + sha256_of(reply.body) + "\"");
    const std::string policy = field(reply, "Content-Security-Policy");
    for (const char* part : {"default-src 'none'", "script-src 'self';", "style-src 'self';",
                             "connect-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"})
      EXPECT_NE(policy.find(part), policy.npos) << part;
    EXPECT_EQ(policy.find("unsafe"), policy.npos);
    EXPECT_EQ(policy.find("http"), policy.npos);
    const std::string link = "\"." + std::string(file.path) + "\"";
    EXPECT_TRUE(std::string_view(file.path) == "/" || html.find(link) != html.npos) << link;
  }
  EXPECT_EQ(html.find("<style"), html.npos);
  EXPECT_EQ(html.find(" style="), html.npos);
  EXPECT_EQ(html.find("http:"), html.npos);
  EXPECT_EQ(html.find("https:"), html.npos);
}

TEST(Page, IsNotSentTwice) {
  for (const PageFile& file : page_files()) {
    EXPECT_EQ(page_reply(file.path, "").status, 200);
    EXPECT_EQ(page_reply(file.path, "\"other\"").status, 200);
    const std::string tag = file.etag;
    for (const std::string& known : {tag, "W/" + tag, "\"other\", " + tag}) {
      const Reply reply = page_reply(file.path, known);
      EXPECT_EQ(reply.status, 304) << known;
      EXPECT_EQ(reply.body, "");
    }
  }
}

Head head_of(const Api::Route& route) {
  Head head;
  head.method = route.method;
  head.target = route.path;
  return head;
}

int status_of(const Api& api, const Head& head) {
  const Admission admission = api.admit(head);
  return admission.refusal ? admission.refusal->status : 200;
}

TEST(Admission, EveryRouteButThePageAndHealthNeedsAKey) {
  ApiOptions options;
  options.keys.add("sesame");
  options.keys.add("other");
  const Api api(options);
  int open = 0;
  for (const Api::Route& route : Api::routes()) {
    Head head = head_of(route);
    open += route.open;
    const bool open_to_all = is_page(route) || std::string_view(route.path) == "/health";
    EXPECT_EQ(status_of(api, head), open_to_all ? 200 : 401) << route.path;
    if (route.open) continue;
    for (const char* wrong : {"Bearer wrong", "Bearer ", "Bearer sesam", "Bearer sesame2", "sesame",
                              "Basic sesame", "Bearer sesame, Bearer x"}) {
      head.authorization = wrong;
      EXPECT_EQ(status_of(api, head), 401) << route.path << wrong;
    }
    for (const char* target : {"?key=sesame", "?x=/health", "/", "/../health"}) {
      head.target = route.path + std::string(target);
      EXPECT_EQ(status_of(api, head), 401) << head.target;
    }
    head = head_of(route);
    head.authorization = "bearer sesame";
    EXPECT_EQ(status_of(api, head), 200);
    EXPECT_EQ(api.admit(head).call.sender, sha256_of("sesame").substr(0, 16));
    head = head_of(route);
    head.api_key = "other";
    EXPECT_EQ(status_of(api, head), 200);
  }
  EXPECT_EQ(open, 1 + int(page_files().size()));
  Head unknown;
  unknown.method = "GET", unknown.target = "/nothing";
  EXPECT_EQ(status_of(api, unknown), 401);
  unknown.api_key = "other";
  EXPECT_EQ(status_of(api, unknown), 404);
  unknown.target = "/health", unknown.method = "POST";
  EXPECT_EQ(status_of(api, unknown), 405);
  EXPECT_EQ(api.admit(unknown).headers.back(),
            (std::pair<std::string, std::string>("Allow", "GET")));
}

TEST(Admission, OriginsAndHosts) {
  ApiOptions options;
  options.origins = {"https://page.example"};
  options.hosts = {"localhost", "[::1]"};
  const Api api(options);
  Head head;
  head.method = "POST", head.target = "/v1/chat/completions", head.host = "localhost:8080";
  EXPECT_EQ(status_of(api, head), 200);
  head.origin = "http://localhost:8080";
  EXPECT_EQ(status_of(api, head), 200);
  EXPECT_TRUE(api.admit(head).headers.empty());
  for (const char* bad :
       {"http://evil.example", "null", "http://localhost:9", "https://page.example.evil"}) {
    head.origin = bad;
    EXPECT_EQ(status_of(api, head), 403) << bad;
    EXPECT_TRUE(api.admit(head).headers.empty());
  }
  head.origin = "https://page.example";
  EXPECT_EQ(status_of(api, head), 200);
  EXPECT_EQ(api.admit(head).headers[0].second, "https://page.example");
  head.method = "OPTIONS";
  EXPECT_EQ(status_of(api, head), 204);
  head.host = "evil.example:8080";
  EXPECT_EQ(status_of(api, head), 403);
  head.host = "[::1]:8080", head.method = "POST";
  EXPECT_EQ(status_of(api, head), 200);
}

TEST(Keys, Files) {
  Temporary place;
  const Path file = place.path / "keys";
  write_file(file, "# people\none\r\n\n  two\n", 0600);
  Keys keys;
  EXPECT_EQ(keys.who("anything"), "");
  EXPECT_THROW(keys.add_file(file), Error);  // "  two" is none
  write_file(file, "# people\none\r\n\ntwo\n", 0600);
  Keys both;
  both.add_file(file);
  EXPECT_TRUE(both.who("one") && both.who("two"));
  EXPECT_NE(both.who("one"), both.who("two"));
  EXPECT_FALSE(both.who("") || both.who("one ") || both.who("# people"));
  for (const unsigned mode : {0640u, 0604u, 0620u, 0644u}) {
    ::chmod(file.c_str(), mode);
    EXPECT_THROW(Keys().add_file(file), Error) << mode;
  }
  write_file(file, "# nobody\n", 0600);
  EXPECT_THROW(Keys().add_file(file), Error);
}

}  // namespace
}  // namespace revenant
