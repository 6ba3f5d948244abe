// The papers' runs as files: what they publish stands in them, and each trains what it should on a
// small model of its kind.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/json.h"
#include "engine/synth.h"
#include "noise.h"
#include "train/parameters.h"
#include "train/sweep.h"

namespace revenant {
namespace {

struct Published {
  std::string model;
  int step;
};

std::vector<Published> published() {
  std::vector<Published> runs;
  for (const std::string& model : released_names())
    for (const int step : {1, 2}) runs.push_back({model, step});
  return runs;
}

Recipe read(const Published& run, std::vector<std::string> settings = {}) {
  const std::string name = run.model + "-step" + std::to_string(run.step) + ".yaml";
  return read_recipe(Path(REVENANT_SOURCE_DIR) / "recipes" / name, settings);
}

class PublishedRuns : public Noise, public testing::WithParamInterface<Published> {};

// papers.md 1.3 and 2.2.
TEST_P(PublishedRuns, HoldWhatThePapersSay) {
  const bool phantom = GetParam().model.starts_with("phantom");
  const Recipe r = read(GetParam());
  const int batch = r.per_device_train_batch_size * r.gradient_accumulation_steps;
  EXPECT_EQ(batch, phantom ? 128 : 768);
  EXPECT_EQ(r.learning_rate, phantom ? 1e-5 : 1e-4);
  EXPECT_EQ(r.min_learning_rate, 1e-6);
  EXPECT_EQ(r.lr_scheduler_type, Recipe::Schedule::cosine);
  EXPECT_EQ(r.optim, Recipe::Optim::adamw_torch);
  EXPECT_TRUE(r.bf16);
  EXPECT_TRUE(r.gradient_checkpointing);
  const int64_t samples = phantom ? 2'040'186 : 2'273'830;
  EXPECT_EQ(r.max_steps, (samples + batch - 1) / batch);  // one epoch
  const bool prefers = phantom && GetParam().step == 1;
  EXPECT_EQ(r.objective.kind, prefers ? ObjectiveConfig::Kind::po : ObjectiveConfig::Kind::sft);
  EXPECT_EQ(r.objective.beta, 2);
  EXPECT_EQ(r.objective.gamma, 0.5);
  EXPECT_EQ(r.objective.sft_weight, 1);
  EXPECT_EQ(r.rows, Recipe::Rows::train);
}

// Of a released shape, but narrow and shallow.
void write_small(const Path& directory, const std::string& name) {
  SynthOptions options;
  options.threads = 1;
  const bool flat = name == "trol-1.8b" || name == "trol-7b";
  const bool phi3 = name == "phantom-3.8b" || name == "trol-3.8b";
  const std::string llm = flat ? "" : "llm_config.";
  options.settings = {llm + "hidden_size=" + (phi3 ? "384" : "64"),
                      llm + "intermediate_size=64",
                      llm + "num_hidden_layers=1",
                      llm + "num_attention_heads=4",
                      llm + "num_key_value_heads=" + (phi3 ? "4" : "2"),
                      "vision_config.hidden_size=32",
                      "vision_config.intermediate_size=32",
                      "vision_config.num_hidden_layers=1",
                      "vision_config.num_attention_heads=2"};
  synth(directory, released(name), options);
}

TEST_P(PublishedRuns, TakeAStep) {
  const auto& [name, step] = GetParam();
  write_small(root_ / "small", name);
  const std::string start = (root_ / "small").string(), output = (root_ / "out").string();
  Recipe r = read(GetParam(), {"model=" + start, "output_dir=" + output, "max_steps=1",
                               "per_device_train_batch_size=1", "gradient_accumulation_steps=1",
                               "report_to=none", "learning_rate=0.01", "bf16=false"});
  r.data = {{root_ / "rows.json", "", 1}};
  std::string told;
  ASSERT_TRUE(train(r, {[&](const std::string& line) { told += line + "\n"; }}));
  const TorchModel before = load_torch_model(start),
                   after = load_torch_model(output + "/checkpoint-1");
  std::set<Part> moved, parts;
  for (const auto& [weight, value] : after.parameters) {
    const bool lora = after.specs.at(weight).role == Role::lora;
    const bool same = torch::equal(value, before.parameters.at(weight));
    const Part part = part_of(after.specs.at(weight));
    EXPECT_TRUE(same || !lora) << weight << " is image-only and was not named";
    if (!same) moved.insert(part);
    parts.insert(part);
  }
  std::set<Part> expected = {Part::projector, Part::mechanism};
  if (step == 2) expected.insert(Part::language);
  if (step == 2 && name.starts_with("phantom")) expected.insert(Part::vision);
  EXPECT_EQ(moved, expected);
  EXPECT_EQ(parts.size(), 4u);
  for (const Part part : parts) EXPECT_NE(told.find(name_of(part)), std::string::npos) << told;
}

INSTANTIATE_TEST_SUITE_P(Papers, PublishedRuns, testing::ValuesIn(published()),
                         [](const auto& info) {
                           std::string name =
                               info.param.model + "_step" + std::to_string(info.param.step);
                           for (char& c : name) c = std::isalnum(uint8_t(c)) ? c : '_';
                           return name;
                         });

// Every arm of the ablations selects what is there, and its settings mean something.
TEST(Ablations, EveryArmCanBeTrained) {
  const Path root = REVENANT_SOURCE_DIR;
  int arms = 0;
  for (const char* file : {"ablation.yaml", "ablation-pilot.yaml", "ablation-wrong.yaml"}) {
    const Sweep sweep = read_sweep(root / "recipes" / file);
    std::vector<SweepArm> all;
    for (const SweepGroup& group : sweep.groups)
      std::ranges::copy(group.arms, std::back_inserter(all));
    for (const SweepArm& arm : all) {
      SCOPED_TRACE(arm.name);
      nlohmann::json config;
      for (size_t step = 0; step < sweep.steps.size(); ++step) {
        const Recipe r = read_recipe(root / sweep.steps[step], arm.settings[step]);
        if (step == 0) config = with_settings(read_json(root / r.config), r.config_set);
        config["llm_config"]["vocab_size"] = 2048;
        const TensorSpecs specs = unique_tensors(parse_config(config, "arm"));
        for (const std::string& name : selected(specs, r.trainable, "trainable"))
          EXPECT_NE(part_of(specs.at(name)), Part::vision);
        for (const ParameterGroup& group : r.parameter_groups)
          EXPECT_FALSE(selected(specs, group.match, "match").empty());
      }
      ++arms;
    }
  }
  EXPECT_GE(arms, 20);
}

}  // namespace
}  // namespace revenant
