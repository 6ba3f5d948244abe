// The loop: what a step does, and what the log says of it.
#include <ATen/Parallel.h>

#include <cmath>
#include <set>

#include "noise.h"
#include "train/device.h"
#include "train/reference.h"
#include "train/run_directory.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using TrainTest = Noise;

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

TEST_F(TrainTest, ADeviceThatIsNotThereIsNamed) {
  if (!device_of(DeviceChoice::automatic).is_cpu()) GTEST_SKIP() << "this machine has CUDA";
  Recipe r = recipe("there");
  r.device = DeviceChoice::automatic;
  ASSERT_TRUE(train(r));
  r.device = DeviceChoice::cuda;
  EXPECT_TRUE(has(refusal(r), "device: expected CUDA")) << refusal(r);
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

// At the released eta a ghost is lost in eight bits: both halves are alike, and the gates between
// them learn nothing.
TEST_F(TrainTest, Bf16KeepsTheGhosts) {
  Recipe r = recipe("wide");
  r.config_set = {"revenant.phantom_eta=1e-2"};
  r.trainable = {"blk.*.phantom_gate*"}, r.max_steps = 1;
  ASSERT_TRUE(train(r));
  r.config_set = {"revenant.phantom_eta=1e-4"};
  r.output_dir = root_ / "narrow", r.bf16 = true;
  ASSERT_TRUE(train(r));
  const double wide = log_of(root_ / "wide")[0]["grad_norm"];  // the gates' is as large as eta
  EXPECT_GT(wide, 0);
  EXPECT_NEAR(100 * log_of(r.output_dir)[0]["grad_norm"].get<double>(), wide, 0.1 * wide);
}

// A weight that trains is never computed with as it was a step before: the same steps one by one.
TEST_F(TrainTest, Bf16CopiesAreNeverStale) {
  Recipe r = recipe("bf16_steps");
  r.bf16 = true, r.learning_rate = 0.05, r.warmup_steps = 0, r.max_steps = 2, r.save_steps = 1;
  ASSERT_TRUE(train(r));
  const TorchModel first = load_torch_model(root_ / "bf16_steps/checkpoint-1");
  EXPECT_NEAR(log_of(r.output_dir)[1]["loss"].get<double>(), bf16_loss(first, r, 1), 1e-5);
}

TEST_F(TrainTest, AnotherSeedIsAnotherRun) {
  Recipe one = recipe("one"), two = recipe("two");
  two.seed = one.seed + 1;
  ASSERT_TRUE(train(one));
  ASSERT_TRUE(train(two));
  EXPECT_NE(log_of(root_ / "one")[0]["loss"], log_of(root_ / "two")[0]["loss"]);
}

TEST_F(TrainTest, FreshWeightsComeFromTheSeed) {
  const auto weights = [&](const std::string& name, uint64_t seed) {
    Recipe r = recipe(name);
    r.seed = seed;
    r.max_steps = 1;
    r.learning_rate = 1e-12;  // they stay as they began
    r.warmup_steps = r.decay_steps = 0;
    EXPECT_TRUE(train(r));
    return load_torch_model(r.output_dir).parameters.at("blk.0.attn_q.weight").detach();
  };
  const torch::Tensor one = weights("one", 1);
  EXPECT_TRUE(torch::allclose(one, weights("same", 1), 0, 1e-6));
  EXPECT_GT((one - weights("two", 2)).abs().mean().item<double>(), 1e-3);
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
  // A run does not go on with another one.
  other = r;
  other.output_dir = root_ / "dpo", other.reference = root_ / "other";
  EXPECT_PRED2(has, refusal(other), "checkpoint-6: reference: expected");
  other.reference.clear();
  EXPECT_EQ(refusal(other), "");
  // A picture may be another of the same size.
  fs::last_write_time(root_ / "images/3.png", fs::file_time_type::clock::now());
  r.output_dir = root_ / "newer";
  ASSERT_TRUE(train(r));
  EXPECT_EQ(kept().size(), 3u);
}

// A signal while a reference is computed: what is known is kept, and not computed again.
TEST_F(TrainTest, AReferenceIsGoneOnWith) {
  ASSERT_TRUE(train(recipe("base")));
  Recipe r = recipe("dpo");
  r.config.clear(), r.model = root_ / "base";
  r.objective.kind = ObjectiveConfig::Kind::dpo;
  EXPECT_FALSE(train(r, {[](const std::string& line) {
                       if (has(line, "computing what the reference")) stop_signal = SIGTERM;
                     }}));
  stop_signal = 0;
  const auto kept = [&](const std::string& end) {
    for (const auto& entry : fs::directory_iterator(root_))
      if (has(entry.path(), "rows.json.reference-") && entry.path().string().ends_with(end))
        return entry.path();
    return Path();
  };
  EXPECT_TRUE(kept(".safetensors").empty());
  const Path part = kept(".part");
  ASSERT_FALSE(part.empty());
  std::vector<double> chosen(48, NAN), rejected = chosen;
  chosen[6] = -1, rejected[6] = -2, chosen[7] = -3, rejected[7] = -4;  // of one picture
  const auto named = [](const char* name, const std::vector<double>& values) {
    return NamedTensor{name,
                       {DType::f64, {int64_t(values.size())}, std::as_bytes(std::span(values))}};
  };
  write_safetensors(part, {{named("chosen", chosen), named("rejected", rejected)}});
  ASSERT_TRUE(train(r));
  EXPECT_TRUE(kept(".part").empty());
  const Safetensors file(kept(".safetensors"));
  const auto* values = reinterpret_cast<const double*>(file.tensors().at("chosen").data.data());
  for (size_t row = 0; row < 48; ++row) {
    EXPECT_FALSE(std::isnan(values[row])) << row;
    EXPECT_EQ(values[row] == -1 || values[row] == -3, row == 6 || row == 7) << row;
  }
}

// Pictures with several rows are looked at once; each row has what it has alone. Evaluation has a
// reference of its own.
TEST_F(TrainTest, AReferenceIsThatOfEachRow) {
  ASSERT_TRUE(train(recipe("base")));
  Json rows = Json::parse(read_file(root_ / "rows.json"));
  for (size_t i = 0; i < rows.size(); ++i) rows[i]["rejected"] = "no " + std::to_string(i);
  rows[4]["rejected"] = rows[4]["conversations"][1]["value"];  // of no use
  write_file(root_ / "rows.json", rows.dump());
  Recipe r = recipe("dpo");
  r.config.clear(), r.model = root_ / "base";
  r.objective.kind = ObjectiveConfig::Kind::dpo;
  const TorchModel model = load_torch_model(r.model);
  const Tokenizer tokenizer = Tokenizer::open(r.model);
  const PromptRule& rule = prompt_rule(prompt_family(model.config));
  Preparation p;
  p.data = p.eval_data = read_training_data(r.data, true);
  p.rule = &rule, p.tokenizer = tokenizer, p.tokenizer_texts = read_tokenizer_texts(r.model);
  p.run.state.run = {{"reference", reference_digest(r)}};
  add_reference(r, p, [](const std::string&) {});
  const BatchMaker maker{model.config, tokenizer, rule, tile_rule(model.config), batch_options(r)};
  TrainingSet& set = p.data.sets[0];
  ASSERT_EQ(set.reference.chosen.size(), rows.size());
  for (size_t row = 0; row < rows.size(); ++row) {
    const Pick alone{&set, {row, row + 1}, 0};
    const TorchBatch batch = maker.make({&alone, 1});
    EXPECT_EQ(batch.pairs.empty(), row == 4);
    EXPECT_EQ(std::isnan(set.reference.chosen[row]), row == 4);
    if (batch.pairs.empty()) continue;
    const torch::Tensor sums = score_answers(model, batch).sums;
    EXPECT_NEAR(set.reference.chosen[row], sums[0].item<double>(), 1e-4) << row;
    EXPECT_NEAR(set.reference.rejected[row], sums[1].item<double>(), 1e-4) << row;
  }
  r.eval_data = r.data, r.eval_steps = 3, r.max_steps = 3;
  r.learning_rate = 1e-12;  // the model stays what it was
  ASSERT_TRUE(train(r));
  for (const Json& line : log_of(r.output_dir))
    EXPECT_NEAR(line.value("eval_loss", line.value("loss", 0.0)), std::log(2), 1e-4);
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
  write_file(root_ / "images/9.png", "no picture");
  ASSERT_TRUE(train(recipe("damaged"), {[&](const std::string& line) { told.push_back(line); }}));
  ASSERT_GT(told.size(), 2u);  // what a head shows is told at once
  EXPECT_PRED2(has, told[0], "cannot be read: [image]");
  EXPECT_PRED2(has, told[0], "9.png");
  EXPECT_PRED2(has, told[1], "1 of 24 pictures cannot be read; their rows will be left out");
  EXPECT_EQ(log_of(root_ / "damaged").back()["left_out"], 2);  // six steps are one epoch
  EXPECT_EQ(std::ranges::count_if(told, [](const auto& line) { return has(line, "7.png"); }), 1);
  Recipe alone = recipe("alone");  // a step of such a picture alone has nothing to learn from
  alone.per_device_train_batch_size = 1, alone.max_steps = 24, alone.logging_steps = 24;
  ASSERT_TRUE(train(alone));
  EXPECT_EQ(log_of(root_ / "alone").back()["skipped_steps"], 2);
}

// That all rows of a step are left out is no number that is none.
TEST_F(TrainTest, NanPolicyIsNotAboutRowsThatAreLeftOut) {
  write_file(root_ / "images/7.png", "no picture");
  Recipe r = recipe("stops");
  r.nan_policy = Recipe::NanPolicy::stop, r.per_device_train_batch_size = 1;
  r.max_steps = 24, r.logging_steps = 24;
  ASSERT_TRUE(train(r));
  EXPECT_EQ(log_of(r.output_dir).back()["skipped_steps"], 1);
}

// The tower has pixels to see only where a row is left that shows them.
TEST_F(TrainTest, ARowOfTextStaysWhereTheOnesWithPicturesAreTooLong) {
  const auto row = [](const std::string& question) {
    return Json{{"conversations",
                 {{{"from", "human"}, {"value", question}}, {{"from", "gpt"}, {"value", "yes"}}}},
                {"rejected", "no"}};
  };
  std::string question = "<image>\n";
  for (int i = 0; i < 200; ++i) question += "word ";
  Json pictured = row(question);
  pictured["image"] = "images/0.png";
  write_file(root_ / "rows.json", Json({pictured, row("Is it so?")}).dump());
  for (const auto kind : {ObjectiveConfig::Kind::sft, ObjectiveConfig::Kind::po}) {
    Recipe r = recipe(kind == ObjectiveConfig::Kind::sft ? "sft" : "po");
    r.objective.kind = kind, r.per_device_train_batch_size = 2, r.max_length = 100;
    r.eval_data = r.data, r.eval_steps = 3;
    ASSERT_TRUE(train(r));
    const Json last = log_of(r.output_dir).rbegin()[1];  // before the evaluation's
    EXPECT_EQ(last["left_out"], 6);
    EXPECT_EQ(last["skipped_steps"], 0);
  }
}

// What was done is kept when a step cannot be done: here after three that could.
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
                   tile_rule(model.config), batch_options(r)};
  maker.options.questions_per_picture = 100;
  const auto batches = picks_in_order(data, 3);
  SideBySide threads(1);
  const auto batch = [&](size_t i) { return maker.make(batches[i]); };
  const StepLoss loss =
      measure(model, objective_of(r.objective), batches.size(), batch, false, threads);
  EXPECT_NEAR(loss.loss, best, 1e-4);
  double right = 0;
  for (const auto& picks : batches) {
    const TorchBatch made = maker.make(picks);
    const AnswerScores scores = score_answers(model, made);
    const auto average = [&](int span) {
      return scores.sums[span].item<double>() / double(scores.counts[size_t(span)]);
    };
    for (const AnswerPair& pair : made.pairs)
      right += average(pair.chosen) > average(pair.rejected);
  }
  for (const Json& line : log_of(r.output_dir))
    if (line["step"] == best_step && line.contains("eval_loss")) {
      EXPECT_NEAR(line["eval_rewards/accuracies"].get<double>(), right / 48, 1e-9);
    }
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
                     tile_rule(model.config), batch_options(r)};
    maker.options.as_inferred = as_inferred;
    const auto batches = picks_in_order(data, 8);
    const auto batch = [&](size_t i) { return maker.make(batches[i]); };
    SideBySide threads(1);
    return measure(model, objective_of({}), batches.size(), batch, false, threads).loss;
  };
  EXPECT_NEAR(logged, loss(true), 1e-5);
  EXPECT_GT(std::abs(logged - loss(false)), 1e-4);
}

