// Recipes, schedules and the loop: what a resumed or accumulated run must equal.
#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/file.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/random.h"
#include "image/image.h"
#include "io/checkpoint.h"
#include "small_config.h"
#include "train/batch.h"
#include "train/checkpoint.h"
#include "train/loop.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// A set of noise pictures with two questions each, a config and a recipe over them.
class TrainTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = Path(testing::TempDir()) / ("train_" + std::to_string(::getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "images");
    Random random(3);
    Json rows = Json::array();
    for (int i = 0; i < 24; ++i) {
      Image image = blank_image(32, 32, uint8_t(random.below(256)));
      for (uint8_t& level : image.rgb) level = uint8_t(level / 2 + random.below(128));
      const std::string name = "images/" + std::to_string(i) + ".png";
      write_file(root_ / name, encode_png(image));
      for (const std::string question : {"What is it?", "Is it dark?"})
        rows.push_back({{"id", std::to_string(i) + question},
                        {"image", name},
                        {"conversations",
                         {{{"from", "human"}, {"value", "<image>\n" + question}},
                          {{"from", "gpt"}, {"value", i % 2 ? "yes" : "a cat"}}}},
                        {"rejected", "no"}});
    }
    write_file(root_ / "rows.json", rows.dump());
    write_file(root_ / "config.json", small_config().dump());
  }
  void TearDown() override { fs::remove_all(root_); }

  Recipe recipe(const std::string& output) const {
    Recipe r;
    r.output_dir = root_ / output;
    r.config = root_ / "config.json";
    r.tokenizer_vocab = 300;
    r.data = {{root_ / "rows.json", "", 1}};
    r.per_device_train_batch_size = 4;
    r.questions_per_picture = 2;
    r.max_steps = 6;
    r.warmup_steps = 2;
    r.save_steps = 3;
    r.save_total_limit = 5;
    r.logging_steps = 1;
    return r;
  }

  Path root_;
};

// A model after one step, its tokenizer and data, and what makes batches for it.
struct OneStep {
  static Recipe taken(Recipe r) {
    r.max_steps = 1;
    EXPECT_TRUE(train(r));
    return r;
  }
  OneStep(const Recipe& r, int questions, double conversation_share = 0) : recipe(taken(r)) {
    maker.questions_per_picture = questions;
    maker.conversation_share = conversation_share;
  }
  TorchBatch batch(size_t group, uint64_t seed) const {
    const Pick pick{&data.sets[0], data.sets[0].groups[group], seed};
    return maker.make({&pick, 1});
  }

  Recipe recipe;
  Tokenizer tokenizer = Tokenizer::open(recipe.output_dir);
  TorchModel model = load_torch_model(recipe.output_dir);
  TrainingData data = read_training_data(recipe);
  BatchMaker maker{
      model.config, tokenizer, prompt_rule("phantom-qwen2"), tile_rule_of(model.config), 1, 0};
};

