// `config_set`: what a recipe changes of a configuration, and weights that a checkpoint has once
// and the recipe asks for in every layer.
#include "noise.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class ConfigSet : public Noise {
 protected:
  // Both mechanisms, with the gate and the eta of the released models.
  void SetUp() override {
    Noise::SetUp();
    Json config = small_config();
    config["revenant"] = {
        {"phantom", true}, {"phantom_eta", 0.25}, {"trol", true}, {"max_tiles", 1}};
    write_file(root_ / "config.json", config.dump());
  }
  const std::vector<std::string> papers_ = {"revenant.trol_gate=per_layer",
                                            "revenant.phantom_eta_learnable=true"};
};

TEST_F(ConfigSet, AFreshModelIsMadeWithIt) {
  Recipe r = recipe("fresh");
  r.config_set = papers_, r.max_steps = 1, r.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(r));
  const TorchModel model = load_torch_model(r.output_dir);
  EXPECT_EQ(model.config_json["revenant"]["trol_gate"], "per_layer");
  for (const std::string name : {"blk.0.trol_gate.weight", "blk.1.phantom_eta"})
    EXPECT_TRUE(model.parameters.contains(name)) << name;
  EXPECT_NE(model.parameters.at("blk.0.phantom_eta").item<double>(), 0.25);  // it learns
  EXPECT_EQ(refusal(r), "");
  r.config_set = {papers_[0]};
  EXPECT_PRED2(has, refusal(r), "config.json: expected the configuration that the run in");
  r.output_dir = root_ / "refused";
  for (const std::string setting :
       {"llm_config.vocab_size=99", "eos_token_id=3", "revenant.trol_gates=per_layer", "x"}) {
    r.config_set = {setting};
    EXPECT_NE(refusal(r), "") << setting;
    EXPECT_FALSE(fs::exists(r.output_dir)) << setting;
  }
}

// What a way leaves unused has no gradient, and the rest learns.
TEST_F(ConfigSet, OtherWaysOfTheMechanismsTrain) {
  const std::map<std::string, std::string> ways = {{"phantom_anchor=learned", "blk.0.anchor_q"},
                                                   {"phantom_anchor=own", "blk.1.mix_k_q.weight"},
                                                   {"phantom_widen=false", "blk.0.mix_q_o.weight"},
                                                   {"phantom_mixing=mean", "blk.0.mix_v_o.weight"},
                                                   {"phantom_mixing=sum", "blk.0.mix_v_o.weight"},
                                                   {"trol_mixing=constant", "trol_gate.bias"},
                                                   {"trol_mixing=uniform", "blk.0.attn_q.weight"},
                                                   {"trol_mixing=second", "blk.0.attn_q.weight"}};
  for (const auto& [way, learns] : ways) {
    SCOPED_TRACE(way);
    Recipe r = recipe(way);
    r.config_set = {"revenant." + way}, r.save_dtype = Recipe::SaveType::float32;
    ASSERT_TRUE(train(r));
    const TorchModel model = load_torch_model(r.output_dir),
                     began = init_torch_model(model.config_json, r.seed);
    EXPECT_FALSE(torch::equal(model.parameters.at(learns), began.parameters.at(learns)));
    const bool gates = way.find("phantom_mixing") == way.npos;
    EXPECT_EQ(torch::equal(model.parameters.at("blk.0.phantom_gate1.bias"),
                           began.parameters.at("blk.0.phantom_gate1.bias")),
              !gates);
    EXPECT_EQ(
        torch::equal(model.parameters.at("trol_gate.bias"), began.parameters.at("trol_gate.bias")),
        way.ends_with("uniform") || way.ends_with("second"));
  }
}

