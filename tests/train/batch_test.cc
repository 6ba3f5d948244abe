// From rows and pictures to the tensors of a step.
#include <torch/csrc/autograd/autograd.h>

#include <set>

#include "image/encoders.h"
#include "noise.h"
#include "support/reason.h"
#include "train/objective.h"

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
    const torch::Tensor loss = mean_loss(objective_of({}), one.model, batch);
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
  for (const int least : {0, 1024})
    for (int sequences = 1; sequences <= 33; ++sequences)
      for (int last = least + 1; last <= least + 130; ++last) {
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
        ASSERT_EQ(batch.step.rows % (least ? 128 : 32), 0);
        ASSERT_EQ(spans.size() % (least ? 16 : 4), 0u);
        ASSERT_EQ(spans.back().first_row + spans.back().rows, batch.step.rows);
        for (size_t s = size_t(sequences); s < spans.size(); ++s) {
          ASSERT_GE(spans[s].rows, 1);
          ASSERT_LE(spans[s].rows, 32);
          ASSERT_EQ(batch.labels[size_t(spans[s].first_row)], -100);
        }
        ASSERT_EQ(batch.ids.size(), size_t(batch.step.rows));
        ASSERT_LE(batch.step.rows, before + (least ? 256 : 64));
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

// The recipe's `exif` reaches the pictures: a quarter turn to the right (tag 0x0112, a short, 6).
TEST_F(BatchTest, PicturesAreTurnedAsTheRecipeSays) {
  const std::string turn("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", 26);
  const std::string png = read_file(root_ / "images/0.png");
  write_file(root_ / "images/0.png", png.substr(0, 33) + png_chunk("eXIf", turn) + png.substr(33));
  Recipe r = recipe("as_stored");
  const torch::Tensor stored = OneStep(r, 1).batch(0, 1).pixels;
  r.exif = Exif::apply;
  r.output_dir = root_ / "turned";
  const OneStep one(r, 1);
  EXPECT_TRUE(torch::equal(one.batch(0, 1).pixels, torch::rot90(stored, -1, {2, 3})));
  EXPECT_FALSE(torch::equal(one.batch(0, 1).pixels, stored));
}

// Every row of a batch against the row of the set that it comes from.
TEST_F(BatchTest, EachSequenceIsItsRowsQuestionAndAnswer) {
  const OneStep one(recipe("rows"), 2);
  const auto picks = picks_of_step(one.data, one.recipe, 3);
  const TorchBatch batch = one.maker.make(picks);
  ASSERT_EQ(batch.step.spans.size(), 2 * picks.size());
  ASSERT_EQ(batch.pixels.size(0), int64_t(picks.size()));
  const std::vector<Row>& rows = one.data.sets[0].rows;
  for (size_t s = 0; s < batch.step.spans.size(); ++s) {
    const Span& span = batch.step.spans[s];
    const size_t pick = s / 2;
    const int first = span.first_row, end = first + span.rows;
    for (int r = first; r < end; ++r) {
      if (batch.labels[size_t(r)] < 0) continue;
      ASSERT_LT(r + 1, end);
      EXPECT_EQ(batch.labels[size_t(r)], batch.ids[size_t(r + 1)]) << "row " << r;
    }
    std::string text = one.tokenizer.decode(
        std::vector<int>(batch.ids.begin() + first, batch.ids.begin() + end), true);
    for (size_t at; (at = text.find("<IMG_CONTEXT>")) != text.npos;) text.erase(at, 13);
    const RowGroup group = picks[pick].group;
    bool found = false;
    for (size_t r = group.begin; r < group.end; ++r)
      found |= text == "<|im_start|>user\n<img></img>" + rows[r].question.substr(8) +
                           "<|im_end|><|im_start|>assistant\n" + rows[r].answer + "<|im_end|>";
    EXPECT_TRUE(found) << text;
    EXPECT_EQ(batch.tile_of_slot[s], int64_t(pick));
    const Tiles tiles = tile(read_picture(rows[group.begin].images[0]), one.maker.tile_rule);
    EXPECT_TRUE(torch::equal(batch.pixels[int64_t(pick)].reshape(-1),
                             torch::tensor(normalise(tiles.tiles, one.maker.tile_rule))));
  }
}

TEST_F(BatchTest, APairIsOneQuestionWithBothAnswers) {
  Recipe r = recipe("pairs");
  r.objective.kind = ObjectiveConfig::Kind::po;
  const OneStep one(r, 2);
  for (const bool end_counts : {true, false}) {
    BatchMaker maker = one.maker;
    maker.options.count_end_token = end_counts;
    const TorchBatch batch = maker.make(picks_of_step(one.data, one.recipe, 0));
    ASSERT_EQ(batch.pairs.size(), 8u);  // four pictures, two questions each
    ASSERT_EQ(batch.step.spans.size(), 16u);
    ASSERT_EQ(batch.tile_of_slot.size(), 16u);
    std::set<int> spans;
    for (const AnswerPair& pair : batch.pairs) {
      spans.insert({pair.chosen, pair.rejected});
      const auto of = [&](int index) {
        const Span& span = batch.step.spans[size_t(index)];
        std::vector<int> prompt, answer;
        for (int i = span.first_row; i < span.first_row + span.rows; ++i) {
          const auto label = batch.labels[size_t(i)];
          if (label >= 0) answer.push_back(int(label));
          if (answer.empty()) prompt.push_back(int(batch.ids[size_t(i)]));
        }
        return std::pair(prompt, one.tokenizer.decode(answer, true));
      };
      const auto chosen = of(pair.chosen), rejected = of(pair.rejected);
      EXPECT_EQ(chosen.first, rejected.first);
      const std::string end = end_counts ? "<|im_end|>" : "";
      EXPECT_TRUE(chosen.second == "yes" + end || chosen.second == "a cat" + end) << chosen.second;
      EXPECT_EQ(rejected.second, "no" + end);
      EXPECT_EQ(batch.tile_of_slot[size_t(pair.chosen)], batch.tile_of_slot[size_t(pair.rejected)]);
    }
    EXPECT_EQ(spans.size(), 16u);
  }
}

TEST_F(BatchTest, WhatCannotBeUsedIsLeftOutAndNamed) {
  write_file(root_ / "images/3.png", read_file(root_ / "images/3.png").substr(0, 300));
  Recipe r = recipe("left_out");
  r.objective.kind = ObjectiveConfig::Kind::po;
  const OneStep one(r, 2);
  const TorchBatch damaged = one.batch(3, 1);
  EXPECT_TRUE(damaged.step.spans.empty());
  ASSERT_EQ(damaged.left_out.size(), 1u);
  EXPECT_NE(damaged.left_out[0].find("3.png"), std::string::npos);
  OneStep same(r, 2);
  same.data.sets[0].rows[0].rejected = same.data.sets[0].rows[0].answer;
  const TorchBatch one_left = same.batch(0, 1);
  EXPECT_EQ(one_left.pairs.size(), 1u);
  ASSERT_EQ(one_left.left_out.size(), 1u);
  EXPECT_NE(
      one_left.left_out[0].find(
          "rows.json: row 1.rejected: expected another answer than the chosen one, found the same"),
      std::string::npos);
  BatchMaker short_ones = one.maker;
  int longest = 0;
  for (const Span& span : one.batch(1, 1).step.spans) longest = std::max(longest, span.rows);
  short_ones.options.max_length = longest;
  const Pick pick{&one.data.sets[0], one.data.sets[0].groups[1], 1};
  EXPECT_TRUE(short_ones.make({&pick, 1}).left_out.empty());
  short_ones.options.max_length = longest - 1;
  const TorchBatch cut = short_ones.make({&pick, 1});
  EXPECT_FALSE(cut.left_out.empty());
  for (const Span& span : cut.step.spans) EXPECT_LT(span.rows, longest);
}

// Each turn by itself: what was said before is prompt, its answer comes after one pass.
TEST_F(BatchTest, AsInferredEveryTurnIsASequence) {
  Json turns = Json::array();
  for (const std::string text : {"<image>\nWhat is it?", "a cat", "Is it dark?", "yes"})
    turns.push_back({{"from", turns.size() % 2 ? "gpt" : "human"}, {"value", text}});
  write_file(root_ / "turns.json",
             Json::array({{{"image", "images/0.png"}, {"conversations", turns}}}).dump());
  Recipe r = recipe("inferred");
  r.data[0].path = root_ / "turns.json";
  r.per_device_train_batch_size = 1;
  r.rows = Recipe::Rows::infer;
  const OneStep one(r, 1);
  const TorchBatch batch = one.batch(0, 1);
  ASSERT_EQ(batch.step.spans.size(), 2u);
  for (const Span& span : batch.step.spans) {
    const int prompt = span.rows - span.generated;
    EXPECT_EQ(span.rope_length, prompt);
    for (int i = 0; i < span.rows; ++i)
      EXPECT_EQ(batch.labels[size_t(span.first_row + i)] >= 0,
                i >= prompt - 1 && i + 1 < span.rows);
  }
  EXPECT_GT(batch.step.spans[1].rows, batch.step.spans[0].rows);
}

TEST_F(BatchTest, WeightsAreSharesOfASetsPicturesAndEpochsDiffer) {
  Recipe r = recipe("weights");
  r.data = {{root_ / "rows.json", "", 2}, {root_ / "rows.json", "", 0.5}};
  const TrainingData data = read_training_data(r.data, false);
  ASSERT_EQ(data.pictures_an_epoch(), 60u);  // 2 * 24 + 12
  const auto epoch = [&](int number) {
    std::vector<std::pair<const TrainingSet*, size_t>> order;
    for (int step = 15 * number; step < 15 * (number + 1); ++step)
      for (const Pick& pick : picks_of_step(data, r, step))
        order.push_back({pick.set, pick.group.begin});
    return order;
  };
  const auto first = epoch(0), second = epoch(1);
  for (const auto& order : {first, second}) {
    std::map<std::pair<const TrainingSet*, size_t>, int> counts;
    for (const auto& pick : order) ++counts[pick];
    int of_second_set = 0;
    for (const auto& [pick, count] : counts) {
      if (pick.first == &data.sets[0]) {
        EXPECT_EQ(count, 2);
      } else {
        EXPECT_EQ(count, 1);
        ++of_second_set;
      }
    }
    EXPECT_EQ(of_second_set, 12);
  }
  EXPECT_NE(first, second);
}

TEST_F(BatchTest, RowsOfOtherFormsUnderOtherNames) {
  write_file(root_ / "triples.jsonl",
             R"({"q":"What is it?","good":"a cat","bad":"a dog","img":"images/0.png"})");
  RecipeData entry;
  entry.path = root_ / "triples.jsonl";
  entry.fields = {{"question", "q"}, {"chosen", "good"}, {"rejected", "bad"}, {"image", "img"}};
  const TrainingData data = read_training_data({entry}, true);
  ASSERT_EQ(data.sets.at(0).rows.size(), 1u);
  const Row& row = data.sets[0].rows[0];
  EXPECT_EQ(row.question + row.answer + row.rejected, "<image>\nWhat is it?a cata dog");
  EXPECT_EQ(row.images.at(0).file, root_ / "images/0.png");
}

TEST_F(BatchTest, RowsOfSomeTasks) {
  std::string rows;
  for (const char* task : {"name", "capital", "name", "colour"})
    rows +=
        std::string(R"({"image":"images/0.png","task":")") + task +
        R"(","conversations":[{"from":"human","value":"<image>\nWhat?"},{"from":"gpt","value":")" +
        task + "\"}]}\n";
  write_file(root_ / "tasks.jsonl", rows);
  RecipeData entry;
  entry.path = root_ / "tasks.jsonl";
  EXPECT_EQ(read_training_data({entry}, false).sets[0].rows.size(), 4u);
  entry.tasks = {"name", "colour"};
  const TrainingData data = read_training_data({entry}, false);
  ASSERT_EQ(data.sets.at(0).rows.size(), 3u);
  EXPECT_EQ(data.sets[0].rows[2].answer, "colour");
  EXPECT_EQ(data.sets[0].groups.size(), 1u);
  entry.tasks = {"size"};
  EXPECT_PRED2(has, reason_of([&] { read_training_data({entry}, false); }),
               "tasks: expected a task that rows have, found size");
}

TEST_F(BatchTest, EvaluationTakesEveryGroupOnceInOrder) {
  const TrainingData data = read_training_data(recipe("order").data, false);
  const auto batches = picks_in_order(data, 5);
  ASSERT_EQ(batches.size(), 5u);  // 24 pictures
  size_t next = 0;
  for (const auto& batch : batches)
    for (const Pick& pick : batch) EXPECT_EQ(pick.group.begin, 2 * next++);
  EXPECT_EQ(next, 24u);
}

}  // namespace
}  // namespace revenant