std::vector<Json> log_of(const Path& output) {
  std::vector<Json> lines;
  std::istringstream text(read_file(output / "train.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

TEST_F(TrainTest, ResumedEqualsUninterrupted) {
  for (const std::string optim : {"adamw_torch", "muon"}) {
    const Path whole = root_ / (optim + "_whole"), resumed = root_ / (optim + "_resumed");
    const auto run_in = [&](const Path& output) {
      Recipe r = recipe(output.filename());
      r.optim = optim;
      return train(r);
    };
    ASSERT_TRUE(run_in(whole));
    fs::create_directories(resumed);
    for (const char* part : {"tokenizer", "checkpoint-3"})
      fs::copy(whole / part, resumed / part, fs::copy_options::recursive);
    ASSERT_TRUE(run_in(resumed));
    for (const char* file : {"checkpoint-6/model.safetensors", "checkpoint-6/optimizer.safetensors",
                             "model.safetensors"})
      EXPECT_EQ(read_file(whole / file), read_file(resumed / file)) << optim << " " << file;
    EXPECT_EQ(log_of(resumed).front()["step"], 4);
  }
}

TEST_F(TrainTest, DamagedCheckpointIsPassedOver) {
  ASSERT_TRUE(train(recipe("whole")));
  fs::resize_file(root_ / "whole/checkpoint-6/model.safetensors", 100);
  ASSERT_TRUE(train(recipe("whole")));
  EXPECT_EQ(log_of(root_ / "whole")[6]["step"], 4);  // went on from checkpoint-3
}

// Whatever the reason, here a checkpoint of the other optimiser: a fresh start would overwrite it.
TEST_F(TrainTest, NoFreshStartOverCheckpointsThatCannotBeUsed) {
  Recipe r = recipe("whole");
  ASSERT_TRUE(train(r));
  r.optim = "muon";
  r.max_steps = 9;
  EXPECT_THROW(train(r), Error);
  EXPECT_TRUE(fs::exists(root_ / "whole/checkpoint-6"));
  EXPECT_FALSE(fs::exists(root_ / "whole/checkpoint-9"));
}

// The tower has no gradient, hence no moments.
TEST_F(TrainTest, ARunWithoutPicturesResumes) {
  Json rows = Json::array();
  for (const std::string text : {"one", "two", "three", "four", "five"})
    rows.push_back({{"id", text},
                    {"conversations",
                     {{{"from", "human"}, {"value", text}}, {{"from", "gpt"}, {"value", "yes"}}}}});
  write_file(root_ / "rows.json", rows.dump());
  ASSERT_TRUE(train(recipe("whole")));
  fs::remove_all(root_ / "whole/checkpoint-6");
  fs::remove_all(root_ / "whole/tokenizer");  // the checkpoints have it too
  const std::string weights = read_file(root_ / "whole/model.safetensors");
  fs::remove(root_ / "whole/model.safetensors");
  ASSERT_TRUE(train(recipe("whole")));
  EXPECT_EQ(log_of(root_ / "whole")[6]["step"], 4);
  EXPECT_EQ(read_file(root_ / "whole/model.safetensors"), weights);
}

TEST_F(TrainTest, StoppedBeforeItsFirstStepLeavesNoCheckpoint) {
  stop_signal = SIGTERM;
  EXPECT_FALSE(train(recipe("early")));
  stop_signal = 0;
  EXPECT_TRUE(checkpoints_in(root_ / "early").empty());
  EXPECT_TRUE(train(recipe("early")));
}

TEST_F(TrainTest, GoesOnOnlyAsTheSameRun) {
  const auto message = [&](const Recipe& r) -> std::string {
    try {
      train(r);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  ASSERT_TRUE(train(recipe("whole")));
  Recipe other_seed = recipe("whole"), shorter = recipe("whole"), wordier = recipe("whole"),
         other_config = recipe("whole"), other_tokenizer = recipe("whole");
  other_seed.seed = 43;
  shorter.max_steps = 5;
  wordier.tokenizer_vocab = 310;
  Json wide = small_config();
  wide["llm_config"]["rms_norm_eps"] = 1e-5;
  write_file(root_ / "wide.json", wide.dump());
  other_config.config = root_ / "wide.json";
  fs::create_directories(root_ / "words");
  other_tokenizer.tokenizer = root_ / "words";
  write_file(root_ / "words/tokenizer.json",
             read_file(root_ / "whole/tokenizer/tokenizer.json") + "\n");
  EXPECT_NE(message(other_seed).find("expected a run of seed 43, found one of seed 42"),
            std::string::npos);
  EXPECT_NE(message(shorter).find("max_steps: expected at least the 6 of"), std::string::npos);
  EXPECT_NE(
      message(wordier).find("expected a tokenizer_vocab of 310, found a tokenizer_vocab of 300"),
      std::string::npos);
  EXPECT_NE(message(other_config).find("wide.json: expected the configuration that the run in"),
            std::string::npos);
  EXPECT_NE(message(other_tokenizer).find("words: expected the tokenizer of"), std::string::npos);
  write_file(root_ / "whole/checkpoint-6/trainer_state.json",
             R"({"global_step": "6", "seed": 42})");
  fs::remove_all(root_ / "whole/checkpoint-3");
  EXPECT_NE(message(recipe("whole")).find("1 that cannot be used"), std::string::npos);
}

TEST_F(TrainTest, ARefusedRecipeLeavesNothing) {
  Json odd = small_config();
  odd["model_type"] = "odd";
  write_file(root_ / "odd.json", odd.dump());
  Recipe r = recipe("refused");
  Recipe no_config = r, odd_config = r, no_tokenizer = r, few_words = r;
  no_config.config = root_ / "none.json";
  odd_config.config = root_ / "odd.json";
  no_tokenizer.tokenizer = root_ / "none";
  few_words.tokenizer_vocab = 3;
  for (const Recipe& refused : {no_config, odd_config, no_tokenizer, few_words}) {
    EXPECT_THROW(train(refused), Error);
    EXPECT_FALSE(fs::exists(r.output_dir));
  }
}

TEST_F(TrainTest, AFreshRunMakesItsTokenizerAnew) {
  Recipe r = recipe("anew");
  stop_signal = SIGTERM;
  EXPECT_FALSE(train(r));
  stop_signal = 0;
  r.tokenizer_vocab = 270;
  ASSERT_TRUE(train(r));
  EXPECT_EQ(Tokenizer::open(r.output_dir).size(), 270);
}

TEST_F(TrainTest, ATokenizerMustFitTheModel) {
  Recipe small = recipe("small");
  small.tokenizer_vocab = 270;
  ASSERT_TRUE(train(small));
  ASSERT_TRUE(train(recipe("more")));
  Recipe r = recipe("mixed");
  r.config.clear();
  r.model = root_ / "small";
  r.tokenizer = root_ / "more";
  try {
    train(r);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(
        std::string(error.what()).find("<IMG_CONTEXT>: expected id 269 of config.json, found id "),
        std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(fs::exists(r.output_dir));
}

TEST_F(TrainTest, OldCheckpointsGoAndLaterOnesStay) {
  const OneStep one(recipe("keep"), 1);
  const Optimizer optimizer(one.recipe, one.model);
  const Path output = root_ / "keep";
  fs::create_directories(output / "checkpoint-9");  // damaged, or it would have been gone on from
  for (const int step : {4, 5, 5})
    save_checkpoint(output, one.model, optimizer, {step, 42}, output / "tokenizer", 1);
  EXPECT_EQ(checkpoints_in(output),
            (std::vector<Path>{output / "checkpoint-9", output / "checkpoint-5"}));
  EXPECT_TRUE(fs::exists(output / "checkpoint-5/model.safetensors"));
  EXPECT_FALSE(fs::exists(output / "checkpoint-5.old"));
}

TEST_F(TrainTest, AccumulatedEqualsOneBatch) {
  Recipe one = recipe("one"), many = recipe("many");
  one.per_device_train_batch_size = 8;
  many.per_device_train_batch_size = 1;
  many.gradient_accumulation_steps = 8;
  ASSERT_TRUE(train(one));
  ASSERT_TRUE(train(many));
  const auto a = log_of(root_ / "one"), b = log_of(root_ / "many");
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 1e-4) << "step " << i + 1;
    EXPECT_NEAR(a[i]["grad_norm"].get<double>(), b[i]["grad_norm"].get<double>(),
                1e-3 * a[i]["grad_norm"].get<double>());
  }
}

// Micro-batches run side by side; how many threads there are never shows.
TEST_F(TrainTest, ThreadsDoNotShowInTheWeights) {
  Recipe one = recipe("one"), two = recipe("two");
  for (Recipe* r : {&one, &two}) {
    r->gradient_accumulation_steps = 2;
    r->optim = "muon";
    r->bf16 = true;
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  ASSERT_TRUE(train(one));
  at::set_num_threads(4);
  ASSERT_TRUE(train(two));
  EXPECT_EQ(at::get_num_threads(), 4);  // as it was before
  at::set_num_threads(threads);
  EXPECT_EQ(read_file(root_ / "one/model.safetensors"), read_file(root_ / "two/model.safetensors"));
}

TEST_F(TrainTest, LossFallsOnWhatCanBeLearnt) {
  Recipe r = recipe("learn");
  r.max_steps = 60;
  r.save_steps = 100;
  r.learning_rate = 1e-2;
  ASSERT_TRUE(train(r));
  const auto lines = log_of(root_ / "learn");
  EXPECT_LT(lines.back()["loss"].get<double>(), 0.3 * lines.front()["loss"].get<double>());
}

TEST_F(TrainTest, DataOrderIsAFunctionOfSeedAndStep) {
  const Recipe r = recipe("order");
  const TrainingData data = read_training_data(r);
  std::set<size_t> first_epoch;
  for (int step = 0; step < 6; ++step) {
    const auto picks = picks_of_step(data, r, step), again = picks_of_step(data, r, step);
    for (size_t i = 0; i < picks.size(); ++i) {
      EXPECT_EQ(picks[i].group.begin, again[i].group.begin);
      EXPECT_EQ(picks[i].seed, again[i].seed);
      first_epoch.insert(picks[i].group.begin);
    }
  }
  EXPECT_EQ(first_epoch.size(), 24u);  // each picture once
}

TEST_F(TrainTest, OneRunAnOutputDirectory) {
  fs::create_directories(root_ / "busy");
  const int fd = ::open((root_ / "busy/.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  EXPECT_THROW(train(recipe("busy")), Error);
  ::close(fd);
}

TEST_F(TrainTest, LabelsAreTheAnswerAndItsEnd) {
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

TEST_F(TrainTest, ARoundedUpBatchHasTheSameLossAndGradients) {
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

TEST_F(TrainTest, QuestionsAsTurnsOfOneConversation) {
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

TEST_F(TrainTest, ARowOfSeveralTurnsShowsEachPictureInItsTurn) {
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

TEST_F(TrainTest, PicturesComeMirroredAndShiftedAsTheSetSays) {
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

TEST(Recipe, UnknownKeysAndWrongTypesAreNamed) {
  const Path file = Path(testing::TempDir()) / "recipe.yaml";
  const std::string good = "output_dir: o\nconfig: c\ndata:\n  - {path: d.json}\n";
  write_file(file, good);
  EXPECT_EQ(read_recipe(file, {"max_steps=7"}).max_steps, 7);
  const auto message = [&](const std::string& text,
                           std::vector<std::string> settings = {}) -> std::string {
    write_file(file, text);
    try {
      read_recipe(file, settings);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message(good + "learning_rat: 1\n").find("learning_rat"), std::string::npos);
  EXPECT_NE(message(good + "max_steps: many\n").find("max_steps"), std::string::npos);
  EXPECT_NE(message(good + "  - {path: e.json, shift: 0.7}\n")
                .find("data[1]: shift: expected 0 to 0.5, found 0.7"),
            std::string::npos);
  EXPECT_NE(message(good + "  - {path: e.json, flip: true}\n").find("data[1]: flip"),
            std::string::npos);
  EXPECT_NE(message(good + "lr_scheduler_type: linear\n").find("lr_scheduler_type"),
            std::string::npos);
  EXPECT_NE(message(good + "decay_steps: 5\n").find("decay_steps"), std::string::npos);
  EXPECT_NE(message(good + "lr_scheduler_type: warmup_stable_decay\n").find("decay_steps"),
            std::string::npos);
  EXPECT_NE(message(good + "  - {path: e.json, weight: much}\n").find("data[1]: weight"),
            std::string::npos);
  EXPECT_NE(message(good, {"learning_rate=-1"})
                .find("learning_rate: expected a positive number, "
                      "found -1"),
            std::string::npos);
  EXPECT_NE(message(good, {"max_steps=[1"}).find("--set: max_steps"), std::string::npos);
  EXPECT_NE(message(good, {"seed"}).find("key=value"), std::string::npos);
  EXPECT_NE(message("output_dir: o\nconfig: c\n").find("data"), std::string::npos);
}

TEST(Recipe, ScheduleWarmsUpThenFollowsTheCosine) {
  Recipe r;
  r.learning_rate = 1;
  r.min_learning_rate = 0.1;
  r.warmup_steps = 10;
  r.max_steps = 110;
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 10), 1);
  EXPECT_NEAR(learning_rate_at(r, 60), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(r, 110), 0.1, 1e-12);
}

TEST(Recipe, ScheduleStaysLevelThenDecays) {
  Recipe r;
  r.learning_rate = 1;
  r.min_learning_rate = 0.1;
  r.lr_scheduler_type = "warmup_stable_decay";
  r.warmup_steps = 10;
  r.max_steps = 110;
  r.decay_steps = 20;
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 4), 0.5);
  for (int step : {10, 50, 90}) EXPECT_DOUBLE_EQ(learning_rate_at(r, step), 1);
  EXPECT_NEAR(learning_rate_at(r, 100), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(r, 110), 0.1, 1e-12);
  const double level = learning_rate_at(r, 60);
  r.max_steps = 90;
  EXPECT_DOUBLE_EQ(learning_rate_at(r, 60), level);
}

}  // namespace
}  // namespace revenant
