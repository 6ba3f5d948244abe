// What trains, what is frozen, and how weights are named.
#include "train/parameters.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "io/checkpoint.h"
#include "small_config.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using Names = std::set<std::string>;

TorchModel phantom_model() { return init_torch_model(small_config_with_ids(), 1); }
TorchModel clip_model() { return init_torch_model(small_clip_config(), 1); }

Names names_with(const TorchModel& model, const std::function<bool(const TensorSpec&)>& wanted) {
  Names names;
  for (const auto& [name, spec] : model.specs)
    if (wanted(spec)) names.insert(name);
  return names;
}

TEST(Parameters, APatternIsAPartOrNames) {
  const TorchModel model = phantom_model();
  const auto of = [&](std::vector<std::string> patterns) {
    return selected(model.specs, patterns, "trainable");
  };
  EXPECT_EQ(of({"all"}).size(), model.specs.size());
  EXPECT_EQ(of({"projector"}), (Names{"mm.norm.weight", "mm.norm.bias", "mm.0.weight", "mm.0.bias",
                                      "mm.2.weight", "mm.2.bias"}));
  EXPECT_EQ(of({"mechanism"}), names_with(model, [](const TensorSpec& s) {
              return s.name.find("mix_") != s.name.npos || s.name.find("phantom_") != s.name.npos;
            }));
  EXPECT_EQ(of({"vision"}),
            names_with(model, [](const TensorSpec& s) { return s.name.starts_with("v."); }));
  EXPECT_EQ(of({"vision", "projector", "mechanism", "language"}), of({"all"}));
  EXPECT_EQ(of({"blk.*.attn_q.*"}), (Names{"blk.0.attn_q.weight", "blk.0.attn_q.bias",
                                           "blk.1.attn_q.weight", "blk.1.attn_q.bias"}));
  EXPECT_EQ(of({"blk.1.ffn_norm.weight"}), Names{"blk.1.ffn_norm.weight"});
  EXPECT_EQ(of({"*1.attn_norm*"}), Names{"blk.1.attn_norm.weight"});
  EXPECT_TRUE(of({"blk.*"}).contains("blk.0.mix_q_o.weight"));
}

TEST(Parameters, APatternThatSelectsNothingIsAnError) {
  const TorchModel model = phantom_model();
  for (const std::string pattern : {"blk.2.*", "attn_q", "Projector", "image_lora", ""}) try {
      selected(model.specs, {"projector", pattern}, "trainable");
      ADD_FAILURE() << pattern;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("\"" + pattern + "\""), std::string::npos);
    }
}

TEST(Parameters, ThePicturesLowRankBranchesOnlyByName) {
  const TorchModel model = clip_model();
  const Names lora =
      names_with(model, [](const TensorSpec& s) { return s.name.find("lora") != s.name.npos; });
  EXPECT_TRUE(lora.contains("blk.0.attn_qkv.lora_a"));  // one for the three that are fused
  EXPECT_EQ(lora.size(),
            2u * (4 + 4 * 2));  // of each layer: qkv one a and three b; o, gate, up, down
  const auto of = [&](std::vector<std::string> patterns) {
    return selected(model.specs, patterns, "trainable");
  };
  for (const std::string pattern : {"all", "language", "blk.*"})
    for (const std::string& name : of({pattern})) EXPECT_FALSE(lora.contains(name)) << pattern;
  EXPECT_EQ(of({"image_lora"}), lora);
  EXPECT_EQ(of({"blk.*.lora_*"}), lora);
}

