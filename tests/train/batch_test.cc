// From rows and pictures to the tensors of a step.
#include <torch/csrc/autograd/autograd.h>

#include <set>

#include "noise.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
using BatchTest = Noise;

TEST_F(BatchTest, LabelsAreTheAnswerAndItsEnd) {
  const OneStep one(recipe("labels"), 2);
  const auto picks = picks_of_step(one.data, one.recipe, 0);
  const TorchBatch batch = one.maker.make(std::span(picks).first(1));
  ASSERT_EQ(batch.step.spans.size(), 2u);
  for (const Span& span : batch.step.spans) {
    std::vector<int32_t> targets;
    for (int i = 0; i < span.rows; ++i)
      if (const auto label = batch.labels[size_t(span.first_row + i)]; label >= 0)
        targets.push_back(int32_t(label));
    const std::string answer = picks[0].group.begin / 2 % 2 ? "yes" : "a cat";
    EXPECT_EQ(one.tokenizer.decode(targets, true), answer + "<|im_end|>");
  }
  EXPECT_EQ(batch.pixels.size(0), 1);
  EXPECT_EQ(batch.tile_of_slot, (std::vector<int64_t>{0, 0}));
}

TEST_F(BatchTest, ARoundedUpBatchHasTheSameLossAndGradients) {
  const OneStep one(recipe("rounded"), 2);
  const TorchBatch exact = one.batch(1, 5);
  TorchBatch rounded = exact;
  round_up(rounded);
  const auto results = [&](const TorchBatch& batch) {
    const torch::Tensor loss = sft_loss(one.model, batch);
    std::vector<torch::Tensor> parameters;
    for (const auto& [name, parameter] : one.model.parameters) parameters.push_back(parameter);
    auto all = torch::autograd::grad({loss}, parameters, {}, {}, false, true);
    all.push_back(loss);
    return all;
  };
  const auto expected = results(exact), found = results(rounded);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(found[i].defined(), expected[i].defined()) << i;
    if (found[i].defined()) {
      EXPECT_TRUE(torch::allclose(found[i], expected[i], 1e-4, 1e-6)) << i;
    }
  }
}

TEST(RoundUp, FewNumbersOfRowsAndSequences) {
  for (int sequences = 1; sequences <= 33; ++sequences)
    for (int last = 1; last <= 130; ++last) {
      TorchBatch batch;
      for (int s = 0; s < sequences; ++s) {
        const int rows = s + 1 < sequences ? 3 : last;
        batch.step.add(s, 0, rows, rows, true);
      }
      const int before = batch.step.rows;
      batch.ids.resize(size_t(before), 1);
      batch.labels.resize(size_t(before), 1);
      round_up(batch);
      const auto& spans = batch.step.spans;
      ASSERT_EQ(batch.step.rows % 128, 0);
      ASSERT_EQ(spans.size() % 16, 0u);
      ASSERT_EQ(spans.back().first_row + spans.back().rows, batch.step.rows);
      for (size_t s = size_t(sequences); s < spans.size(); ++s) {
        ASSERT_GE(spans[s].rows, 1);
        ASSERT_LE(spans[s].rows, 32);
        ASSERT_EQ(batch.labels[size_t(spans[s].first_row)], -100);
      }
      ASSERT_EQ(batch.ids.size(), size_t(batch.step.rows));
      ASSERT_LE(batch.step.rows, before + 256);
    }
}

TEST_F(BatchTest, QuestionsAsTurnsOfOneConversation) {
  Recipe r = recipe("turns");
  r.conversation_share = 1;
  const OneStep one(r, 2, 1);
  const TorchBatch batch = one.batch(1, 5);
  ASSERT_EQ(batch.step.spans.size(), 1u);
  EXPECT_EQ(batch.tile_of_slot, std::vector<int64_t>{0});
  std::vector<int32_t> ids(batch.ids.begin(), batch.ids.end()), targets;
  for (const int64_t label : batch.labels)
    if (label >= 0) targets.push_back(int32_t(label));
  EXPECT_EQ(one.tokenizer.decode(targets, true), "yes<|im_end|>yes<|im_end|>");
  std::string text = one.tokenizer.decode(ids, true);
  for (const std::string part : {"<|im_start|>user\n<img>", "What is it?", "Is it dark?"})
    EXPECT_EQ(text.find(part), text.rfind(part)) << text;
  EXPECT_NE(text.find("yes<|im_end|><|im_start|>user\n"), std::string::npos) << text;
}

TEST_F(BatchTest, ARowOfSeveralTurnsShowsEachPictureInItsTurn) {
  Json turns = Json::array();
  for (const std::string text : {"<image>\nWhat is it?", "a cat", "And this?\n<image>", "yes"})
    turns.push_back({{"from", turns.size() % 2 ? "gpt" : "human"}, {"value", text}});
  write_file(
      root_ / "turns.json",
      Json::array(
          {{{"id", "1"}, {"image", {"images/0.png", "images/1.png"}}, {"conversations", turns}}})
          .dump());
  Recipe r = recipe("several");
  r.data[0].path = root_ / "turns.json";
  r.per_device_train_batch_size = 1;
  const OneStep one(r, 2);
  const TorchBatch batch = one.batch(0, 5);
  EXPECT_EQ(batch.tile_of_slot, (std::vector<int64_t>{0, 1}));
  std::string text =
      one.tokenizer.decode(std::vector<int>(batch.ids.begin(), batch.ids.end()), true);
  for (size_t at; (at = text.find("<IMG_CONTEXT>")) != text.npos;) text.erase(at, 13);
  EXPECT_EQ(
      text.substr(text.find("<|im_start|>user")),
      "<|im_start|>user\n<img></img>What is it?<|im_end|><|im_start|>assistant\na cat<|im_end|>"
      "<|im_start|>user\nAnd this?\n<img></img><|im_end|><|im_start|>assistant\nyes<|im_end|>");
}

TEST_F(BatchTest, PicturesComeMirroredAndShiftedAsTheSetSays) {
  OneStep one(recipe("augment"), 1);
  const auto pixels = [&](bool mirror, double shift, uint64_t seed) {
    one.data.sets[0].recipe.mirror = mirror;
    one.data.sets[0].recipe.shift = shift;
    return one.batch(0, seed).pixels;
  };
  const torch::Tensor as_it_is = pixels(false, 0, 1), turned = as_it_is.flip({3});
  int mirrored = 0, moved = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_TRUE(torch::equal(pixels(false, 0, seed), as_it_is));
    const torch::Tensor flipped = pixels(true, 0, seed), shifted = pixels(false, 0.2, seed);
    EXPECT_TRUE(torch::equal(flipped, as_it_is) || torch::equal(flipped, turned));
    mirrored += torch::equal(flipped, turned);
    moved += !torch::equal(shifted, as_it_is);
    EXPECT_TRUE(torch::equal(shifted, pixels(false, 0.2, seed)));
  }
  EXPECT_GT(mirrored, 3);
  EXPECT_LT(mirrored, 17);
  EXPECT_GT(moved, 10);
}

}  // namespace
}  // namespace revenant
