// The loop: what a resumed or accumulated run must equal.
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/file.h>

#include <csignal>
#include <set>
#include <sstream>

#include "base/error.h"
#include "io/checkpoint.h"
#include "noise.h"
#include "train/checkpoint.h"
#include "train/loop.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using TrainTest = Noise;

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

}  // namespace
}  // namespace revenant
