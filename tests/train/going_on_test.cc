// What a run that goes on must equal, and what it must refuse.
#include <fcntl.h>
#include <sys/file.h>

#include <csignal>

#include "base/json.h"
#include "base/sha256.h"
#include "noise.h"
#include "train/run_directory.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using GoingOn = Noise;

TEST_F(GoingOn, ResumedEqualsUninterrupted) {
  for (const std::string optim : {"adamw_torch", "muon"}) {
    const Path whole = root_ / (optim + "_whole"), resumed = root_ / (optim + "_resumed");
    const auto run_in = [&](const Path& output) {
      Recipe r = recipe(output.filename());
      r.optim = optim == "muon" ? Recipe::Optim::muon : Recipe::Optim::adamw_torch;
      r.logging_steps = 2;  // checkpoint-3 stands between two lines of the log
      return train(r);
    };
    ASSERT_TRUE(run_in(whole));
    fs::create_directories(resumed);
    for (const char* part : {"tokenizer", "checkpoint-3"})
      fs::copy(whole / part, resumed / part, fs::copy_options::recursive);
    // What the run had logged before it was killed, steps behind the checkpoint too.
    write_file(resumed / "train.jsonl", read_file(whole / "train.jsonl") + "{\"step\": 7");
    ASSERT_TRUE(run_in(resumed));
    for (const char* file : {"checkpoint-6/model.safetensors", "checkpoint-6/optimizer.safetensors",
                             "checkpoint-6/trainer_state.json", "model.safetensors", "train.jsonl"})
      EXPECT_EQ(read_file(whole / file), read_file(resumed / file)) << optim << " " << file;
    EXPECT_EQ(log_of(resumed).size(), 3u);
  }
}

TEST_F(GoingOn, DamagedCheckpointIsPassedOver) {
  ASSERT_TRUE(train(recipe("whole")));
  fs::resize_file(root_ / "whole/checkpoint-6/model.safetensors", 100);
  std::vector<std::string> told;
  ASSERT_TRUE(train(recipe("whole"), {[&](const std::string& line) { told.push_back(line); }}));
  ASSERT_GE(told.size(), 2u);
  EXPECT_NE(told[0].find("checkpoint-6/model.safetensors"), std::string::npos) << told[0];
  EXPECT_NE(told[1].find("going on from"), std::string::npos) << told[1];
  EXPECT_NE(told[1].find("checkpoint-3"), std::string::npos) << told[1];
}

// What loads without a complaint is not yet what was saved.
TEST_F(GoingOn, ACheckpointWithOtherNumbersIsPassedOver) {
  ASSERT_TRUE(train(recipe("whole")));
  const Path file = root_ / "whole/checkpoint-6/model.safetensors";
  std::string bytes = read_file(file);
  bytes[bytes.size() - 100] ^= 1;
  write_file(file, bytes);
  std::vector<std::string> told;
  ASSERT_TRUE(train(recipe("whole"), {[&](const std::string& line) { told.push_back(line); }}));
  ASSERT_GE(told.size(), 2u);
  EXPECT_NE(told[0].find("checkpoint-6/model.safetensors"), std::string::npos) << told[0];
  EXPECT_NE(told[1].find("checkpoint-3"), std::string::npos) << told[1];
}

TEST_F(GoingOn, AChangedBitIsSeen) {
  ASSERT_TRUE(train(recipe("whole")));
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "trainer_state.json",
                           "config.json", "tokenizer.json"}) {
    const Path file = root_ / "whole/checkpoint-6" / name;
    const std::string good = read_file(file);
    std::string bad = good;
    bad[bad.size() / 2] ^= 1;
    write_file(file, bad);
    EXPECT_THROW(check_manifest(file.parent_path()), Error) << name;
    fs::remove(file);
    EXPECT_THROW(check_manifest(file.parent_path()), Error) << name;
    write_file(file, good);
    EXPECT_NO_THROW(check_manifest(file.parent_path())) << name;
  }
}

