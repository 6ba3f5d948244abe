// What an answer owes to its pictures, told; and answers that are not sure enough, not told.
#include "harness.h"

#include "engine/grounding.h"

namespace revenant {
namespace {

const std::string asked = "what shape is in the image?";

json grounded(const json& more = {}) {
  json body = question(asked, data_uri(read_image(nano / "examples/red_triangle.png")));
  body["revenant"] = {{"grounding", true}};
  if (!more.is_null()) body.update(more);
  return body;
}

ApiOptions abstaining(double threshold, Score by = Score::probability) {
  ApiOptions options;
  options.abstain =
      std::make_shared<const Calibration>(Calibration{"", by, threshold, 0.05, {200, 100, 9}});
  return options;
}

json about(const Image& picture) { return question(asked, data_uri(picture)); }
Image example() { return read_image(nano / "examples/red_triangle.png"); }

// log p of the answer that is chosen over `own`, over pictures `shown`.
double log_prob(const Model& model, const Image& own, const Image& shown) {
  const Speech& speech = model.speech();
  const auto request = [&](const Image& picture) {
    Pictures encoded = model.encode(std::span(&picture, 1));
    const Turn turn{asked, 1, ""};
    const EncodedPrompt prompt =
        encode_prompt(speech.tokenizer, speech.rule, chat_pieces(speech.rule, std::span(&turn, 1)),
                      encoded.tokens);
    return Request{.ids = {prompt.ids.begin(), prompt.ids.end()}, .features = encoded.features};
  };
  Session first(model), second(model);
  Request choosing = request(own);
  choosing.session = &first;
  choosing.options.stop_ids = speech.stop_ids;
  Request saying = said_again(request(shown), generate(choosing).ids);
  saying.session = &second;
  const auto sum = watch_log_prob(saying.options);
  generate(saying);
  return *sum;
}

TEST(Judge, GroundingIsThatOfTheEngine) {
  Harness server;
  const Model model(nano);
  const Image own = example(), grey = grey_picture(own.width, own.height);
  const json plain = server.chat(about(own)), got = server.chat(grounded());
  const json told = got["choices"][0]["revenant"]["grounding"];
  EXPECT_EQ(told["log_prob"], log_prob(model, own, own));
  EXPECT_EQ(told["log_prob_grey"], log_prob(model, own, grey));
  EXPECT_EQ(told["value"], told["log_prob"].get<double>() - told["log_prob_grey"].get<double>());
  EXPECT_EQ(told["tokens"], got["usage"]["completion_tokens"]);
  EXPECT_GT(told["value"].get<double>(), 1) << "it names what it sees";
  EXPECT_FALSE(got["choices"][0]["revenant"].contains("abstained"));
  EXPECT_EQ(got["choices"][0]["message"], plain["choices"][0]["message"]);
  EXPECT_EQ(got["usage"]["completion_tokens"], plain["usage"]["completion_tokens"]);
  EXPECT_TRUE(got["revenant"]["parameters"]["grounding"]);
  EXPECT_FALSE(plain["choices"][0].contains("revenant"));
}

TEST(Judge, ToldWithTheLastChunkOfAStream) {
  Harness server;
  const json whole = server.chat(grounded());
  const auto heard = server.ask("/v1/chat/completions", grounded({{"stream", true}}));
  const Streamed read = read_stream(heard->events, 1, true, false);
  EXPECT_EQ(read.texts[0], whole["choices"][0]["message"]["content"]);
  int told = 0;
  for (const std::string& event : heard->events) {
    if (event == "[DONE]") continue;
    const json choice = json::parse(event)["choices"][0];
    if (!choice.contains("revenant")) continue;
    ++told;
    EXPECT_EQ(choice["finish_reason"], "stop");
    EXPECT_EQ(choice["revenant"], whole["choices"][0]["revenant"]);
  }
  EXPECT_EQ(told, 1);
}

// Several choices, company, a warm cache: the same bits.
TEST(Judge, TheSameInAnyCompany) {
  Harness server;
  const json alone = server.chat(grounded())["choices"][0]["revenant"];
  std::vector<std::shared_ptr<Heard>> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(server.send("/v1/chat/completions", grounded(), "key " + std::to_string(i)));
    all.push_back(server.send("/v1/chat/completions", about(random_picture(50, 70, uint64_t(i)))));
    server.turn();
  }
  server.finish();
  for (size_t i = 0; i < all.size(); i += 2)
    EXPECT_EQ(all[i]->body()["choices"][0]["revenant"], alone);
  const json several =
      server.chat(grounded({{"n", 3}, {"temperature", 1.5}, {"seed", 4}, {"max_tokens", 6}}));
  for (const json& choice : several["choices"])
    EXPECT_TRUE(choice["revenant"]["grounding"].contains("value"));
}

TEST(Judge, WhatIsRefused) {
  Harness server;
  const auto refused = [&](json body, const json& own, const char* param) {
    body["revenant"] = own;
    const auto heard = server.ask("/v1/chat/completions", body);
    ASSERT_TRUE(heard->reply);
    EXPECT_EQ(heard->reply->status, 400) << heard->reply->body;
    EXPECT_EQ(heard->body()["error"]["param"], param) << heard->reply->body;
  };
  refused(question(asked), {{"grounding", true}}, "revenant.grounding");
  refused(grounded(), {{"grounding", 1}}, "revenant.grounding");
  refused(grounded(), {{"grounding", true}, {"beams", 2}}, "revenant.beams");
  refused(grounded(), {{"abstain", true}}, "revenant.abstain");
  Harness silent(abstaining(-1));
  const auto heard =
      silent.ask("/v1/chat/completions", with(about(example()), {{"revenant", {{"beams", 2}}}}));
  EXPECT_EQ(heard->body()["error"]["param"], "revenant.beams") << heard->reply->body;
  EXPECT_EQ(silent.chat(with(
                about(example()),
                {{"revenant", {{"beams", 2}, {"abstain", false}}}}))["choices"][0]["finish_reason"],
            "stop");
}

TEST(Judge, AnAnswerThatIsNotSureIsNotGiven) {
  Harness sure(abstaining(-1e9)), silent(abstaining(0));  // no answer's log-probability is 0
  const json plain = Harness().chat(about(example()));
  const json given = sure.chat(about(example()));
  EXPECT_EQ(given["choices"][0]["message"], plain["choices"][0]["message"]);
  EXPECT_EQ(given["choices"][0]["revenant"], json({{"abstained", false}}));
  EXPECT_EQ(given["revenant"]["parameters"]["abstain"],
            json({{"by", "probability"}, {"threshold", -1e9}, {"risk", 0.05}}));
  const json withheld = silent.chat(with(about(example()), {{"logprobs", true}}));
  const json& choice = withheld["choices"][0];
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_TRUE(choice["message"]["refusal"].is_string());
  EXPECT_TRUE(choice["logprobs"].is_null()) << "they would tell the answer";
  EXPECT_EQ(choice["revenant"], json({{"abstained", true}}));
  EXPECT_EQ(withheld["usage"]["completion_tokens"], plain["usage"]["completion_tokens"]);
  EXPECT_NE(silent.get("/metrics")
                ->reply->body.find("revenant:answers_abstained_total{model_name=\"nano\"} 1"),
            std::string::npos);
  // Where it is not wanted, and where there is no picture, everything is said.
  EXPECT_EQ(silent.chat(with(about(example()),
                             {{"revenant", {{"abstain", false}}}}))["choices"][0]["message"],
            plain["choices"][0]["message"]);
  EXPECT_TRUE(
      silent.chat(with(question(asked), {{"max_tokens", 4}}))["choices"][0]["message"]["content"]
          .is_string());
  EXPECT_EQ(silent.get("/props")->body()["abstain"]["risk"], 0.05);
}

// The threshold itself is sure enough.
TEST(Judge, ByEitherScore) {
  const json told = Harness().chat(grounded())["choices"][0]["revenant"]["grounding"];
  for (const auto& [by, score] : {std::pair(Score::probability, told["log_prob"].get<double>()),
                                  std::pair(Score::grounding, told["value"].get<double>())}) {
    for (const bool below : {false, true}) {
      const double threshold =
          below ? std::nextafter(score, std::numeric_limits<double>::infinity()) : score;
      Harness server(abstaining(threshold, by));
      const json choice = server.chat(about(example()))["choices"][0];
      EXPECT_EQ(choice["revenant"]["abstained"], below) << name_of(by);
      EXPECT_EQ(choice["message"]["content"].is_null(), below) << name_of(by);
      EXPECT_EQ(choice["revenant"].contains("grounding"), by == Score::grounding);
    }
  }
}

TEST(Judge, AStreamTellsNothingOfWhatItDoesNotGive) {
  const json plain = Harness().chat(about(example()));
  const std::string text = plain["choices"][0]["message"]["content"];
  for (const double threshold : {-1e9, 0.0}) {
    Harness server(abstaining(threshold));
    const auto heard = server.ask("/v1/chat/completions",
                                  with(about(example()), {{"stream", true}, {"logprobs", true}}));
    const Streamed read = read_stream(heard->events, 1, true, false);
    std::string refusal;
    for (const std::string& event : heard->events)
      if (event != "[DONE]")
        refusal += json::parse(event)["choices"][0]["delta"].value("refusal", "");
    EXPECT_EQ(read.texts[0], threshold == 0 ? "" : text);
    EXPECT_EQ(refusal.empty(), threshold != 0);
    EXPECT_EQ(read.logprobs[0].empty(), threshold == 0);
  }
}

// Who leaves while grey pictures are looked at frees the place too; and a server that ends tells
// those whose answers are being judged.
TEST(Judge, LeavesAndEndsAsOthersDo) {
  Harness server;
  const auto waiting = [&] {  // its answer is known, its grounding is not
    const auto heard = server.send("/v1/chat/completions", grounded({{"stream", true}}));
    size_t events = 0;
    for (int quiet = 0; quiet < 2 && server.turn();) {
      quiet = heard->events.size() == events && events > 1 ? quiet + 1 : 0;
      events = heard->events.size();
    }
    EXPECT_FALSE(heard->done());
    return heard;
  };
  const auto left = waiting();
  *left->gone = true;
  for (int i = 0; i < 3; ++i) server.turn();
  EXPECT_EQ(server.api.scheduler()->running(), 0u);
  const auto cut = waiting();
  server.api.scheduler()->cancel_all();
  server.finish();
  ASSERT_TRUE(cut->done());
  EXPECT_NE(cut->events.back().find("shutting_down"), std::string::npos) << cut->events.back();
}

}  // namespace
}  // namespace revenant
