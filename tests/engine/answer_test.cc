// From pictures and a question to streamed text, on a small random model with a real tokenizer.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

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
