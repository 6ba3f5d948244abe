// From pictures and a question to streamed text, on a small random model with a real tokenizer.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "engine/generate.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

class Answer : public testing::Test {
 protected:
  void SetUp() override { write_random_phantom(directory_, 3); }
  const Temporary place_;
  const Path directory_ = place_.path;
};

TEST_F(Answer, StreamsTheTextItReturns) {
  const Model model(directory_, {{}, 2});
  std::string streamed;
  GenerateOptions options;
  options.max_new_tokens = 60;
  options.sampling = {.temperature = 1, .seed = 4};
  options.on_token = [&](int, std::string_view text) {
    streamed += text;
    return true;
  };
  const Image picture = blank_image(200, 100, 90);
  const Generated made = answer(model, std::span(&picture, 1), "what is this?", options);
  EXPECT_EQ(made.timings.generated_tokens, int(made.ids.size()));
  EXPECT_GT(made.ids.size(), 10u);
  EXPECT_EQ(made.text, filter_output(model.speech().rule, streamed));
  // 2 tiles and the thumbnail, 4 tokens each.
  EXPECT_GT(made.timings.prompt_tokens, 12);
}

TEST_F(Answer, DependsOnThePictureAndTheQuestion) {
  const Model model(directory_, {{}, 2});
  GenerateOptions options;
  options.max_new_tokens = 30;
  options.sampling = {.temperature = 1, .seed = 4};
  const Image grey = blank_image(60, 60, 90), white = blank_image(60, 60, 255);
  const auto ids = [&](std::span<const Image> pictures, const char* question) {
    return answer(model, pictures, question, options).ids;
  };
  const auto expected = ids(std::span(&grey, 1), "what?");
  EXPECT_EQ(ids(std::span(&grey, 1), "what?"), expected);
  EXPECT_NE(ids(std::span(&white, 1), "what?"), expected);
  EXPECT_NE(ids(std::span(&grey, 1), "who?"), expected);
  EXPECT_NE(ids({}, "what?"), expected);
}

// Pictures of unlike sizes: each keeps its own rows, in the order given.
TEST_F(Answer, PicturesKeepTheirOrder) {
  const Model model(directory_, {{}, 2});
  Random random(1);
  std::vector<Image> pictures = {blank_image(60, 60), blank_image(150, 100), blank_image(60, 170)};
  for (Image& picture : pictures)
    for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
  std::vector<Pictures> alone;
  for (const Image& picture : pictures) alone.push_back(model.encode(std::span(&picture, 1)));
  std::vector<int> tokens;
  std::vector<float> rows;
  for (const Pictures& one : alone) {
    tokens.push_back(one.tokens.at(0));
    rows.insert(rows.end(), one.features.data(), one.features.data() + one.features.size());
  }
  EXPECT_EQ(std::set(tokens.begin(), tokens.end()).size(), 3u);
  const Pictures together = model.encode(pictures);
  EXPECT_EQ(together.tokens, tokens);
  ASSERT_EQ(together.features.size(), rows.size());
  EXPECT_EQ(0, std::memcmp(together.features.data(), rows.data(), rows.size() * sizeof(float)));
}

// An answer about two pictures is that to the prompt put together by hand.
TEST_F(Answer, TwoPicturesAreAskedAboutInTheirOrder) {
  const Model model(directory_, {{}, 2});
  GenerateOptions options;
  options.max_new_tokens = 30;
  options.sampling = {.temperature = 1, .seed = 4};
  const std::vector<Image> pictures = {blank_image(60, 60, 90), blank_image(150, 60, 255)};
  const std::vector<Image> turned = {pictures[1], pictures[0]};
  const Generated made = answer(model, pictures, "what?", options);
  EXPECT_NE(made.ids, answer(model, turned, "what?", options).ids);
  const Speech& speech = model.speech();
  const Turn turn{"what?", 2, ""};
  const Pictures one = model.encode(std::span(&pictures[0], 1)),
                 two = model.encode(std::span(&pictures[1], 1));
  const std::vector<int> tokens = {one.tokens[0], two.tokens[0]};
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule,
                                             chat_pieces(speech.rule, std::span(&turn, 1)), tokens);
  Tensor features(one.features.rows + two.features.rows, 1, one.features.width);
  std::copy_n(one.features.data(), one.features.size(), features.data());
  std::copy_n(two.features.data(), two.features.size(), features.row(one.features.rows));
  options.stop_ids = speech.stop_ids;
  Session session(model);
  EXPECT_EQ(generate({&session, {prompt.ids.begin(), prompt.ids.end()}, features, options}).ids,
            made.ids);
}

// The template's end of turn, and what config.json calls the end.
TEST_F(Answer, ConfigsAndTemplatesStopTokensBothStop) {
  const auto stops = [](const Model& model) {
    return std::set(model.speech().stop_ids.begin(), model.speech().stop_ids.end());
  };
  const Model same(directory_, {{}, 1});
  const std::set<int> rule = stops(same);
  EXPECT_TRUE(rule.contains(257));
  std::set<int> both = rule;
  both.insert(70);
  EXPECT_EQ(stops(Model(directory_, {{"eos_token_id=70"}, 1})), both);
}