TEST_F(GoingOn, NoFreshStartOverCheckpointsThatCannotBeUsed) {
  Recipe r = recipe("whole");
  ASSERT_TRUE(train(r));
  for (const Path& checkpoint : checkpoints_in(r.output_dir))
    fs::resize_file(checkpoint / "optimizer.safetensors", 10);
  EXPECT_THROW(train(r), Error);
  EXPECT_TRUE(fs::exists(root_ / "whole/checkpoint-6"));
}

TEST_F(GoingOn, ARunWithoutPicturesResumes) {
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
  EXPECT_EQ(log_of(root_ / "whole").size(), 6u);
  EXPECT_EQ(read_file(root_ / "whole/model.safetensors"), weights);
}

TEST_F(GoingOn, StoppedBeforeItsFirstStepLeavesNoCheckpoint) {
  stop_signal = SIGTERM;
  EXPECT_FALSE(train(recipe("early")));
  stop_signal = 0;
  EXPECT_TRUE(checkpoints_in(root_ / "early").empty());
  EXPECT_TRUE(train(recipe("early")));
}

TEST_F(GoingOn, KeysNewerThanTheRunStandAtTheirDefaults) {
  ASSERT_TRUE(train(recipe("whole")));
  const Path checkpoint = root_ / "whole/checkpoint-6", file = checkpoint / "trainer_state.json";
  Json state = read_json(file, "test");
  ASSERT_EQ(state["run"].erase("lora"), 1u);
  ASSERT_EQ(state["run"].erase("seed"), 1u);
  write_file(file, state.dump());
  Json manifest = read_json(checkpoint / "manifest.json", "test");
  manifest["files"]["trainer_state.json"] = {{"size", fs::file_size(file)},
                                             {"sha256", sha256_of_file(file)}};
  write_file(checkpoint / "manifest.json", manifest.dump());
  EXPECT_TRUE(train(recipe("whole")));
  Recipe other = recipe("whole");
  other.seed = 43;
  EXPECT_PRED2(has, refusal(other), "seed: expected 43");
}

TEST_F(GoingOn, GoesOnOnlyAsTheSameRun) {
  ASSERT_TRUE(train(recipe("whole")));
  const auto other = [&](auto change) {
    Recipe r = recipe("whole");
    change(r);
    return refusal(r);
  };
  EXPECT_PRED2(has, other([](Recipe& r) { r.seed = 43; }),
               "checkpoint-6: seed: expected 43, as the recipe says (another output_dir starts "
               "anew), found 42");
  EXPECT_PRED2(has, other([](Recipe& r) { r.max_steps = 5; }), "max_steps: expected 5");
  EXPECT_PRED2(has, other([](Recipe& r) { r.max_steps = 9; }), "max_steps: expected 9");
  EXPECT_PRED2(has, other([](Recipe& r) { r.tokenizer_vocab = 310; }),
               "tokenizer_vocab: expected 310");
  EXPECT_PRED2(has, other([](Recipe& r) { r.per_device_train_batch_size = 5; }),
               "per_device_train_batch_size: expected 5");
  EXPECT_PRED2(has, other([](Recipe& r) { r.gradient_accumulation_steps = 2; }),
               "gradient_accumulation_steps");
  EXPECT_PRED2(has, other([](Recipe& r) { r.objective.kind = ObjectiveConfig::Kind::po; }),
               "objective: expected po");
  EXPECT_PRED2(has, other([](Recipe& r) { r.trainable = {"projector"}; }), "trainable");
  EXPECT_PRED2(has, other([](Recipe& r) {
                 r.parameter_groups = {{{"all"}, 1.0, {}, {}}};
               }),
               "parameter_groups");
  EXPECT_PRED2(has, other([](Recipe& r) { r.learning_rate = 0.5; }), "learning_rate");
  EXPECT_PRED2(has, other([](Recipe& r) { r.data[0].mirror = true; }), "data: expected");
  EXPECT_PRED2(has, other([](Recipe& r) { r.data[0].tasks = {""}; }), "data: expected");
  EXPECT_PRED2(has, other([&](Recipe& r) {
                 Json wide = small_config();
                 wide["llm_config"]["rms_norm_eps"] = 1e-5;
                 r.config = root_ / "wide.json";
                 write_file(r.config, wide.dump());
               }),
               "wide.json: expected the configuration that the run in");
  EXPECT_PRED2(has, other([&](Recipe& r) {
                 r.tokenizer = root_ / "words";
                 fs::create_directories(r.tokenizer);
                 write_file(r.tokenizer / "tokenizer.json",
                            read_file(root_ / "whole/tokenizer/tokenizer.json") + "\n");
               }),
               "tokenizer");
  EXPECT_EQ(other([&](Recipe& r) {  // the same data elsewhere, other saves and logs
              r.data[0].path = root_ / "moved.json";
              fs::copy_file(root_ / "rows.json", r.data[0].path);
              r.save_steps = 2, r.logging_steps = 5, r.save_total_limit = 1;
            }),
            "");
  Json rows = Json::parse(read_file(root_ / "rows.json"));
  rows[7]["rejected"] = "another";
  write_file(root_ / "rows.json", rows.dump());
  EXPECT_PRED2(has, refusal(recipe("whole")), "data: expected");
}