// What two fresh models of a seed have in common begins the same; a tower is another model's.
TEST_F(ConfigSet, AFreshModelBeginsWithATower) {
  Recipe source = recipe("source");
  source.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(source));
  Recipe r = recipe("taken");
  r.tower = source.output_dir, r.seed = 7, r.trainable = {"language", "mechanism"};
  r.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(r));
  const TorchModel theirs = load_torch_model(source.output_dir),
                   model = load_torch_model(r.output_dir);
  const TorchModel began = init_torch_model(model.config_json, 7);
  int towers = 0;
  for (const auto& [name, parameter] : model.parameters) {
    const Part part = part_of(model.specs.at(name));
    if (part != Part::vision && part != Part::projector) continue;
    const TorchModel& from = part == Part::vision ? theirs : began;
    EXPECT_TRUE(torch::equal(parameter, from.parameters.at(name))) << name;
    towers += part == Part::vision;
  }
  EXPECT_GT(towers, 10);
  r.output_dir = root_ / "refused", r.config_set = {"vision_config.intermediate_size=48"};
  EXPECT_PRED2(has, refusal(r), "source: expected a vision tower as the config's, found another");
  r.config_set = {"revenant.phantom=false"};
  const TorchModel plain = [&] {
    r.output_dir = root_ / "plain";
    EXPECT_TRUE(train(r));
    return init_torch_model(load_torch_model(r.output_dir).config_json, 7);
  }();
  for (const auto& [name, parameter] : plain.parameters)
    EXPECT_TRUE(torch::equal(parameter, began.parameters.at(name))) << name;
}

// Each layer begins as all of them were: the same model, which then learns layer by layer.
TEST_F(ConfigSet, WhatACheckpointHasOnceGoesToEveryLayer) {
  ASSERT_TRUE(train(recipe("tied")));
  const TorchModel tied = load_torch_model(root_ / "tied");
  const TorchModel spread = load_to_train(root_ / "tied", papers_);
  ASSERT_EQ(spread.warnings.size(), tied.warnings.size() + 2);
  EXPECT_PRED2(has, spread.warnings.end()[-2], "the gate of every layer begins as the one");
  EXPECT_PRED2(has, spread.warnings.end()[-1], "the eta of every layer begins as");
  for (const std::string blk : {"blk.0.", "blk.1."}) {
    for (const std::string part : {"trol_gate.weight", "trol_gate.bias"})
      EXPECT_TRUE(torch::equal(spread.parameters.at(blk + part), tied.parameters.at(part)));
    EXPECT_EQ(spread.parameters.at(blk + "phantom_eta").item<double>(), 0.25);
  }
  EXPECT_EQ(spread.parameters.size(), tied.parameters.size() + 2 * 3 - 2);
  EXPECT_EQ(load_to_train(root_ / "tied", {}).warnings, tied.warnings);
  EXPECT_THROW(load_torch_model(root_ / "tied", papers_), Error);  // a run would not guess
  Recipe r = recipe("layers");
  r.config.clear(), r.model = root_ / "tied", r.config_set = papers_;
  r.learning_rate = 1e-2, r.save_dtype = Recipe::SaveType::float32;
  std::string told;
  ASSERT_TRUE(train(r, {[&](const std::string& line) { told += line + "\n"; }}));
  EXPECT_PRED2(has, told, "the gate of every layer begins as the one that the checkpoint has");
  const TorchModel own = load_torch_model(r.output_dir);
  for (const std::string name : {"trol_gate.weight", "phantom_eta"})
    EXPECT_FALSE(
        torch::equal(own.parameters.at("blk.0." + name), own.parameters.at("blk.1." + name)));
  fs::remove_all(r.output_dir / "checkpoint-6");  // goes on from a checkpoint that has them
  const std::string weights = read_file(r.output_dir / "model.safetensors");
  ASSERT_TRUE(train(r));
  EXPECT_EQ(read_file(r.output_dir / "model.safetensors"), weights);
}

TEST_F(ConfigSet, TheGateMayStandInItsOwnFile) {
  const Path released = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data/trol-3.8b";
  ASSERT_TRUE(fs::exists(released / "trol_gating.pt"));
  const TorchModel tied = load_torch_model(released);
  const TorchModel spread = load_to_train(released, {papers_[0]});
  for (int layer = 0; layer < tied.config.layers; ++layer)
    for (const std::string part : {"trol_gate.weight", "trol_gate.bias"})
      EXPECT_TRUE(torch::equal(spread.parameters.at("blk." + std::to_string(layer) + "." + part),
                               tied.parameters.at(part)));
}

TEST_F(ConfigSet, TheReferenceIsWhatTheRunBeganAs) {
  ASSERT_TRUE(train(recipe("base")));
  Recipe r = recipe("dpo");
  r.config.clear(), r.model = root_ / "base";
  r.objective.kind = ObjectiveConfig::Kind::dpo, r.max_steps = 1;
  r.config_set = {"revenant.phantom_eta=0.75"};
  ASSERT_TRUE(train(r));
  EXPECT_NEAR(log_of(r.output_dir)[0]["loss"].get<double>(), 0.693147, 1e-4);
}

}  // namespace
}  // namespace revenant