TEST_F(Answer, EveryEndTokenOfTheFilesStops) {
  const auto ids = [&](const std::vector<std::string>& settings) {
    const Model model(directory_, {settings, 1});
    return std::set(model.speech().stop_ids.begin(), model.speech().stop_ids.end());
  };
  std::set<int> expected = ids({});
  expected.insert({41, 42});
  EXPECT_EQ(ids({"eos_token_id=[257, 41, 42]"}), expected);
  write_file(directory_ / "generation_config.json", R"({"eos_token_id": [43, 44]})");
  expected.insert({43, 44});
  EXPECT_EQ(ids({"eos_token_id=[257, 41, 42]"}), expected);
  write_file(directory_ / "generation_config.json", R"({"repetition_penalty": 1.1})");
  EXPECT_THROW(ids({}), Error);
}

TEST_F(Answer, ManyTilesEqualTilesOneByOne) {
  const Model model(directory_, {{}, 2});
  Image picture = blank_image(150, 100);
  Random random(1);
  for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
  const Pictures encoded = model.encode(std::span(&picture, 1));
  const Tiles tiles = tile(picture, model.tile_rule());
  ASSERT_EQ(encoded.tokens, std::vector<int>{int(tiles.tiles.size()) * 4});
  ASSERT_GT(tiles.tiles.size(), 3u);
  for (size_t i = 0; i < tiles.tiles.size(); ++i) {
    const auto pixels = normalise(std::span(tiles.tiles).subspan(i, 1), model.tile_rule());
    const Tensor rows = see(model.native(), pixels, 1, 56);
    EXPECT_EQ(
        0, std::memcmp(rows.data(), encoded.features.row(int(i) * 4), rows.size() * sizeof(float)));
  }
}

TEST_F(Answer, StopStringsEndTheTextBeforeThem) {
  const Model model(directory_, {{}, 1});
  Session plain(model), stopped(model);
  GenerateOptions options;
  options.max_new_tokens = 40;
  options.sampling = {.temperature = 1, .seed = 9};
  options.speech = &model.speech();
  const std::vector<int> prompt = {65, 66, 67};
  const std::string whole = generate({&plain, prompt, {}, options}).text;
  ASSERT_GT(whole.size(), 10u);
  const std::string stop = whole.substr(5, 3);
  const size_t at = whole.find(stop);
  std::string streamed;
  options.stop_strings = {stop};
  options.on_token = [&](int, std::string_view text) {
    streamed += text;
    return true;
  };
  const Generated made = generate({&stopped, prompt, {}, options});
  EXPECT_EQ(made.finish_reason, Finish::stop);
  EXPECT_EQ(made.text, whole.substr(0, at));
  EXPECT_EQ(streamed, made.text);
}

// The end of one token's text and the beginning of the next one's.
TEST_F(Answer, AStopStringMayLieAcrossTokens) {
  const Model model(directory_, {{}, 1});
  Session plain(model), stopped(model);
  GenerateOptions options;
  options.max_new_tokens = 60;
  options.sampling = {.temperature = 1, .seed = 9};
  options.speech = &model.speech();
  std::vector<std::string> texts;
  options.on_token = [&](int, std::string_view text) {
    texts.emplace_back(text);
    return true;
  };
  const std::vector<int> prompt = {65, 66, 67};
  const std::string whole = generate({&plain, prompt, {}, options}).text;
  std::string before, stop;
  for (size_t i = 0; i + 1 < texts.size() && stop.empty(); ++i) {
    before += texts[i];
    if (texts[i].empty() || texts[i + 1].empty()) continue;
    const std::string both = {texts[i].back(), texts[i + 1].front()};
    if (whole.find(both) == before.size() - 1) stop = both;
  }
  ASSERT_EQ(stop.size(), 2u);
  texts.clear();
  options.stop_strings = {"never said", stop, ""};
  const Generated made = generate({&stopped, prompt, {}, options});
  EXPECT_EQ(made.finish_reason, Finish::stop);
  EXPECT_EQ(made.text, before.substr(0, before.size() - 1));
  std::string streamed;
  for (const std::string& text : texts) streamed += text;
  EXPECT_EQ(streamed, made.text);
}

// What begins like a stop string and goes on otherwise is held back, and then told.
TEST_F(Answer, WhatOnlyBeginsLikeAStopStringIsTold) {
  const Model model(directory_, {{}, 1});
  Session plain(model), watched(model);
  GenerateOptions options;
  options.max_new_tokens = 40;
  options.sampling = {.temperature = 1, .seed = 9};
  options.speech = &model.speech();
  const std::vector<int> prompt = {65, 66, 67};
  const std::string whole = generate({&plain, prompt, {}, options}).text;
  std::string streamed;
  options.stop_strings = {whole.substr(4, 6) + "\n\n never",
                          whole.substr(whole.size() - 1) + "\n\n"};
  options.on_token = [&](int, std::string_view text) {
    streamed += text;
    return true;
  };
  const Generated made = generate({&watched, prompt, {}, options});
  EXPECT_EQ(made.text, whole);
  EXPECT_EQ(streamed, whole);
  EXPECT_EQ(made.finish_reason, Finish::length);
}

TEST_F(Answer, NoTokenizerIsAClearError) {
  std::filesystem::remove(directory_ / "tokenizer.json");
  const Model model(directory_, {{}, 1});
  EXPECT_THROW(answer(model, {}, "what?"), Error);
}

TEST_F(Answer, APictureTokenThatTheConfigDeniesIsAnError) {
  const Model model(directory_, {{"image_token_index=12"}, 1});
  EXPECT_THROW(answer(model, {}, "what?"), Error);
}

}  // namespace
}  // namespace revenant
