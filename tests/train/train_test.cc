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
#include "train/loop.h"
#include "train/run_directory.h"

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

TEST_F(TrainTest, DamagedCheckpointIsPassedOver) {
  ASSERT_TRUE(train(recipe("whole")));
  fs::resize_file(root_ / "whole/checkpoint-6/model.safetensors", 100);
  std::vector<std::string> told;
  ASSERT_TRUE(train(recipe("whole"), {[&](const std::string& line) { told.push_back(line); }}));
  ASSERT_GE(told.size(), 2u);
  EXPECT_NE(told[0].find("checkpoint-6/model.safetensors"), std::string::npos) << told[0];
  EXPECT_NE(told[1].find("going on from"), std::string::npos) << told[1];
  EXPECT_NE(told[1].find("checkpoint-3"), std::string::npos) << told[1];
}

// A bit is enough: the manifest knows every file.
TEST_F(TrainTest, AChangedBitIsSeen) {
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

// Whatever the reason: a fresh start would overwrite what was reached.
TEST_F(TrainTest, NoFreshStartOverCheckpointsThatCannotBeUsed) {
  Recipe r = recipe("whole");
  ASSERT_TRUE(train(r));
  for (const Path& checkpoint : checkpoints_in(r.output_dir))
    fs::resize_file(checkpoint / "optimizer.safetensors", 10);
  EXPECT_THROW(train(r), Error);
  EXPECT_TRUE(fs::exists(root_ / "whole/checkpoint-6"));
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
  EXPECT_EQ(log_of(root_ / "whole").size(), 6u);
  EXPECT_EQ(read_file(root_ / "whole/model.safetensors"), weights);
}

TEST_F(TrainTest, StoppedBeforeItsFirstStepLeavesNoCheckpoint) {
  stop_signal = SIGTERM;
  EXPECT_FALSE(train(recipe("early")));
  stop_signal = 0;
  EXPECT_TRUE(checkpoints_in(root_ / "early").empty());
  EXPECT_TRUE(train(recipe("early")));
}

// What train() refuses with; empty: nothing.
std::string refusal(const Recipe& r) {
  try {
    train(r);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(TrainTest, GoesOnOnlyAsTheSameRun) {
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

// Up to where it begins to fall a level schedule may be given another end.
TEST_F(TrainTest, ALevelScheduleMayEndElsewhere) {
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

// Stopped at any step, a run leaves a checkpoint and ends as an unbroken one.
TEST_F(TrainTest, AStoppedRunSavesAndGoesOn) {
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

TEST_F(TrainTest, ARefusedRecipeLeavesNothing) {
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
  const auto save = [&](int step, int best_step = 0) {
    TrainerState state;
    state.global_step = step, state.best_step = best_step;
    save_checkpoint(output, one.model, optimizer, state, output / "tokenizer", 1);
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
    r->optim = Recipe::Optim::muon;
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
  const TrainingData data = read_training_data(r.data, false);
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

// exp_avg after one step is a tenth of the gradient that the optimiser was given.
TEST_F(TrainTest, GradientsAreClippedToTheirNorm) {
  const auto given = [&](const std::string& name, double limit) {
    Recipe r = recipe(name);
    r.max_steps = 1, r.max_grad_norm = limit;
    EXPECT_TRUE(train(r));
    double squares = 0;
    const Safetensors state(root_ / name / "checkpoint-1/optimizer.safetensors");
    for (const auto& [key, view] : state.tensors())
      if (key.starts_with("exp_avg."))
        for (const float value : to_floats(view)) squares += double(value) * value;
    return std::pair(10 * std::sqrt(squares), log_of(root_ / name)[0]["grad_norm"].get<double>());
  };
  const auto [free, norm] = given("free", 0);
  EXPECT_NEAR(free, norm, 1e-4 * norm);
  const auto [clipped, same_norm] = given("clipped", norm / 8);
  EXPECT_EQ(same_norm, norm);
  EXPECT_NEAR(clipped, norm / 8, 1e-4 * norm);
  const auto [loose, again] = given("loose", norm * 2);
  EXPECT_NEAR(loose, norm, 1e-4 * norm);
}

// The first step's rate is the schedule's for step 0: Adam's first step moves by the rate itself.
TEST_F(TrainTest, EachStepHasItsOwnLearningRate) {
  Recipe r = recipe("rates");
  r.warmup_steps = 4, r.weight_decay = 0, r.learning_rate = 1e-3;
  ASSERT_TRUE(train(r));
  const auto lines = log_of(root_ / "rates");
  for (int step = 0; step < 6; ++step)
    EXPECT_DOUBLE_EQ(lines[size_t(step)]["learning_rate"], learning_rate_at(r, step));
  r.output_dir = root_ / "first";
  r.max_steps = 1, r.adam_epsilon = 1e-20, r.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(r));
  const TorchModel model = load_torch_model(root_ / "first");
  const TorchModel before = init_torch_model(model.config_json, r.seed);
  const std::string name = "blk.0.ffn_up.weight";
  const torch::Tensor moved =
      (model.parameters.at(name) - before.parameters.at(name)).detach().abs();
  EXPECT_NEAR(moved.median().item<double>(), 0.25e-3, 1e-6);
}

TEST_F(TrainTest, Bf16IsNearAndNotTheSame) {
  Recipe narrow = recipe("narrow"), wide = recipe("wide");
  narrow.bf16 = true;
  ASSERT_TRUE(train(narrow));
  ASSERT_TRUE(train(wide));
  const auto a = log_of(root_ / "narrow"), b = log_of(root_ / "wide");
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NE(a[i]["loss"], b[i]["loss"]);
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 0.05);
  }
}

// A weight that trains is never computed with as it was a step before: the same steps one by one.
TEST_F(TrainTest, Bf16CopiesAreNeverStale) {
  Recipe r = recipe("bf16_steps");
  r.bf16 = true, r.learning_rate = 0.05, r.warmup_steps = 0, r.max_steps = 2, r.save_steps = 1;
  ASSERT_TRUE(train(r));
  const TorchModel first = load_torch_model(root_ / "bf16_steps/checkpoint-1");
  const Tokenizer tokenizer = Tokenizer::open(r.output_dir);
  const TrainingData data = read_training_data(r.data, false);
  const BatchMaker maker{first.config, tokenizer, prompt_rule(prompt_family(first.config)),
                         tile_rule_of(first.config), batch_options(r)};
  std::vector<TorchBatch> batches = {maker.make(picks_of_step(data, r, 1))};
  round_up(batches[0]);
  SideBySide threads(1);
  const double loss = measure(first, objective_of({}), batches, true, threads).loss;
  EXPECT_NEAR(log_of(r.output_dir)[1]["loss"].get<double>(), loss, 1e-5);
}

TEST_F(TrainTest, AnotherSeedIsAnotherRun) {
  Recipe one = recipe("one"), two = recipe("two");
  two.seed = one.seed + 1;
  ASSERT_TRUE(train(one));
  ASSERT_TRUE(train(two));
  EXPECT_NE(log_of(root_ / "one")[0]["loss"], log_of(root_ / "two")[0]["loss"]);
}

TEST_F(TrainTest, FrozenPartsKeepTheirBits) {
  Recipe r = recipe("frozen");
  r.trainable = {"projector", "mechanism"};
  r.weight_decay = 0.5;
  ASSERT_TRUE(train(r));
  const TorchModel model = load_torch_model(root_ / "frozen/checkpoint-6");
  const TorchModel before = init_torch_model(model.config_json, r.seed);
  for (const auto& [name, parameter] : model.parameters) {
    const Part part = part_of(model.specs.at(name));
    const bool trains = part == Part::projector || part == Part::mechanism;
    EXPECT_EQ(torch::equal(parameter, before.parameters.at(name)), !trains) << name;
  }
  const Safetensors state(root_ / "frozen/checkpoint-6/optimizer.safetensors");
  for (const auto& [key, view] : state.tensors())
    EXPECT_TRUE(has(key, ".mm.") || has(key, ".mix_") || has(key, ".phantom_gate")) << key;
}

TEST_F(TrainTest, PhantomOptimizationLearnsToPrefer) {
  Recipe r = recipe("po");
  r.objective.kind = ObjectiveConfig::Kind::po;
  r.max_steps = 40, r.save_steps = 100, r.learning_rate = 1e-2;
  ASSERT_TRUE(train(r));
  const auto lines = log_of(root_ / "po");
  for (const char* name : {"rewards/chosen", "rewards/rejected", "rewards/margins",
                           "rewards/accuracies", "logps/chosen", "logps/rejected", "nll_loss"})
    EXPECT_TRUE(lines[0].contains(name)) << name;
  EXPECT_LT(std::abs(lines.front()["rewards/margins"].get<double>()), 1);
  EXPECT_GT(lines.back()["rewards/margins"].get<double>(), 1);
  EXPECT_EQ(lines.back()["rewards/accuracies"], 1.0);
}

// A reference is computed once, under the name of its model and rows.
TEST_F(TrainTest, AReferenceIsKeptAndNeverAnothers) {
  ASSERT_TRUE(train(recipe("base")));
  Recipe r = recipe("dpo");
  r.config.clear(), r.model = root_ / "base";
  r.objective.kind = ObjectiveConfig::Kind::dpo, r.objective.beta = 0.5;
  ASSERT_TRUE(train(r));
  const auto lines = log_of(root_ / "dpo");
  EXPECT_NEAR(lines[0]["loss"].get<double>(), std::log(2), 1e-4);  // both are the same model
  EXPECT_LT(lines[5]["loss"].get<double>(), std::log(2));
  const auto kept = [&] {
    std::set<std::string> files;
    for (const auto& entry : fs::directory_iterator(root_))
      if (has(entry.path().filename(), "rows.json.reference-")) files.insert(entry.path());
    return files;
  };
  const auto first = kept();
  ASSERT_EQ(first.size(), 1u);
  r.output_dir = root_ / "again";
  ASSERT_TRUE(train(r));
  EXPECT_EQ(kept(), first);
  EXPECT_EQ(read_file(root_ / "again/train.jsonl"), read_file(root_ / "dpo/train.jsonl"));
  Recipe other = r;
  other.output_dir = root_ / "other";
  other.reference = root_ / "dpo";
  ASSERT_TRUE(train(other));
  EXPECT_EQ(kept().size(), 2u);
  EXPECT_GT(std::abs(log_of(root_ / "other")[0]["loss"].get<double>() - std::log(2)), 1e-4);
}

// Weights that blow up: the step is passed over and counted, no NaN reaches weights or checkpoint.
TEST_F(TrainTest, AStepWithoutANumberIsSkippedOrStops) {
  ASSERT_TRUE(train(recipe("base")));
  TorchModel model = load_torch_model(root_ / "base");
  {
    const torch::NoGradGuard no_grad;
    model.parameters.at("blk.0.attn_norm.weight").fill_(3e38);
  }
  fs::create_directories(root_ / "wild");
  save_torch_model(model, root_ / "wild", DType::f32);
  fs::copy_file(root_ / "base/tokenizer.json", root_ / "wild/tokenizer.json");
  Recipe r = recipe("skipped");
  r.config.clear(), r.model = root_ / "wild";
  r.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(r));
  const Json line = log_of(root_ / "skipped").back();
  EXPECT_EQ(line["skipped_steps"], 6);
  EXPECT_FALSE(line.contains("loss"));
  EXPECT_EQ(read_file(root_ / "skipped/model.safetensors"),
            read_file(root_ / "wild/model.safetensors"));
  r.output_dir = root_ / "stops";
  r.nan_policy = Recipe::NanPolicy::stop;
  EXPECT_PRED2(has, refusal(r), "step 1: expected a finite loss and gradient");
  r.output_dir = root_ / "many";
  r.nan_policy = Recipe::NanPolicy::skip, r.max_skipped_steps = 2;
  EXPECT_PRED2(has, refusal(r), "step 3: expected a finite loss and gradient within max_skipped");
}

// A picture that cannot be read late is passed over and counted; work goes on.
TEST_F(TrainTest, ADamagedPictureIsCounted) {
  write_file(root_ / "images/7.png", read_file(root_ / "images/7.png").substr(0, 300));
  std::vector<std::string> told;
  ASSERT_TRUE(train(recipe("damaged"), {[&](const std::string& line) { told.push_back(line); }}));
  EXPECT_EQ(log_of(root_ / "damaged").back()["left_out"], 1);  // six steps are one epoch
  EXPECT_EQ(std::ranges::count_if(told, [](const auto& line) { return has(line, "7.png"); }), 1);
  Recipe alone = recipe("alone");  // a step of this picture alone has nothing to learn from
  alone.per_device_train_batch_size = 1, alone.max_steps = 24, alone.logging_steps = 24;
  ASSERT_TRUE(train(alone));
  EXPECT_EQ(log_of(root_ / "alone").back()["skipped_steps"], 1);
}

// What was done is kept when a step cannot be done: here after three that could.
TEST_F(TrainTest, AnErrorSavesFirst) {
  Recipe r = recipe("error");
  r.per_device_train_batch_size = 1, r.max_skipped_steps = 0, r.max_steps = 24, r.save_steps = 100;
  const TrainingData data = read_training_data(r.data, false);
  const Row& fourth = data.sets[0].rows[picks_of_step(data, r, 3)[0].group.begin];
  write_file(fourth.images[0], "no picture");
  EXPECT_PRED2(has, refusal(r), "step 4: expected rows to learn from within max_skipped_steps 0");
  EXPECT_NO_THROW(check_manifest(r.output_dir / "checkpoint-3"));
}

TEST_F(TrainTest, EvaluationKeepsTheBestCheckpoint) {
  Recipe r = recipe("evaluated");
  r.eval_data = r.data;
  r.eval_steps = 1, r.save_steps = 100, r.save_total_limit = 1, r.learning_rate = 3e-2;
  r.max_steps = 8, r.objective.kind = ObjectiveConfig::Kind::po;
  ASSERT_TRUE(train(r));
  double best = 1e9;
  int best_step = 0;
  for (const Json& line : log_of(r.output_dir)) {
    if (!line.contains("eval_loss")) continue;
    EXPECT_TRUE(line.contains("eval_rewards/accuracies"));
    const bool better = line["eval_loss"] < best;
    EXPECT_EQ(line["best"], better);
    if (better) best = line["eval_loss"], best_step = line["step"];
  }
  ASSERT_GT(best_step, 0);
  EXPECT_TRUE(fs::exists(r.output_dir / ("checkpoint-" + std::to_string(best_step))));
  EXPECT_EQ(read_trainer_state(r.output_dir / "checkpoint-8").best_step, best_step);
  // The loss is that of all pairs, each answer as if generated.
  const TorchModel model =
      load_torch_model(r.output_dir / ("checkpoint-" + std::to_string(best_step)));
  const Tokenizer tokenizer = Tokenizer::open(r.output_dir);
  const TrainingData data = read_training_data(r.data, true);
  BatchMaker maker{model.config, tokenizer, prompt_rule(prompt_family(model.config)),
                   tile_rule_of(model.config), batch_options(r)};
  maker.options.questions_per_picture = 100;
  std::vector<TorchBatch> batches;
  for (const auto& picks : picks_in_order(data, 3)) batches.push_back(maker.make(picks));
  SideBySide threads(1);
  const StepLoss loss = measure(model, objective_of(r.objective), batches, false, threads);
  EXPECT_NEAR(loss.loss, best, 1e-4);
}

// In TroL an answer that is measured passes each layer once, as when it is generated, though those
// that are trained on traverse.
TEST_F(TrainTest, EvaluationIsAsInferred) {
  Json config = small_config();
  config["revenant"] = {{"phantom", false}, {"trol", true}, {"max_tiles", 1}};
  write_file(root_ / "trol.json", config.dump());
  Recipe r = recipe("trol");
  r.config = root_ / "trol.json";
  r.eval_data = r.data, r.eval_steps = 3, r.max_steps = 3, r.learning_rate = 3e-2;
  ASSERT_TRUE(train(r));
  double logged = 0;
  for (const Json& line : log_of(r.output_dir))
    if (line.contains("eval_loss")) logged = line["eval_loss"];
  const TorchModel model = load_torch_model(r.output_dir / "checkpoint-3");
  const Tokenizer tokenizer = Tokenizer::open(r.output_dir);
  const TrainingData data = read_training_data(r.data, false);
  const auto loss = [&](bool as_inferred) {
    BatchMaker maker{model.config, tokenizer, prompt_rule(prompt_family(model.config)),
                     tile_rule_of(model.config), batch_options(r)};
    maker.options.as_inferred = as_inferred;
    std::vector<TorchBatch> batches;
    for (const auto& picks : picks_in_order(data, 8)) batches.push_back(maker.make(picks));
    SideBySide threads(1);
    return measure(model, objective_of({}), batches, false, threads).loss;
  };
  EXPECT_NEAR(logged, loss(true), 1e-5);
  EXPECT_GT(std::abs(logged - loss(false)), 1e-4);
}

TEST_F(TrainTest, TheLogShowsWhatMechanismsDo) {
  Recipe r = recipe("mechanisms");
  r.max_steps = 1;
  ASSERT_TRUE(train(r));
  const Json line = log_of(r.output_dir)[0];
  for (const char* what : {"mean", "spread", "above_half"}) {
    ASSERT_EQ(line["gate"][what].size(), 2u) << what;
    for (const Json& value : line["gate"][what]) EXPECT_TRUE(value >= 0 && value <= 1);
  }
  EXPECT_NEAR(line["gate"]["mean"][0].get<double>(), 0.5, 0.1);  // fresh gates
  for (const char* side : {"q", "k", "v"})
    for (const Json& size : line["ghost"][side]) EXPECT_GT(size.get<double>(), 0) << side;
  for (const char* part : {"vision_tower", "projector", "language_model", "mechanisms"}) {
    EXPECT_GT(line[std::string("grad_norm/") + part].get<double>(), 0) << part;
    EXPECT_GT(line[std::string("grad_rms/") + part].get<double>(), 0) << part;
  }
  EXPECT_FALSE(line.contains("images_per_second"));  // what differs from run to run stands apart
  EXPECT_TRUE(has(read_file(r.output_dir / "speed.jsonl"), "images_per_second"));
  EXPECT_FALSE(fs::is_empty(r.output_dir / "tensorboard"));
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