TEST_F(GoingOn, ALevelScheduleMayEndElsewhere) {
  Recipe r = recipe("level");
  r.lr_scheduler_type = Recipe::Schedule::warmup_stable_decay;
  r.decay_steps = 2, r.max_steps = 100, r.save_steps = 3;
  int steps = 0;
  TrainWatch watch;
  watch.progress = [&](size_t, size_t, const std::string&) {
    if (++steps == 3) stop_signal = SIGTERM;
  };
  EXPECT_FALSE(train(r, watch));
  stop_signal = 0;
  r.max_steps = 6, r.decay_steps = 3;
  EXPECT_EQ(refusal(r), "");
  r.max_steps = 9;  // it has fallen by now
  EXPECT_PRED2(has, refusal(r), "max_steps");
}

TEST_F(GoingOn, AStoppedRunSavesAndGoesOn) {
  ASSERT_TRUE(train(recipe("whole")));
  int steps = 0;
  TrainWatch watch;
  watch.progress = [&](size_t, size_t, const std::string&) {
    if (++steps == 2) stop_signal = SIGTERM;
  };
  EXPECT_FALSE(train(recipe("stopped"), watch));
  stop_signal = 0;
  EXPECT_TRUE(fs::exists(root_ / "stopped/checkpoint-2/manifest.json"));
  EXPECT_FALSE(fs::exists(root_ / "stopped/model.safetensors"));
  ASSERT_TRUE(train(recipe("stopped")));
  for (const char* file : {"model.safetensors", "train.jsonl"})
    EXPECT_EQ(read_file(root_ / "whole" / file), read_file(root_ / "stopped" / file)) << file;
}

TEST_F(GoingOn, ARefusedRecipeLeavesNothing) {
  Json odd = small_config();
  odd["model_type"] = "odd";
  write_file(root_ / "odd.json", odd.dump());
  Recipe r = recipe("refused");
  Recipe no_config = r, odd_config = r, no_tokenizer = r, few_words = r, no_weight = r,
         no_pairs = r;
  no_weight.trainable = {"blk.9.*"};
  Json rows = Json::parse(read_file(root_ / "rows.json"));
  rows[5].erase("rejected");
  write_file(root_ / "unpaired.json", rows.dump());
  no_pairs.data[0].path = root_ / "unpaired.json";
  no_pairs.objective.kind = ObjectiveConfig::Kind::po;
  no_config.config = root_ / "none.json";
  odd_config.config = root_ / "odd.json";
  no_tokenizer.tokenizer = root_ / "none";
  few_words.tokenizer_vocab = 3;
  for (const Recipe& refused :
       {no_config, odd_config, no_tokenizer, few_words, no_weight, no_pairs}) {
    EXPECT_THROW(train(refused), Error);
    EXPECT_FALSE(fs::exists(r.output_dir));
  }
}

TEST_F(GoingOn, AFreshRunMakesItsTokenizerAnew) {
  Recipe r = recipe("anew");
  stop_signal = SIGTERM;
  EXPECT_FALSE(train(r));
  stop_signal = 0;
  r.tokenizer_vocab = 270;
  ASSERT_TRUE(train(r));
  EXPECT_EQ(Tokenizer::open(r.output_dir).size(), 270);
}