TEST_F(TrainTest, TheLogShowsWhatMechanismsDo) {
  Recipe r = recipe("mechanisms");
  r.max_steps = 1, r.max_grad_norm = 0;
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
    EXPECT_EQ(line[std::string("adam_epsilon/") + part], 1e-8) << part;
  }
  // What is beside Adam's epsilon is what Adam sees: clipped gradients, each part's own epsilon.
  Recipe clipped = recipe("clipped");
  clipped.max_steps = 1, clipped.max_grad_norm = line["grad_norm"].get<double>() / 4;
  clipped.parameter_groups = {{{"mechanism"}, {}, {}, 1e-15}};
  ASSERT_TRUE(train(clipped));
  const Json other = log_of(clipped.output_dir)[0];
  EXPECT_EQ(other["grad_norm"], line["grad_norm"]);
  EXPECT_NEAR(other["grad_rms/projector"].get<double>() * 4,
              line["grad_rms/projector"].get<double>(), 1e-6);
  EXPECT_EQ(other["adam_epsilon/mechanisms"], 1e-15);
  EXPECT_EQ(other["adam_epsilon/projector"], 1e-8);
  EXPECT_FALSE(line.contains("images_per_second"));  // what differs from run to run stands apart
  EXPECT_TRUE(has(read_file(r.output_dir / "speed.jsonl"), "images_per_second"));
  EXPECT_FALSE(fs::is_empty(r.output_dir / "tensorboard"));
}

}  // namespace
}  // namespace revenant
