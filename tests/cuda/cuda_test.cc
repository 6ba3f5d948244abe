// Training on a CUDA device against training on the CPU.
#include <cmath>

#include "over_base.h"
#include "train/device.h"

namespace revenant {
namespace {

template <class Fixture>
class OnCuda : public Fixture {
 protected:
  void SetUp() override {
    if (device_of(DeviceChoice::automatic).is_cpu())
      GTEST_SKIP() << "no CUDA device, or no part of torch for it";
    Fixture::SetUp();
  }
  // Both logs tell of the same steps, their losses as near as `tolerance`.
  void expect_near(const std::string& one, const std::string& other, double tolerance) const {
    const auto a = log_of(this->root_ / one), b = log_of(this->root_ / other);
    ASSERT_EQ(a.size(), b.size());
    ASSERT_GE(a.size(), 6u);
    for (size_t i = 0; i < a.size(); ++i)
      for (const char* key : {"loss", "grad_norm", "rewards/margins", "eval_loss"}) {
        ASSERT_EQ(a[i].contains(key), b[i].contains(key));
        if (!a[i].contains(key)) continue;
        const double x = a[i][key], y = b[i][key];
        EXPECT_NEAR(x, y, tolerance * std::max(1.0, std::abs(x))) << key << " of line " << i;
      }
  }
};

class Cuda : public OnCuda<Noise> {
 protected:
  Recipe recipe(const std::string& output, DeviceChoice device, Recipe::Optim optim) const {
    Recipe r = Noise::recipe(output);
    r.device = device;
    r.optim = optim;
    r.objective.kind = ObjectiveConfig::Kind::po;
    return r;
  }
};

TEST_F(Cuda, StepsAreThoseOfTheCpu) {
  for (const auto optim : {Recipe::Optim::adamw_torch, Recipe::Optim::muon}) {
    const std::string name = std::to_string(int(optim));
    ASSERT_TRUE(train(recipe("cpu" + name, DeviceChoice::cpu, optim)));
    ASSERT_TRUE(train(recipe("cuda" + name, DeviceChoice::cuda, optim)));
    expect_near("cpu" + name, "cuda" + name, 1e-4);
  }
}

// bf16 has 8 bits: as far from float32 as on the CPU.
TEST_F(Cuda, Bf16StepsStayNear) {
  Recipe wide = recipe("wide", DeviceChoice::cpu, Recipe::Optim::adamw_torch),
         narrow = recipe("narrow", DeviceChoice::cuda, Recipe::Optim::adamw_torch);
  narrow.bf16 = true;
  ASSERT_TRUE(train(wide));
  ASSERT_TRUE(train(narrow));
  expect_near("wide", "narrow", 0.05);
  EXPECT_NE(log_of(root_ / "wide")[0]["loss"], log_of(root_ / "narrow")[0]["loss"]);
}

// At the released eta, where a ghost that is added in bf16 is lost (TrainTest.Bf16KeepsTheGhosts).
TEST_F(Cuda, Bf16KeepsTheGhosts) {
  Recipe wide = recipe("wide", DeviceChoice::cpu, Recipe::Optim::adamw_torch);
  wide.config_set = {"revenant.phantom_eta=1e-2"};
  wide.trainable = {"blk.*.phantom_gate*"}, wide.max_steps = 1;
  Recipe narrow = wide;
  narrow.config_set = {"revenant.phantom_eta=1e-4"};
  narrow.output_dir = root_ / "narrow", narrow.device = DeviceChoice::cuda, narrow.bf16 = true;
  ASSERT_TRUE(train(wide));
  ASSERT_TRUE(train(narrow));
  const double norm = log_of(root_ / "wide")[0]["grad_norm"];
  EXPECT_GT(norm, 0);
  EXPECT_NEAR(100 * log_of(root_ / "narrow")[0]["grad_norm"].get<double>(), norm, 0.1 * norm);
}

// A run may go on on another device.
TEST_F(Cuda, ARunGoesOnElsewhere) {
  for (const auto& [begins, ends] : {std::pair(DeviceChoice::cuda, DeviceChoice::cpu),
                                     std::pair(DeviceChoice::cpu, DeviceChoice::cuda)}) {
    const std::string name = begins == DeviceChoice::cuda ? "from_cuda" : "from_cpu";
    const auto optim = Recipe::Optim::muon;
    ASSERT_TRUE(train(recipe("unbroken", DeviceChoice::cpu, optim)));
    ASSERT_TRUE(train(recipe(name, begins, optim)));
    std::filesystem::remove_all(root_ / name / "checkpoint-6");
    ASSERT_TRUE(train(recipe(name, ends, optim)));
    expect_near("unbroken", name, 1e-4);
  }
}

// Frozen parts, a reference model, an evaluation.
TEST_F(Cuda, PreferenceWithAReference) {
  ASSERT_TRUE(train(recipe("base", DeviceChoice::cpu, Recipe::Optim::adamw_torch)));
  const auto run = [&](const std::string& output, DeviceChoice device) {
    Recipe r = recipe(output, device, Recipe::Optim::adamw_torch);
    r.config.clear();
    r.model = root_ / "base";
    std::filesystem::copy(root_ / "rows.json", root_ / (output + ".json"));
    r.data = {{root_ / (output + ".json"), "", 1}};  // the reference's scores lie beside it
    r.eval_data = r.data;
    r.eval_steps = 6;
    r.objective.kind = ObjectiveConfig::Kind::dpo;
    r.objective.beta = 0.3;
    r.trainable = {"projector", "mechanism"};
    ASSERT_TRUE(train(r));
  };
  run("on_cpu", DeviceChoice::cpu);
  run("on_cuda", DeviceChoice::cuda);
  expect_near("on_cpu", "on_cuda", 1e-4);
}

class CudaOverBase : public OnCuda<OverBase> {};

// Adapters over a base in few bits, with everything that saves memory.
TEST_F(CudaOverBase, WhatFitsIsTrainedAsOnTheCpu) {
  for (const auto quantize : {Recipe::Quantize::int8, Recipe::Quantize::nf4})
    for (const bool narrow : {false, true}) {
      const std::string name = std::to_string(int(quantize)) + (narrow ? "bf16" : "");
      for (const auto device : {DeviceChoice::cpu, DeviceChoice::cuda}) {
        Recipe r = over_base((device == DeviceChoice::cpu ? "cpu" : "cuda") + name);
        r.device = device;
        r.quantize = quantize;
        r.lora = {{4, 8, 0}, {"language"}};
        r.objective.kind = ObjectiveConfig::Kind::po;
        r.optim = Recipe::Optim::adamw_8bit;
        r.packing = r.gradient_checkpointing = true;
        r.tower_cache_mb = 1;
        r.bf16 = narrow;
        ASSERT_TRUE(train(r));
      }
      expect_near("cpu" + name, "cuda" + name, narrow ? 0.05 : 1e-3);
    }
}

}  // namespace
}  // namespace revenant