TEST_F(GoingOn, ATokenizerMustFitTheModel) {
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

TEST_F(GoingOn, OldCheckpointsGoAndLaterOnesStay) {
  const OneStep one(recipe("keep"), 1);
  const Optimizer optimizer(one.recipe, one.model);
  const Path output = root_ / "keep";
  fs::create_directories(output / "checkpoint-9");  // damaged, or it would have been gone on from
  const auto save = [&](int step, int best_step = 0) {
    TrainerState state;
    state.global_step = step, state.best_step = best_step;
    save_checkpoint(output, one.model, optimizer.state(), state, {}, 1);
  };
  for (const int step : {4, 5, 5}) save(step);
  EXPECT_EQ(checkpoints_in(output),
            (std::vector<Path>{output / "checkpoint-9", output / "checkpoint-5"}));
  save(6, 5);
  EXPECT_EQ(checkpoints_in(output),
            (std::vector<Path>{output / "checkpoint-9", output / "checkpoint-6",
                               output / "checkpoint-5"}));
  EXPECT_TRUE(fs::exists(output / "checkpoint-5/model.safetensors"));
  EXPECT_FALSE(fs::exists(output / "checkpoint-5.old"));
}

TEST_F(GoingOn, ACheckpointThatWasBeingReplacedIsPutBack) {
  Recipe r = recipe("whole");
  r.save_total_limit = 1;
  ASSERT_TRUE(train(r));
  const Path place = r.output_dir / "checkpoint-6";
  fs::copy(place, place.string() + ".tmp", fs::copy_options::recursive);
  fs::rename(place, place.string() + ".old");  // killed between the two renames
  remove_leftovers(r.output_dir);
  EXPECT_NO_THROW(check_manifest(place));
  fs::copy(place, place.string() + ".old", fs::copy_options::recursive);  // killed after them
  remove_leftovers(r.output_dir);
  EXPECT_NO_THROW(check_manifest(place));
  for (const char* end : {".tmp", ".old"}) EXPECT_FALSE(fs::exists(place.string() + end)) << end;
}

// After its preparation a run needs nothing of what its recipe names but the rows' pictures.
TEST_F(GoingOn, WhatTheRecipeNamesMayGo) {
  ASSERT_TRUE(train(recipe("first")));
  Recipe r = recipe("second");
  r.config.clear(), r.model = root_ / "first";
  TrainWatch watch;
  watch.progress = [&](size_t, size_t, const std::string&) { fs::remove_all(r.model); };
  const std::string tokenizer = read_file(root_ / "first/tokenizer.json");
  ASSERT_TRUE(train(r, watch));
  for (const char* place : {"", "checkpoint-3", "checkpoint-6"})
    EXPECT_EQ(read_file(r.output_dir / place / "tokenizer.json"), tokenizer) << place;
}

TEST_F(GoingOn, AnErrorSavesFirst) {
  Recipe r = recipe("error");
  r.per_device_train_batch_size = 1, r.max_skipped_steps = 0, r.max_steps = 24, r.save_steps = 100;
  const TrainingData data = read_training_data(r.data, false);
  const Row& fourth = data.sets[0].rows[picks_of_step(data, r, 3)[0].group.begin];
  write_file(fourth.images[0].file, "no picture");
  EXPECT_PRED2(has, refusal(r), "step 4: expected rows to learn from within max_skipped_steps 0");
  EXPECT_NO_THROW(check_manifest(r.output_dir / "checkpoint-3"));
}

// Rows of their own pictures, which may be damaged and mended while a run goes on.
class GoingOnWithEvaluation : public Noise {
 protected:
  GoingOnWithEvaluation() { fs::create_directories(root_ / "eval"); }
  Recipe evaluated(const std::string& output) {
    fs::copy(root_ / "images", root_ / "eval/images", fs::copy_options::recursive);
    fs::copy(root_ / "rows.json", root_ / "eval/rows.json");
    return again(output);
  }
  Recipe again(const std::string& output) const {
    Recipe r = recipe(output);
    r.eval_data = {{root_ / "eval/rows.json", "", 1}};
    r.eval_steps = 2, r.save_steps = 100;
    return r;
  }
  void damage() const {
    for (const auto& picture : fs::directory_iterator(root_ / "eval/images"))
      write_file(picture.path(), "no picture");
  }
  void mend() const {
    fs::copy(root_ / "images", root_ / "eval/images",
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }
  // As the run that nothing came in between of.
  void expect_whole(const std::string& output) const {
    for (const char* file : {"model.safetensors", "train.jsonl", "checkpoint-6/trainer_state.json"})
      EXPECT_EQ(read_file(root_ / "whole" / file), read_file(root_ / output / file)) << file;
  }
};

TEST_F(GoingOnWithEvaluation, AnEvaluationThatFailsKeepsItsStepAndIsMadeUpFor) {
  ASSERT_TRUE(train(evaluated("whole")));
  const Recipe r = again("failed");
  TrainWatch watch;
  int steps = 0;
  watch.progress = [&](size_t, size_t, const std::string&) {
    if (++steps == 4) damage();
  };
  try {
    train(r, watch);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_PRED2(has, error.what(), "eval_data: expected an answer that can be used");
  }
  EXPECT_NO_THROW(check_manifest(r.output_dir / "checkpoint-4"));
  mend();
  ASSERT_TRUE(train(r));
  expect_whole("failed");
}

TEST_F(GoingOnWithEvaluation, ASignalWithinAnEvaluationIsHeeded) {
  ASSERT_TRUE(train(evaluated("whole")));
  const Recipe r = again("stopped");
  TrainWatch watch;
  int steps = 0;
  watch.progress = [&](size_t, size_t, const std::string&) {
    if (++steps == 4) stop_signal = SIGTERM;
  };
  EXPECT_FALSE(train(r, watch));
  stop_signal = 0;
  EXPECT_TRUE(read_trainer_state(r.output_dir / "checkpoint-4").evaluation_due);
  // Killed when the evaluation was made up for, before the checkpoint said so.
  const Json line = {{"step", 4}, {"eval_loss", 1}};
  write_file(r.output_dir / "train.jsonl",
             read_file(r.output_dir / "train.jsonl") + line.dump() + "\n");
  ASSERT_TRUE(train(r));
  expect_whole("stopped");
}

// A loss over other rows is not to be beaten.
TEST_F(GoingOnWithEvaluation, AnotherEvaluationLooksForAnotherBest) {
  const Recipe r = evaluated("run");
  ASSERT_TRUE(train(r));
  fs::resize_file(root_ / "run/checkpoint-6/model.safetensors", 10);  // goes on from the best
  ASSERT_GT(read_trainer_state(checkpoints_in(r.output_dir)[1]).best_step, 0);
  Json rows = Json::parse(read_file(root_ / "eval/rows.json"));
  for (Json& row : rows) row["conversations"][1]["value"] = "a word that nobody has said";
  write_file(root_ / "eval/rows.json", rows.dump());
  std::vector<std::string> told;
  ASSERT_TRUE(train(r, {[&](const std::string& line) { told.push_back(line); }}));
  EXPECT_TRUE(std::ranges::any_of(
      told, [](const auto& line) { return has(line, "the best checkpoint is looked for anew"); }));
  EXPECT_EQ(log_of(r.output_dir).back()["best"], true);
}

TEST_F(GoingOnWithEvaluation, NothingToEvaluateIsToldBeforeTheFirstStep) {
  const Recipe r = evaluated("none");
  damage();
  EXPECT_PRED2(has, refusal(r),
               "eval_data: expected a row that can be used, found none; the first");
  EXPECT_FALSE(fs::exists(r.output_dir / "train.jsonl"));
  mend();
  write_file(root_ / "eval/images/0.png", "no picture");  // the others do
  ASSERT_TRUE(train(r));
  EXPECT_EQ(log_of(r.output_dir)[2]["eval_left_out"], 1);
}

TEST_F(GoingOn, OneRunAnOutputDirectory) {
  fs::create_directories(root_ / "busy");
  const int fd = ::open((root_ / "busy/.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  EXPECT_THROW(train(recipe("busy")), Error);
  ::close(fd);
}

}  // namespace
}  // namespace revenant