TEST(Parameters, FrozenOnesHaveNoGradientAndKeepTheirBits) {
  for (const bool bf16 : {false, true}) {
    TorchModel model = phantom_model();
    {  // as a checkpoint in bf16 holds them
      const torch::NoGradGuard no_grad;
      for (auto& [name, parameter] : model.parameters)
        parameter.copy_(parameter.to(torch::kBFloat16).to(torch::kFloat32));
      model.parameters.at("blk.0.ffn_up.weight").add_(1e-7);  // but one is not
    }
    NamedTensors before;
    for (const auto& [name, parameter] : model.parameters)
      before[name] = parameter.detach().clone();
    Recipe recipe;
    recipe.trainable = {"projector", "mechanism"};
    recipe.bf16 = bf16;
    set_trainable(model, recipe);
    const auto type = [&](const std::string& name) {
      return model.parameters.at(name).scalar_type();
    };
    EXPECT_EQ(type("blk.0.attn_q.weight"), bf16 ? torch::kBFloat16 : torch::kFloat32);
    for (const std::string name :
         {"mm.0.weight", "blk.0.ffn_up.weight", "blk.0.attn_norm.weight", "token_embd.weight"})
      EXPECT_EQ(type(name), torch::kFloat32) << name;
    for (const auto& [name, parameter] : model.parameters) {
      const bool trains = name.starts_with("mm.") || name.find("mix_") != name.npos ||
                          name.find("phantom_") != name.npos;
      EXPECT_EQ(parameter.requires_grad(), trains) << name;
      EXPECT_TRUE(torch::equal(parameter.detach().to(torch::kFloat32), before[name])) << name;
    }
    EXPECT_EQ(trained(model).size(), settings_of(model, recipe).size());
  }
}

// Fused and unfused are the same model.
TEST(Parameters, AreTakenApartAndPutTogetherAgain) {
  for (const bool clip : {false, true}) {
    const Temporary place;
    TorchModel model = clip ? clip_model() : phantom_model();
    save_torch_model(model, place.path, DType::f32);
    const TorchModel again = load_torch_model(place.path);
    ASSERT_EQ(again.parameters.size(), model.parameters.size());
    for (const auto& [name, parameter] : model.parameters) {
      EXPECT_EQ(parameter.sizes(), at::IntArrayRef(model.specs.at(name).shape)) << name;
      EXPECT_TRUE(torch::equal(parameter, again.parameters.at(name))) << name;
    }
    const auto stored = as_stored(model, model.parameters);
    const Checkpoint checkpoint = Checkpoint::open(place.path);
    EXPECT_EQ(stored.size(), checkpoint.tensors().size());
    const NamedTensors only_q = {
        {"v.blk.0.attn_q.weight", model.parameters.at("v.blk.0.attn_q.weight")}};
    EXPECT_EQ(as_stored(model, only_q).size(), clip ? 1u : 0u);  // InternViT fuses it
  }
}

// CLIP's last norm, which no forward uses and every released file holds.
TEST(Parameters, WhatNoForwardUsesIsWrittenBackAsItWas) {
  const Temporary place;
  const TorchModel model = clip_model();
  save_torch_model(model, place.path / "plain", DType::f32);
  const Checkpoint plain = Checkpoint::open(place.path / "plain");
  const std::string unused = "vit.vision_tower.vision_model.post_layernorm.weight";
  const std::vector<uint16_t> numbers(size_t(model.config.vision.hidden), 0x3f81);
  std::vector<TensorSource> all;
  for (const auto& [name, view] : plain.tensors()) all.push_back(source_of({name, view}));
  all.push_back(source_of(
      {unused, {DType::bf16, {int64_t(numbers.size())}, std::as_bytes(std::span(numbers))}}));
  write_checkpoint(place.path / "released", plain.config(), all);
  save_torch_model(load_torch_model(place.path / "released"), place.path / "again", DType::f32);
  const Checkpoint again = Checkpoint::open(place.path / "again");
  EXPECT_EQ(again.tensors().size(), plain.tensors().size() + 1);
  EXPECT_EQ(again.tensor(unused).dtype, DType::bf16);
  EXPECT_TRUE(std::ranges::equal(again.tensor(unused).data, std::as_bytes(std::span(numbers))));
}

TEST(Parameters, TheReportSaysWhatTrains) {
  TorchModel model = phantom_model();
  Recipe recipe;
  recipe.trainable = {"projector", "blk.0.attn_q.weight"};
  set_trainable(model, recipe);
  const std::string report = trainable_report(model);
  for (const std::string part : {"trains 0.00", "projector 0.00", "language model 0.001 M of 0.0",
                                 "frozen: vision tower", "mechanisms"})
    EXPECT_NE(report.find(part), std::string::npos) << report;
}

}  // namespace
}  // namespace revenant
